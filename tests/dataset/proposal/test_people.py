"""A file or a folder for each person, as services give their users' histories, is one table with a user per name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dataset.proposal.layouts import write_table
from dataset.proposal.world import FIRST, Event, make_world

from recsys.config import parse_config
from recsys.dataset.ingestion import ingest
from recsys.dataset.proposal.proposal import propose
from recsys.dataset.proposal.questions import Decisions
from recsys.errors import DataError

WORLD = make_world(users=12)
PEOPLE = {user: FIRST[user].lower() for user in WORLD.users}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return tmp_path


def write_netflix(path: Path, events: list[Event]) -> None:
    write_table(path, [["Title", "Date"], *([e.item.title, f"{e.time:%m/%d/%y}"] for e in events)])


def write_spotify(path: Path, events: list[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plays = [
        {
            "endTime": f"{e.time:%Y-%m-%d %H:%M}",
            "artistName": e.item.author,
            "trackName": e.item.title,
            "msPlayed": 90_000 + 7919 * n % 100_000,
        }
        for n, e in enumerate(events)
    ]
    text = json.dumps(plays, indent=2).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def check_people(expected: str, title: str) -> dict[str, Any]:
    """Propose a config for folder `x`: a table whose users are the people."""
    proposal = propose(["x"], "x", Decisions())
    dataset = proposal.content["dataset"]
    assert dataset["interactions"]["path"] == dataset["items"]["path"] == expected
    assert dataset["interactions"]["columns"]["user_id"] == "user"
    assert dataset["items"]["columns"]["title"] == title
    config = parse_config(proposal.content, "proposed")
    users = ingest(config.dataset, now=datetime(2026, 1, 1, tzinfo=UTC)).interactions["user_id"]
    assert set(users) == set(PEOPLE.values())
    return dict(dataset["interactions"])


@pytest.mark.parametrize(
    ("write", "suffix", "title"),
    [(write_netflix, "csv", "Title"), (write_spotify, "json", "trackName"), (write_spotify, "json.gz", "trackName")],
)
def test_a_file_for_each_person(data: Path, write: Callable[..., None], suffix: str, title: str) -> None:
    for user, name in PEOPLE.items():
        write(data / "x" / f"{name}.{suffix}", WORLD.of_user(user))
    check_people("x", title)


def test_other_files_beside_a_folder_of_people(data: Path) -> None:
    write_table(data / "x" / "stores.txt", [["store", "city", "opened"], *([n, f"City {n}", 2000] for n in range(9))])
    for user, name in PEOPLE.items():
        write_netflix(data / "x" / f"{name}.csv", WORLD.of_user(user))
    check_people("x/*.csv", "Title")


def test_several_files_of_the_same_names_in_the_folder_of_each_person(data: Path) -> None:
    for user, name in PEOPLE.items():
        events = WORLD.of_user(user)
        write_spotify(data / "x" / name / "StreamingHistory0.json", events[:12])
        write_spotify(data / "x" / name / "StreamingHistory1.json", events[12:])
        (data / "x" / name / "Identity.json").write_text(json.dumps({"displayName": name, "country": "SE"}))
    interactions = check_people("x/*/StreamingHistory*.json", "trackName")
    assert interactions["file_name"] == "(?P<user>[^/]+)/[^/]+$"


def test_files_of_other_names_in_the_folder_of_each_person(data: Path) -> None:
    for user, name in PEOPLE.items():
        events = WORLD.of_user(user)
        write_netflix(data / "x" / name / f"{name} until May.csv", events[:12])
        write_netflix(data / "x" / name / f"later_{user}.csv", events[12:])
    check_people("x", "Title")


def test_a_file_for_each_person_in_folders_of_years(data: Path) -> None:
    for user, name in PEOPLE.items():
        events = WORLD.of_user(user)
        write_spotify(data / "x" / "2023" / f"{name}.json", events[:12])
        write_spotify(data / "x" / "2024" / f"{name}.json", events[12:])
    check_people("x", "trackName")


def test_files_of_items_and_users_with_the_same_columns_stay_apart(data: Path) -> None:
    (data / "x").mkdir()
    for name in ("users", "items", "stores", "brands", "topics"):
        rows = [[f"{name[0]}{i.number}", i.title if name == "items" else f"N {i.number}"] for i in WORLD.items]
        write_table(data / "x" / f"{name}.csv", [["id", "name"], *rows])
    rows = [[f"u{e.user}", f"i{e.item.number}", f"{e.time:%Y-%m-%d}"] for e in WORLD.events]
    write_table(data / "x" / "orders.tsv", [["customer", "product", "day"], *rows], "\t")
    dataset = propose(["x"], "x", Decisions()).content["dataset"]
    assert dataset["items"]["path"] == "x/items.csv"
    assert dataset["interactions"]["path"] == "x/orders.tsv"


def test_too_many_tables_to_compare(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.dataset.proposal.samples._MOST_TABLES", 10)
    for user, name in PEOPLE.items():
        write_netflix(data / "x" / f"{name}.csv", WORLD.of_user(user))
    write_table(data / "x" / "prices.csv", [["Film", "Price", "Shop"], ["A", 3, "B"]])
    with pytest.raises(DataError, match=r"more than 10 tables, such as x/.*csv; .* into a folder of their own"):
        propose(["x"], "x", Decisions())
