"""Exports of well-known shops and services, with their columns and quirks, beside the plain layouts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from dataset.proposal.layouts import LAYOUTS as FORMS
from dataset.proposal.layouts import Layout, group_orders, write_table
from dataset.proposal.world import FIRST, LAST, make_world, nickname


def name_person(user: int) -> str:
    """Return a full name, the same for some users."""
    return f"{FIRST[user % 16]} {LAST[user // 16 % 10]}"


def write_shopify(folder: Path) -> None:
    """Shopify orders without product codes: the order's own columns stand only on its first line."""
    header = (
        "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Discount Code,Created at,"
        "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Lineitem requires shipping,Billing Name,"
        "Billing City,Notes,Cancelled at,Payment Method,Refunded Amount,Vendor,Id,Tags,Risk Level,Source,Phone"
    )
    head = header.split(",")
    rows: list[list[Any]] = [head]
    for number, order in enumerate(group_orders(make_world()), 1001):
        moment = f"{order[0].time:%Y-%m-%d %H:%M:%S} +0100"
        for line, e in enumerate(order):
            cells = {"Name": f"#{number}", "Email": f"u{e.user}@mail.example", "Created at": moment}
            cells |= {"Lineitem quantity": e.quantity, "Lineitem name": e.item.title, "Lineitem price": "9.90"}
            cells |= {"Lineitem requires shipping": "true", "Vendor": e.item.author}
            if line == 0:
                cells |= {"Financial Status": "refunded" if number % 19 == 0 else "paid", "Paid at": moment}
                cells |= {"Currency": "EUR", "Subtotal": "9.90", "Total": "12.00", "Billing City": "Bonn"}
                cells |= {"Billing Name": name_person(e.user), "Id": 450_000_000_000 + number, "Source": "web"}
            rows.append([cells.get(name, "") for name in head])
    write_table(folder / "export" / "orders_export_1.csv", rows)


def write_magento(folder: Path) -> None:
    """Magento order items: guests without a number, code and number of a product, several quantities."""
    head = (
        "order_id,increment_id,customer_id,customer_email,status,created_at,updated_at,sku,product_id,name,"
        "qty_ordered,qty_refunded,price,grand_total"
    )
    rows: list[list[Any]] = [head.split(",")]
    for number, order in enumerate(group_orders(make_world()), 1):
        status = ("complete", "processing", "canceled", "complete")[number % 4]
        later = f"{order[0].time + timedelta(days=2):%Y-%m-%d %H:%M:%S}"
        for e in order:
            user = "" if number % 9 == 0 else e.user + 40
            rows.append([number, 100_000_000 + number, user, f"c{e.user}@mail.example", status])
            rows[-1] += [f"{order[0].time:%Y-%m-%d %H:%M:%S}", later, f"24-MB{e.item.number:02}", e.item.number + 10]
            rows[-1] += [e.item.title, f"{e.quantity}.0000", f"{number % 7 == 0:d}.0000", "34.0000", "70.0000"]
    write_table(folder / "export" / "sales_order_item.csv", rows)


def write_ebay(folder: Path) -> None:
    """An eBay orders report: amounts with a currency sign, months by name."""
    head = (
        "Sales Record Number,Order Number,Buyer Username,Buyer Name,Buyer Email,Item Number,Item Title,Custom Label,"
        "Quantity,Sold For,Total Price,Payment Method,Sale Date,Paid On Date,Shipped On Date"
    )
    rows: list[list[Any]] = [head.split(",")]
    for number, e in enumerate(make_world().events):
        day, later = f"{e.time:%b-%d-%y}", f"{e.time + timedelta(days=1):%b-%d-%y}"
        rows.append([number, f"12-{number:05}-{number:05}", f"buyer_{e.user}", name_person(e.user)])
        rows[-1] += [f"x{e.user}@mail.example", 330_000_000_000 + e.item.number, e.item.title, f"L{e.item.number}"]
        rows[-1] += [e.quantity, "$9.99", "$11.99", "PayPal", day, day, later]
    write_table(folder / "export" / "eBay-OrdersReport.csv", rows)


def write_imdb(folder: Path) -> None:
    """IMDb ratings, a folder per person: a code named Const, two titles, and numbers that nearly name a film."""
    head = (
        "Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),Year,Genres,"
        "Num Votes,Release Date,Directors"
    )
    world = make_world()
    for user in world.users:
        rows: list[list[Any]] = [head.split(",")]
        for e in world.of_user(user):
            code, year = f"tt{e.item.number:07}", 1980 + e.item.number % 40
            rows.append([code, e.rating * 2, f"{e.time:%Y-%m-%d}", e.item.title, e.item.title])
            rows[-1] += [f"https://films.example/title/{code}", "Movie", "7.1", 100 + e.item.number, year]
            rows[-1] += [f"{e.item.topic}, Drama", 1000 * e.item.number, f"{year}-05-01", e.item.author]
        write_table(folder / "export" / nickname(user) / "ratings.csv", rows)


def write_trakt(folder: Path) -> None:
    """A Trakt history: a JSON array of nested objects, four ids of each film."""
    records = []
    for number, e in enumerate(make_world().events):
        slug = e.item.title.lower().replace(" ", "-")
        ids = {"trakt": e.item.number, "slug": slug, "imdb": f"tt{e.item.number:07}", "tmdb": e.item.number + 60}
        film = {"title": e.item.title, "year": 1980 + e.item.number % 40, "ids": ids}
        record = {"id": 9000 + number, "watched_at": f"{e.time:%Y-%m-%dT%H:%M:%S.000Z}", "action": "watch"}
        records.append(record | {"user": {"username": f"m{e.user}", "private": False}, "movie": film})
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "history.json").write_text(json.dumps(records), "utf-8")


def write_instacart(folder: Path) -> None:
    """Instacart's orders joined with their products: no times, but the numbers of each user's orders."""
    head = (
        "user_id,order_id,order_number,order_dow,order_hour_of_day,product_id,product_name,reordered,aisle,department"
    )
    world = make_world()
    rows: list[list[Any]] = [head.split(",")]
    for user in world.users:
        for line, e in enumerate(world.of_user(user)):
            order = (user * 7919 + line // 4 * 104_729) % 999_983
            rows.append([user, order, line // 4 + 1, e.time.weekday(), e.time.hour, e.item.number, e.item.title, 0])
            rows[-1] += [e.item.author, e.item.topic]
    write_table(folder / "export" / "orders_products.csv", rows)


def write_anime(folder: Path) -> None:
    """Anime ratings without times, -1 where a series was watched and not rated."""
    world = make_world()
    events = sorted(world.events, key=lambda e: e.user)
    ratings = [[e.user, e.item.number * 3, -1 if n % 6 == 0 else e.rating * 2] for n, e in enumerate(events)]
    write_table(folder / "export" / "rating.csv", [["user_id", "anime_id", "rating"], *ratings])
    series = [[i.number * 3, i.title, f"{i.topic}, Drama", "TV", 12, "8.1", 1000 * i.number] for i in world.items]
    head = ["anime_id", "name", "genre", "type", "episodes", "rating", "members"]
    write_table(folder / "export" / "anime.csv", [head, *series])


def write_german_shop(folder: Path) -> None:
    """A German shop's turnover: semicolons, decimal commas, days before months."""
    head = "Bestellnr,Bestelldatum,Kundennr,Artikelnr,Artikelbezeichnung,Warengruppe,Menge,Einzelpreis,Umsatz"
    rows: list[list[Any]] = [head.split(",")]
    for number, order in enumerate(group_orders(make_world()), 50_000):
        for e in order:
            amount = f"{e.quantity * 9.95:.2f}".replace(".", ",")
            rows.append([number, f"{order[0].time:%d.%m.%Y}", 20_000 + e.user, f"A{e.item.number:04}"])
            rows[-1] += [f"{e.item.title} für Kenner", e.item.topic, f"{e.quantity},00", "9,95", amount]
    write_table(folder / "export" / "umsaetze.csv", rows, ";", "windows-1252")


def write_russian_library(folder: Path) -> None:
    """A Russian library's loans in windows-1251."""
    head = "Дата выдачи,Дата возврата,Номер читателя,Инвентарный номер,Название,Автор"
    rows: list[list[Any]] = [head.split(",")]
    for e in make_world().events:
        back = f"{e.time + timedelta(days=28):%d.%m.%Y}"
        rows.append([f"{e.time:%d.%m.%Y}", back, 10_000 + e.user, 70_000 + e.item.number])
        rows[-1] += [f"{e.item.title} и тайна", e.item.author]
    write_table(folder / "export" / "выдача.csv", rows, ";", "windows-1251")


_I, _E = "dataset.items.", "dataset.interactions."

SERVICES: dict[str, Layout] = {
    "shopify": Layout(
        write_shopify,
        {
            _I + "columns.item_id": "Lineitem name",
            _E + "columns.user_id": "Email",
            _E + "columns.time": "Created at",
            _E + "columns.value": "Lineitem quantity",
            _E + "fill_down": ["Financial Status"],
            _E + "keep_rows": ["Financial Status != refunded"],
        },
    ),
    "magento": Layout(
        write_magento,
        {
            _I + "columns.title": "name",
            _E + "columns.user_id": "customer_email",
            _E + "columns.time": "created_at",
            _E + "columns.value": "qty_ordered",
            _E + "keep_rows": ["status != canceled"],
        },
    ),
    "ebay": Layout(
        write_ebay,
        {
            _I + "columns.item_id": "Item Number",
            _E + "columns.user_id": "Buyer Email",
            _E + "columns.time": "Sale Date",
            _E + "time_format": "%b-%d-%y",
        },
    ),
    "imdb": Layout(
        write_imdb,
        {
            _I + "columns.item_id": "Const",
            _I + "columns.title": "Title",
            _I + "columns.tags": "Genres",
            _E + "columns.user_id": "user",
            _E + "columns.value": "Your Rating",
            _E + "file_name": r"(?P<user>[^/]+)/ratings\.csv$",
        },
    ),
    "trakt": Layout(
        write_trakt,
        {
            _I + "columns.title": "movie.title",
            _E + "columns.user_id": "user.username",
            _E + "columns.time": "watched_at",
        },
    ),
    "instacart": Layout(
        write_instacart,
        {
            _I + "columns.item_id": "product_id",
            _E + "columns.order": "order_number",
            _E + "event_weights": {"purchase": 1.0},
            "windows.protocol": "leave_last_out",
        },
    ),
    "anime": Layout(
        write_anime,
        {
            _I + "columns.tags": "genre",
            _E + "columns.value": "rating",
            _E + "missing": {"value": ["-1"]},
            _E + "positive_value": 8,
            "windows.protocol": "random",
        },
    ),
    "german_shop": Layout(
        write_german_shop,
        {
            _E + "columns.user_id": "Kundennr",
            _E + "columns.value": "Menge",
            _E + "decimal": ",",
            _E + "time_format": "%d.%m.%Y",
        },
    ),
    "russian_library": Layout(
        write_russian_library,
        {
            _I + "columns.title": "Название",
            _E + "columns.user_id": "Номер читателя",
            _E + "columns.time": "Дата выдачи",
            _E + "encoding": "windows-1251",
            _E + "event_weights": {"loan": 1.0},
        },
    ),
}
LAYOUTS = FORMS | SERVICES
