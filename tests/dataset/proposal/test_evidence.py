"""Values decide, not only names: ids by what both tables hold, users by what an item does not determine, and so on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dataset.proposal.layouts import write_hive, write_shop_orders
from dataset.proposal.world import make_world

from recsys.dataset.proposal.proposal import make_name, propose
from recsys.dataset.proposal.questions import Decisions
from recsys.errors import DataError


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return tmp_path


def write_csv(path: Path, header: str, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_dataset(*paths: str, **answers: str) -> dict[str, Any]:
    content = propose(paths or ("x",), "x", Decisions(answers=answers)).content
    return {"content": content, **content["dataset"]}


def test_meaningless_names(data: Path) -> None:
    world = make_world()
    write_csv(
        data / "x" / "a.csv",
        "q1,q2,q3,q4",
        [[f"{e.user * 7:06x}z", e.kind, f"P-{e.item.number:03}", int(e.time.timestamp() * 1000)] for e in world.events],
    )
    write_csv(data / "x" / "b.csv", "z1,z2", [[f"P-{i.number:03}", i.title] for i in world.items])
    dataset = read_dataset()
    assert dataset["items"]["columns"] == {"item_id": "z1", "title": "z2"}
    columns = dataset["interactions"]["columns"]
    assert columns == {"user_id": "q1", "item_id": "q3", "time": "q4", "event": "q2"}
    assert dataset["interactions"]["time_format"] == "milliseconds"


def test_small_numbers_are_told_apart_by_what_they_cover(data: Path) -> None:
    world = make_world(users=60)
    write_csv(
        data / "x" / "a.csv",
        "thing,whose,stars",
        [[e.item.number, e.user, e.rating] for e in world.events],
    )
    write_csv(data / "x" / "b.csv", "nr,label,shade", [[i.number, i.title, i.number % 7] for i in world.items])
    dataset = read_dataset()
    assert dataset["interactions"]["columns"]["item_id"] == "thing"
    assert dataset["interactions"]["columns"]["user_id"] == "whose"


def test_the_category_of_an_item_is_no_user(data: Path) -> None:
    world = make_world()
    write_csv(
        data / "x" / "sales.csv",
        "category,product,product name,customer,day",
        [
            [f"C{e.item.number % 9}", f"P{e.item.number}", e.item.title, f"K{e.user}", e.time.date()]
            for e in world.events
        ],
    )
    assert read_dataset()["interactions"]["columns"]["user_id"] == "customer"


def test_one_reader_per_file_only_where_the_names_are_people(data: Path) -> None:
    world = make_world()
    for part in range(3):
        rows = [[f"P{e.item.number}", e.item.title, e.time.date()] for e in world.events[part::3]]
        write_csv(data / "x" / f"part-{part:05}.csv", "product,title,day", rows)
    with pytest.raises(DataError, match="no column looks like users"):
        read_dataset()


def test_guests_are_not_filled_with_the_customer_above(data: Path) -> None:
    rows = []
    for number, e in enumerate(make_world().events):
        rows.append(
            [f"O{number // 2}", "" if number // 2 % 4 == 0 else f"K{e.user}", f"P{e.item.number}", e.item.title]
        )
    write_csv(data / "x" / "orders.csv", "order id,customer,product,product name", rows)
    assert "fill_down" not in read_dataset()["interactions"]


def test_refunds_are_left_out_and_other_states_are_no_kinds(data: Path) -> None:
    write_shop_orders(data)
    interactions = read_dataset("export")["interactions"]
    assert interactions["keep_rows"] == ["Financial Status != refunded"]
    assert "event" not in interactions["columns"]
    why = propose(("export",), "x", Decisions()).text.split("keep_rows: ")[1].splitlines()[0]
    assert why.endswith("of the sampled rows are refunded, which is no sign of interest")


def test_short_titles_without_english_words_are_not_called_english(data: Path) -> None:
    def propose_checkpoint(titles: list[str]) -> str:
        numbers = [(e.user, e.item.number) for e in make_world().events]
        rows = [[f"u{user}", f"p{item}", f"{titles[item % len(titles)]} {item}"] for user, item in numbers]
        write_csv(data / "x" / "log.csv", "user,item,title", rows)
        lines = propose(("x",), "x", Decisions()).text.splitlines()
        number = next(number for number, line in enumerate(lines) if "checkpoint: " in line)
        return " ".join(lines[number - 3 : number + 1])

    german = propose_checkpoint(["Großer Rucksack Grün", "Kleiner Kocher", "Warme Mütze"])
    assert "CHECK The language of the texts seems not to be English (" in german
    assert "bert-base-multilingual-cased" in german
    assert "too short to show their language" in propose_checkpoint(["Xerox Zeta", "Acme Bolt"])
    assert "# English texts" in propose_checkpoint(["The bolt of Acme", "A box for my hat"])


def test_items_in_the_log_of_events_have_times_of_their_own(data: Path) -> None:
    world = make_world()
    lines = [
        {
            "ts": int(e.time.timestamp() * 1000),
            "user": {"device": f"d{e.user}"},
            "article": {
                "id": f"a{e.item.number}",
                "title": e.item.title,
                "published_at": 1577836800000 + e.item.number,
            },
        }
        for e in world.events
    ]
    (data / "x").mkdir()
    (data / "x" / "clicks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    proposal = propose(("x",), "x", Decisions())
    assert proposal.content["dataset"]["items"]["columns"]["created_at"] == "article.published_at"
    assert proposal.content["dataset"]["items"]["time_format"] == "milliseconds"
    assert proposal.content["dataset"]["interactions"]["columns"]["time"] == "ts"
    assert proposal.preview.items[0]["created_at"] == "2020-01-01 00:00"


@pytest.mark.parametrize(
    ("name", "made"), [("Shop", "shop"), ("Mein Büro.v2", "mein_b_ro_v2"), ("图书", "shop"), ("a-b_c", "a-b_c")]
)
def test_every_name_of_a_file_gives_a_name(name: str, made: str) -> None:
    assert make_name(name) == made


def test_times_before_1990_are_left_out(data: Path) -> None:
    rows = [
        [f"u{e.user}", f"p{e.item.number}", e.item.title, 315532800 if n % 40 == 0 else int(e.time.timestamp())]
        for n, e in enumerate(make_world().events)
    ]
    write_csv(data / "x" / "log.csv", "user,item,title,ts", rows)
    interactions = read_dataset()["interactions"]
    assert interactions["time_format"] == "seconds"
    assert interactions["earliest_time"] == "1990-01-01T00:00:00Z"


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9)])
def test_units_by_size(data: Path, unit: str, factor: int) -> None:
    rows = [
        [f"u{e.user}", f"p{e.item.number}", e.item.title, int(e.time.timestamp()) * factor] for e in make_world().events
    ]
    write_csv(data / "x" / "log.csv", "user,item,title,ts", rows)
    assert read_dataset()["interactions"]["time_format"] == unit


def test_rows_in_order_of_time_decide_between_day_and_month(data: Path) -> None:
    events = [e for e in make_world(days=330).events if e.time.day <= 12]
    rows = [[f"u{e.user}", f"p{e.item.number}", e.item.title, f"{e.time:%m/%d/%Y}"] for e in events]
    write_csv(data / "x" / "log.csv", "user,item,title,day", rows)
    assert read_dataset()["interactions"]["time_format"] == "%m/%d/%Y"


def test_an_order_without_times(data: Path) -> None:
    world = make_world()
    rows = [[f"u{u}", f"p{e.item.number}", n] for u in world.users for n, e in enumerate(world.of_user(u))]
    write_csv(data / "x" / "log.csv", "user,item,n", rows)
    write_csv(data / "x" / "items.csv", "id,name", [[f"p{i.number}", i.title] for i in world.items])
    dataset = read_dataset()
    assert dataset["interactions"]["columns"]["order"] == "n"
    assert dataset["content"]["windows"]["protocol"] == "leave_last_out"
    # The order may say what comes next; a training looks before it fits the model.
    assert dataset["content"]["candidates"]["depths"]["sequence"] == 100
    assert "sequence" not in dataset["content"].get("text", {})


@pytest.mark.parametrize("described", [True, False])
def test_tags_are_a_source_that_lists_decide_on(data: Path, described: bool) -> None:
    world = make_world()
    rows = [[f"u{e.user}", f"p{e.item.number}", e.time.isoformat()] for e in world.events]
    write_csv(data / "x" / "log.csv", "user,item,at", rows)
    tags = [f"red|round|no{i.number % 5}" if described else "" for i in world.items]
    items = [[f"p{i.number}", i.title, tag] for i, tag in zip(world.items, tags, strict=True)]
    write_csv(data / "x" / "items.csv", "id,name,tags", items)
    content = read_dataset()["content"]
    assert content["windows"]["label_windows"] == 3
    depths = content.get("candidates", {}).get("depths", {})
    assert depths.get("attributes") == (100 if described else None)


def test_repeated_purchases_allow_repeats(data: Path) -> None:
    rows = []
    for e in make_world().events:
        rows += [
            [f"u{e.user}", f"p{e.item.number}", e.item.title, e.time.replace(year=y).isoformat()] for y in (2021, 2022)
        ]
    write_csv(data / "x" / "log.csv", "user,item,title,at", rows)
    dataset = read_dataset()
    assert dataset["repeats"] is True
    assert dataset["content"]["candidates"]["depths"]["repeat"] == 100
    assert "sequence" not in dataset["content"]["candidates"]["depths"]


def test_chinese_titles_ask_for_an_encoder(data: Path) -> None:
    world = make_world()
    write_csv(
        data / "x" / "行为.csv",
        "用户,商品,时间",
        [[e.user + 900, e.item.number + 7000, e.time.isoformat()] for e in world.events],
    )
    write_csv(
        data / "x" / "商品.csv", "商品,名称", [[i.number + 7000, f"第{i.number}本好书的故事"] for i in world.items]
    )
    text = propose(["x"], "x", Decisions()).text
    assert "# CHECK The language of the texts seems to be Chinese" in text
    assert "bert-base-chinese" in text
    assert "text.own_bert" in text.replace("\n# ", " ")


def test_availability_and_the_time_of_joining(data: Path) -> None:
    world = make_world()
    write_hive(data)
    lines = [
        {"id": i.number, "name": i.title, "in_stock": i.number % 9 != 0, "created_at": "2022-01-05T00:00:00Z"}
        for i in world.items
    ]
    (data / "export" / "products.parquet").unlink()
    (data / "export" / "products.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = read_dataset("export")["items"]["columns"]
    assert columns["available"] == "in_stock"
    assert columns["created_at"] == "created_at"


def test_ids_of_ten_digits_are_no_times(data: Path) -> None:
    rows = [
        [1_200_000_000 + e.user, 1_300_000_000 + e.item.number, e.item.title, e.rating] for e in make_world().events
    ]
    write_csv(data / "x" / "log.csv", "client,product id,product name,stars", rows)
    columns = read_dataset()["interactions"]["columns"]
    assert columns == {"user_id": "client", "item_id": "product id", "value": "stars"}


def test_all_ids_of_a_large_catalogue_count(data: Path) -> None:
    rows = [[e.user, 24_000 + e.item.number, f"{e.time:%Y-%m-%d}"] for e in make_world().events]
    write_csv(data / "x" / "log.csv", "user,item,day", rows)
    write_csv(data / "x" / "items.csv", "id,name", [[n, f"The story number {n} of all"] for n in range(25_000)])
    text = propose(["x"], "x", Decisions()).text
    assert "100% of the ids are among the sampled items" in text
    assert "path: x/items.csv  # 25,000 rows" in text


def test_users_who_occur_once_in_a_part_of_a_large_table(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.dataset.proposal.samples._WHOLE_BYTES", 20_000)
    rows = [[n * 7919 % 99_991, e.item.number, f"{e.time:%Y-%m-%d}"] for n, e in enumerate(make_world().events * 3)]
    write_csv(data / "x" / "log.csv", "customer_id,product_id,day", rows)
    write_csv(data / "x" / "items.csv", "id,name", [[i.number, i.title] for i in make_world().items])
    assert read_dataset()["interactions"]["columns"]["user_id"] == "customer_id"


class TestNothingUsable:
    def test_the_history_of_one_person(self, data: Path) -> None:
        rows = [[e.item.title, f"{e.time:%m/%d/%y}"] for e in make_world().events]
        write_csv(data / "x" / "viewing_history.csv", "Title,Date", rows)
        with pytest.raises(DataError, match="looks like the history of one person"):
            read_dataset()

    def test_ids_that_join_through_a_third_table(self, data: Path) -> None:
        world = make_world()
        rows = [[f"u{e.user}", f"r{e.item.number}x", e.time.isoformat()] for e in world.events]
        write_csv(data / "x" / "plays.csv", "user_id,recording_id,played_at", rows)
        write_csv(
            data / "x" / "links.csv", "recording_id,work_id", [[f"r{i.number}x", f"W{i.number}"] for i in world.items]
        )
        write_csv(data / "x" / "works.csv", "work_id,title", [[f"W{i.number}", i.title] for i in world.items])
        with pytest.raises(DataError, match=r"through x/links.csv, by 'recording_id' and 'work_id'"):
            read_dataset()

    def test_no_texts(self, data: Path) -> None:
        write_csv(data / "x" / "e.csv", "visitor,itemid,ts", [[e.user, e.item.number, 1] for e in make_world().events])
        with pytest.raises(DataError, match="may contain interactions, but no table contains item texts"):
            read_dataset()

    def test_users_and_items_in_tables_to_join(self, data: Path) -> None:
        events = list(enumerate(make_world().events))
        write_csv(
            data / "x" / "orders.csv", "order_id,customer_id,day", [[n, e.user, e.time.date()] for n, e in events]
        )
        write_csv(data / "x" / "lines.csv", "order_id,product_id,pieces", [[n, e.item.number, 1] for n, e in events])
        write_csv(data / "x" / "products.csv", "product_id,name", [[i.number, i.title] for i in make_world().items])
        with pytest.raises(
            DataError, match=r"users are in x/orders.csv and the items in x/lines.csv: join the two by 'order_id'"
        ):
            read_dataset()

    def test_no_such_path(self) -> None:
        with pytest.raises(DataError, match="nowhere: no such file or folder"):
            read_dataset("nowhere")

    def test_no_data_file(self, data: Path) -> None:
        (data / "x").mkdir()
        (data / "x" / "README.md").write_text("hello")
        with pytest.raises(DataError, match="no data file"):
            read_dataset()
