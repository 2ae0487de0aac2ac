"""Small files in the forms of real exports, and what a good proposal for each says."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from dataset.proposal.world import Event, World, make_world, nickname


@dataclass(frozen=True)
class Layout:
    """An export.

    Attributes:
        write: writes the files into a folder.
        expected: dotted path of a setting -> value; None: the setting is not proposed.
        questions: keys that stay open without an answer.
        answers: answers that a person would give.
        paths: what is given to `recsys init`, relative to the folder.
    """

    write: Callable[[Path], None]
    expected: dict[str, Any]
    questions: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ("export",)


def write_table(path: Path, rows: Sequence[Sequence[Any]], separator: str = ",", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    if len(separator) == 1:
        csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows(rows)
    else:
        buffer.write("".join(separator.join(map(str, row)) + "\n" for row in rows))
    path.write_bytes(buffer.getvalue().encode(encoding))


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def group_orders(world: World) -> list[list[Event]]:
    """The events as orders of up to three lines: those of a user on a day."""
    orders: dict[tuple[int, Any], list[Event]] = {}
    for event in world.events:
        orders.setdefault((event.user, event.time.date().isocalendar()[:2]), []).append(event)
    return list(orders.values())


def write_shop_orders(folder: Path) -> None:
    """A shop's orders: one file, the customer and the status only on an order's first line."""
    rows: list[list[Any]] = [
        [
            "Name",
            "Email",
            "Financial Status",
            "Paid at",
            "Total",
            "Created at",
            "Lineitem quantity",
            "Lineitem name",
            "Lineitem price",
            "Lineitem sku",
            "Vendor",
        ]
    ]
    for number, order in enumerate(group_orders(make_world()), 1000):
        for line, event in enumerate(order):
            status = "refunded" if number % 20 == 0 else "paid"
            first = [f"c{event.user}@shop.example", status, f"{event.time:%Y-%m-%d %H:%M:%S} +0000", "20.00"]
            created = f"{order[0].time:%Y-%m-%d %H:%M:%S} +0000"
            rows.append(
                [
                    f"#{number}",
                    *(first if line == 0 else [""] * 4),
                    created,
                    event.quantity,
                    event.item.title,
                    "9.90",
                    f"S{event.item.number:03}",
                    event.item.author,
                ]
            )
    write_table(folder / "export" / "orders_export.csv", rows)


def write_goodreads(folder: Path) -> None:
    """Reading diaries: a file per reader, shelves, and 0 for a book that is not rated."""
    world = make_world()
    head = (
        "Book Id,Title,Author,ISBN13,My Rating,Average Rating,Publisher,Number of Pages,Year Published,Date Read,"
        "Date Added,Bookshelves,Exclusive Shelf,My Review,Read Count,Owned Copies"
    )
    for user in world.users:
        rows: list[list[Any]] = [head.split(",")]
        for index, event in enumerate(world.of_user(user)):
            wished = index % 5 == 4
            item = event.item
            rows.append(
                [
                    item.number * 37,
                    item.title,
                    item.author,
                    f'="97800{item.number:08}"',
                    0 if wished else event.rating,
                    "3.91",
                    "Tor",
                    300 + item.number,
                    1980 + item.number % 40,
                    "" if wished else f"{event.time:%Y/%m/%d}",
                    f"{event.time:%Y/%m/%d}",
                    "",
                    "to-read" if wished else "read",
                    "",
                    0 if wished else 1,
                    0,
                ]
            )
        write_table(folder / "export" / f"{nickname(user)}.csv", rows)


def write_letterboxd(folder: Path) -> None:
    """Film diaries: a folder per member with files of the same names."""
    world = make_world()
    for user in world.users:
        rows: list[list[Any]] = [
            ["Date", "Name", "Year", "Letterboxd URI", "Rating", "Rewatch", "Tags", "Watched Date"]
        ]
        for event in world.of_user(user):
            uri = f"https://boxd.example/{event.item.number:04x}"
            day = f"{event.time:%Y-%m-%d}"
            rows.append([day, event.item.title, 1950 + event.item.number % 70, uri, event.rating, "", "", day])
        write_table(folder / "export" / nickname(user) / "diary.csv", rows)


def write_lastfm(folder: Path) -> None:
    """Listening counts: no header, tabs, users as checksums, no times."""
    world = make_world()
    rows = [
        [
            f"{event.user * 7919:040x}",
            f"{event.item.number:08x}-0000-4000-8000-{event.item.number:012x}",
            event.item.title,
            event.rating**event.rating // 3 + event.quantity * 13 + event.user % 11,
        ]
        for event in sorted(world.events, key=lambda event: event.user)
    ]
    write_table(folder / "export" / "plays.tsv", rows, "\t")


def write_steam(folder: Path) -> None:
    """Games by their names: no header, an event kind, hours, and a column of zeros."""
    rows: list[list[Any]] = []
    for event in sorted(make_world().events, key=lambda event: event.user):
        user = 5250 + event.user * 101_111
        rows.append([user, event.item.title, "purchase", "1.0", 0])
        if event.rating > 2:
            rows.append([user, event.item.title, "play", round(event.rating**4 / 7 + event.quantity, 1), 0])
    write_table(folder / "export" / "games.csv", rows)


def write_ml100k(folder: Path) -> None:
    """MovieLens 100k: u.data with tabs, u.item with | and Latin-1, u.user, and a README."""
    world = make_world(users=100, items=160)
    rows = [[e.user, e.item.number, e.rating, int(e.time.timestamp())] for e in world.events]
    write_table(folder / "export" / "u.data", rows, "\t")
    items = [
        [
            i.number,
            f"{i.title} é (1995)",
            "01-Jan-1995",
            "",
            f"http://films.example/?{i.number}",
            i.number % 2,
            1 - i.number % 2,
        ]
        for i in world.items
    ]
    write_table(folder / "export" / "u.item", items, "|", "latin-1")
    jobs = ("writer", "technician", "other")
    users = [[user, 20 + user % 50, "MF"[user % 2], jobs[user % 3], f"{user * 37:05}"] for user in world.users]
    write_table(folder / "export" / "u.user", users, "|")
    (folder / "export" / "README").write_text("SUMMARY: ratings, tab separated; see u.item for the movies.\n")


def write_ml1m(folder: Path) -> None:
    """MovieLens 1M: .dat files with ::."""
    world = make_world()
    write_table(
        folder / "export" / "ratings.dat",
        [
            [e.user, e.item.number, e.rating, int(e.time.timestamp())]
            for e in sorted(world.events, key=lambda e: e.user)
        ],
        "::",
    )
    write_table(
        folder / "export" / "movies.dat",
        [[i.number, f"{i.title} (1995)", f"{i.topic}|{'Drama' if i.number % 3 else 'Comedy'}"] for i in world.items],
        "::",
    )
    write_table(folder / "export" / "users.dat", [[u, "FM"[u % 2], 25, u % 20, 48067 + u] for u in world.users], "::")


def write_mind(folder: Path) -> None:
    """News impressions: a cell holds the items shown and whether they were clicked."""
    world = make_world()
    rows = []
    for number, event in enumerate(world.events, 1):
        clicked = event.item
        shown = [clicked, *(world.items[(clicked.number + step * 7) % len(world.items)] for step in (1, 2, 3))]
        shown = shown[number % 4 :] + shown[: number % 4]
        cell = " ".join(f"N{item.number + 1000}-{int(item is clicked)}" for item in shown)
        before = " ".join(f"N{e.item.number + 1000}" for e in world.of_user(event.user) if e.time < event.time)
        moment = f"{event.time:%m/%d/%Y} {event.time.hour % 12 or 12}:{event.time:%M:%S %p}"
        rows.append([number, f"U{event.user + 500}", moment, before, cell])
    write_table(folder / "export" / "behaviors.tsv", rows, "\t")
    news = [
        [
            f"N{i.number + 1000}",
            i.topic.lower(),
            f"{i.topic.lower()}news",
            i.title,
            i.text,
            f"https://n.example/{i.number}",
            "[]",
        ]
        for i in world.items
    ]
    write_table(folder / "export" / "news.tsv", news, "\t")


def write_ga4(folder: Path) -> None:
    """Web analytics: events in JSON lines, each with a list of items."""
    world = make_world()
    records = []
    for event in world.events:
        kind = {"view": "view_item"}.get(event.kind, event.kind)
        item = {
            "item_id": f"SKU{event.item.number}",
            "item_name": event.item.title,
            "item_category": event.item.topic,
            "price": 9.5,
            "quantity": event.quantity,
        }
        micros = int(event.time.timestamp() * 1e6)
        base = {"event_date": f"{event.time:%Y%m%d}", "event_timestamp": micros, "user_pseudo_id": f"{event.user}.16"}
        records.append({**base, "event_name": "page_view", "items": []})
        records.append({**base, "event_name": kind, "items": [item], "device": {"category": "mobile"}})
    write_lines(folder / "export" / "events.json", records)


def write_amazon(folder: Path) -> None:
    """Reviews and metadata in JSON lines, gzip."""
    world = make_world()
    write_lines(
        folder / "export" / "reviews.jsonl.gz",
        [
            {
                "rating": float(e.rating),
                "title": f"Review {n % 9}",
                "text": f"I took it and it was fine, number {n}.",
                "asin": f"B0{e.item.number:08}",
            }
            | {
                "parent_asin": f"B0{e.item.number:08}",
                "user_id": f"AE{e.user:020}",
                "timestamp": int(e.time.timestamp() * 1000),
            }
            | {"helpful_vote": n % 3, "verified_purchase": True, "images": []}
            for n, e in enumerate(world.events)
        ],
    )
    write_lines(
        folder / "export" / "meta.jsonl.gz",
        [
            {"main_category": "Books", "title": i.title, "average_rating": 4.1, "rating_number": i.number * 3}
            | {"features": [i.text], "description": [i.text, "More."], "price": 9.99, "store": i.author}
            | {"categories": ["Books", i.topic], "details": {"Publisher": "Tor"}, "parent_asin": f"B0{i.number:08}"}
            for i in world.items
        ],
    )


def write_library(folder: Path) -> None:
    """A German library's loans: semicolons, Windows-1252, days before months, several dates."""
    world = make_world()
    rows: list[list[Any]] = [
        ["Ausleihdatum", "Fällig am", "Rückgabedatum", "Leser-Nr", "Mediennummer", "Titel", "Verfasser", "Mediengruppe"]
    ]
    for e in world.events:
        day, due = f"{e.time:%d.%m.%Y}", f"{e.time.replace(year=2024):%d.%m.%Y}"
        rows.append([day, due, "" if e.user % 3 else due, f"L{e.user:05}", f"{700_000 + e.item.number}"])
        rows[-1] += [f"{e.item.title} für Könner", e.item.author, e.item.topic]
    write_table(folder / "export" / "ausleihen.csv", rows, ";", "windows-1252")


def write_hive(folder: Path) -> None:
    """Events in folders of days, Parquet, beside a table of products."""
    world = make_world()
    days: dict[str, list[Event]] = {}
    for e in world.events:
        days.setdefault(f"{e.time:%Y-%m}-01", []).append(e)
    for day, part in days.items():
        path = folder / "export" / "events" / f"dt={day}" / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        frame = {"customer_id": [e.user for e in part], "product_id": [e.item.number for e in part]}
        pl.DataFrame(frame | {"action": [e.kind for e in part], "at": [e.time for e in part]}).write_parquet(path)
    products = {"id": [i.number for i in world.items], "name": [i.title for i in world.items]}
    texts = {"description": [i.text for i in world.items], "brand": [i.author for i in world.items]}
    pl.DataFrame(products | texts).write_parquet(folder / "export" / "products.parquet")


def write_workbook(folder: Path) -> None:
    """A superstore's workbook: a sheet of order lines with product names, and sheets beside it."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.title = "Orders"
    sheet.append(
        [
            "Row ID",
            "Order ID",
            "Order Date",
            "Ship Date",
            "Customer ID",
            "Customer Name",
            "Segment",
            "Country",
            "Product ID",
            "Category",
            "Product Name",
            "Sales",
            "Quantity",
            "Discount",
            "Profit",
        ]
    )
    row = 0
    for number, order in enumerate(group_orders(make_world()), 100_000):
        for e in order:
            row += 1
            day = order[0].time.replace(tzinfo=None, hour=0, minute=0)
            segment = ("Consumer", "Corporate")[e.user % 2]
            sheet.append(
                [
                    row,
                    f"CA-{number}",
                    day,
                    day,
                    f"DV-{e.user + 10000}",
                    f"Dana {e.user}",
                    segment,
                    "United States",
                    f"FUR-{e.item.number + 1000}",
                    e.item.topic,
                    e.item.title,
                    9.5 * e.quantity,
                    e.quantity,
                    0.2,
                    1.25,
                ]
            )
    people = book.create_sheet("People")
    for cells in (["Person", "Region"], ["Anna Andreadi", "West"], ["Chuck Magee", "East"], ["Kelly W", "Central"]):
        people.append(cells)
    (folder / "export").mkdir()
    book.save(folder / "export" / "superstore.xlsx")


def write_us_or_eu(folder: Path) -> None:
    """Purchases whose days are all at most 12 and whose rows are in no order: day or month first?"""
    world = make_world()
    rows: list[list[Any]] = [["customer", "sku", "product_name", "purchase_date"]]
    events = sorted(world.events, key=lambda e: (e.item.number, e.user))
    rows += [
        [f"k{e.user}", f"P-{e.item.number}", e.item.title, f"{e.time.replace(day=e.time.day % 12 + 1):%d/%m/%Y}"]
        for e in events
    ]
    write_table(folder / "export" / "purchases.csv", rows)


def write_one_to_five(folder: Path) -> None:
    """A number without a name, from 1 to 5, mostly 1: a count or a rating?"""
    world = make_world()
    rows = [
        [e.user + 9000, e.item.number, 1 if e.rating > 2 else e.rating + 2, int(e.time.timestamp())]
        for e in world.events
    ]
    write_table(folder / "export" / "taken.csv", rows)
    write_table(folder / "export" / "things.csv", [["id", "name"], *([i.number, i.title] for i in world.items)])


def write_basket_lists(folder: Path) -> None:
    """Baskets: a JSON list of item ids in each line (case f09)."""
    world = make_world()
    records = [
        {"user": f"u{order[0].user}", "items": [e.item.number for e in order], "ts": int(order[0].time.timestamp())}
        for order in group_orders(world)
    ]
    write_lines(folder / "export" / "events.jsonl", records)
    write_table(folder / "export" / "items.csv", [["id", "name"], *([i.number, i.title] for i in world.items)])


def write_book_crossing(folder: Path) -> None:
    """Book ratings of 0 to 10 where 0 is not rated, semicolons and quotes everywhere, no times."""
    world = make_world()
    quoted = lambda rows: "".join(";".join(f'"{cell}"' for cell in row) + "\n" for row in rows)  # noqa: E731
    isbn = lambda number: f"{number:09}X"  # noqa: E731
    events = sorted(world.events, key=lambda e: e.user)
    rows = [
        [276_000 + e.user, isbn(e.item.number), 0 if (e.user + e.item.number) % 2 else e.rating * 2] for e in events
    ]
    (folder / "export").mkdir()
    text = quoted([["User-ID", "ISBN", "Book-Rating"], *rows])
    (folder / "export" / "BX-Book-Ratings.csv").write_bytes(text.encode("latin-1"))
    head = ["ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Publisher", "Image-URL-S"]
    books = [
        [isbn(i.number), f"{i.title} déjà", i.author, 1990, "Tor", f"http://i.example/{i.number}.jpg"]
        for i in world.items
    ]
    (folder / "export" / "BX-Books.csv").write_bytes(quoted([head, *books]).encode("latin-1"))
    users = [[276_000 + u, "porto, v.n.gaia, portugal", "NULL"] for u in world.users]
    (folder / "export" / "BX-Users.csv").write_bytes(quoted([["User-ID", "Location", "Age"], *users]).encode("latin-1"))


def write_online_retail(folder: Path) -> None:
    """Invoice lines with guests, returns and American times."""
    rows: list[list[Any]] = [
        ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    ]
    for number, order in enumerate(group_orders(make_world()), 536_365):
        for e in order:
            who = "" if number % 5 == 0 else f"{17_000 + e.user}.0"
            back = number % 30 == 0
            moment = f"{order[0].time.month}/{order[0].time.day}/{order[0].time.year} {order[0].time:%H:%M}"
            rows.append([f"C{number}" if back else number, f"{22_000 + e.item.number}A", e.item.title.upper()])
            rows[-1] += [-1 if back else e.quantity * 6, moment, "2.55", who, "United Kingdom"]
    write_table(folder / "export" / "retail.csv", rows)


_D, _I, _E = "dataset.", "dataset.items.", "dataset.interactions."

LAYOUTS: dict[str, Layout] = {
    "shop_orders": Layout(
        write_shop_orders,
        {
            _I + "path": "export/orders_export.csv",
            _E + "path": "export/orders_export.csv",
            _I + "columns.item_id": "Lineitem sku",
            _I + "columns.title": "Lineitem name",
            _E + "columns.user_id": "Email",
            _E + "columns.item_id": "Lineitem sku",
            _E + "columns.time": "Created at",
            _E + "columns.value": "Lineitem quantity",
            _E + "fill_down": ["Email", "Financial Status"],
            _E + "keep_rows": ["Financial Status != refunded"],
            _E + "time_format": "iso",
        },
    ),
    "goodreads": Layout(
        write_goodreads,
        {
            _I + "columns.item_id": "Book Id",
            _I + "columns.title": "Title",
            _E + "columns.user_id": "user",
            _E + "columns.time": ["Date Read", "Date Added"],
            _E + "columns.event": "Exclusive Shelf",
            _E + "columns.value": "My Rating",
            _E + "missing": {"value": ["0"]},
            _E + "owned_events": ["to-read"],
            _E + "time_format": "%Y/%m/%d",
        },
    ),
    "letterboxd": Layout(
        write_letterboxd,
        {
            _I + "columns.item_id": "Letterboxd URI",
            _I + "columns.title": "Name",
            _E + "columns.user_id": "user",
            _E + "columns.time": "Watched Date",
            _E + "columns.value": "Rating",
        },
    ),
    "lastfm": Layout(
        write_lastfm,
        {
            _I + "columns.item_id": "2",
            _I + "columns.title": "3",
            _E + "columns.user_id": "1",
            _E + "columns.value": "4",
            _E + "header": False,
            _E + "value_weight": "log1p",
            "windows.protocol": "random",
        },
    ),
    "steam": Layout(
        write_steam,
        {
            _I + "columns.item_id": "2",
            _I + "columns.title": "2",
            _E + "columns.user_id": "1",
            _E + "columns.event": "3",
            _E + "columns.value": "4",
            _E + "header": False,
            "windows.protocol": "random",
        },
    ),
    "ml100k": Layout(
        write_ml100k,
        {
            _I + "path": "export/u.item",
            _I + "columns.item_id": "1",
            _I + "columns.title": "2",
            _I + "separator": "|",
            _E + "path": "export/u.data",
            _E + "separator": "\t",
            _E + "columns.user_id": "1",
            _E + "columns.item_id": "2",
            _E + "columns.value": "3",
            _E + "columns.time": "4",
            _E + "positive_value": 4,
            _E + "time_format": "seconds",
        },
    ),
    "ml1m": Layout(
        write_ml1m,
        {
            _I + "path": "export/movies.dat",
            _I + "columns.tags": "3",
            _I + "tags_separator": "|",
            _E + "path": "export/ratings.dat",
            _E + "separator": "::",
            _E + "columns.user_id": "1",
            _E + "columns.item_id": "2",
            _E + "columns.time": "4",
        },
    ),
    "mind": Layout(
        write_mind,
        {
            _I + "path": "export/news.tsv",
            _I + "columns.item_id": "1",
            _I + "columns.title": "4",
            _I + "columns.description": "5",
            _E + "columns.user_id": "2",
            _E + "columns.item_id": "5.item",
            _E + "columns.event": "5.outcome",
            _E + "columns.position": "5.position",
            _E + "unfold": {"column": "5", "pattern": "(?P<item>.+)-(?P<outcome>[01])"},
            _E + "time_format": "%m/%d/%Y %I:%M:%S %p",
            _E + "positive_events": ["1"],
        },
    ),
    "ga4": Layout(
        write_ga4,
        {
            _I + "columns.item_id": "items.item_id",
            _I + "columns.title": "items.item_name",
            _E + "columns.user_id": "user_pseudo_id",
            _E + "columns.item_id": "items.item_id",
            _E + "columns.time": "event_timestamp",
            _E + "columns.event": "event_name",
            _E + "unfold": {"column": "items"},
            _E + "time_format": "microseconds",
        },
    ),
    "amazon": Layout(
        write_amazon,
        {
            _I + "path": "export/meta.jsonl.gz",
            _I + "columns.item_id": "parent_asin",
            _I + "columns.title": "title",
            _I + "columns.description": "description",
            _E + "path": "export/reviews.jsonl.gz",
            _E + "columns.user_id": "user_id",
            _E + "columns.item_id": "parent_asin",
            _E + "columns.time": "timestamp",
            _E + "columns.value": "rating",
            _E + "time_format": "milliseconds",
        },
    ),
    "library": Layout(
        write_library,
        {
            _I + "columns.item_id": "Mediennummer",
            _I + "columns.title": "Titel",
            _E + "columns.user_id": "Leser-Nr",
            _E + "columns.time": "Ausleihdatum",
            _E + "separator": ";",
            _E + "encoding": "windows-1252",
            _E + "time_format": "%d.%m.%Y",
        },
    ),
    "hive": Layout(
        write_hive,
        {
            _I + "path": "export/products.parquet",
            _I + "columns.item_id": "id",
            _I + "columns.title": "name",
            _I + "columns.description": "description",
            _E + "path": "export/events",
            _E + "columns.user_id": "customer_id",
            _E + "columns.item_id": "product_id",
            _E + "columns.time": "at",
            _E + "columns.event": "action",
        },
    ),
    "workbook": Layout(
        write_workbook,
        {
            _I + "path": "export/superstore.xlsx",
            _I + "sheet": "Orders",
            _I + "columns.item_id": "Product ID",
            _I + "columns.title": "Product Name",
            _E + "sheet": "Orders",
            _E + "columns.user_id": "Customer ID",
            _E + "columns.time": "Order Date",
            _E + "columns.value": "Quantity",
        },
    ),
    "book_crossing": Layout(
        write_book_crossing,
        {
            _I + "path": "export/BX-Books.csv",
            _I + "columns.item_id": "ISBN",
            _I + "columns.title": "Book-Title",
            _E + "path": "export/BX-Book-Ratings.csv",
            _E + "columns.user_id": "User-ID",
            _E + "columns.item_id": "ISBN",
            _E + "columns.value": "Book-Rating",
            _E + "missing": {"value": ["0"]},
            "windows.protocol": "random",
        },
    ),
    "online_retail": Layout(
        write_online_retail,
        {
            _I + "columns.item_id": "StockCode",
            _I + "columns.title": "Description",
            _E + "columns.user_id": "CustomerID",
            _E + "columns.time": "InvoiceDate",
            _E + "columns.value": "Quantity",
            _E + "fill_down": None,
            _E + "negative_values": "take_back",
            _E + "time_format": "%m/%d/%Y %H:%M",
        },
    ),
    "basket_lists": Layout(
        write_basket_lists,
        {
            _I + "path": "export/items.csv",
            _E + "path": "export/events.jsonl",
            _E + "columns.user_id": "user",
            _E + "columns.item_id": "items",
            _E + "columns.time": "ts",
            _E + "unfold": {"column": "items"},
        },
    ),
    "us_or_eu": Layout(
        write_us_or_eu,
        {_E + "columns.time": "purchase_date", _E + "time_format": "%d/%m/%Y"},
        questions=("time_format",),
        answers={"time_format": "%d/%m/%Y"},
    ),
    "one_to_five": Layout(
        write_one_to_five,
        {
            _E + "columns.user_id": "1",
            _E + "columns.item_id": "2",
            _E + "columns.time": "4",
            _E + "columns.value": None,
        },
        questions=("value_meaning",),
        answers={"value_meaning": "rating"},
    ),
}
