"""The page stays small, and is drawn quickly, however many users and items there are."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from handmade import make_home
from worlds import at, make_interactions, make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.runs import read_run
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.report.page import _gather_browser, _Lists, write_report
from recsys.storage.files import write_table
from recsys.tables import Recommendations, Rejected, empty


def test_the_browser_shows_fewer_users_where_the_page_would_be_too_large(tmp_path: Path) -> None:
    make_home(tmp_path / "home", nights=0)
    run = read_run(tmp_path / "home", "mini")
    rng = np.random.default_rng(0)
    # Long Chinese titles and descriptions: three bytes a letter.
    items = make_items(
        *(
            {"item_id": f"i{number}", "title": f"{number} " + "深夜食堂" * 9, "description": "书" * 500}
            for number in range(4000)
        )
    )
    users = [f"u{number}" for number in range(1000)]
    pairs = [(user, f"i{item}") for user in users for item in rng.integers(0, 4000, 30)]
    lists = pl.DataFrame(
        {
            "user_id": np.repeat(users, 10),
            "rank": np.tile(np.arange(1, 11), 1000),
            "item_id": [f"i{item}" for item in rng.integers(0, 4000, 10_000)],
            "score": 1.0,
        }
    )
    source = _Lists(lists, make_interactions(*set(pairs), ordered=False), items, "Lists")
    room = 700_000
    whose, text = _gather_browser(run, source, 1000, room)
    assert 0.6 * room < len(text.encode()) <= room
    assert 10 < int(whose.split(": ")[1].split(" of ")[0]) < 1000


def publish_large_night(home: Path, config: Config, n_items: int, n_users: int) -> None:
    """Publish lists of many users over a large catalogue, with a snapshot of five interactions each."""
    rng = np.random.default_rng(0)
    described = "A long journey through the hills, with a lamp, a map and somebody who knows the way. " * 3
    items = make_items(
        *(
            {"item_id": f"i{item:05}", "title": f"A story about {item}", "description": described, "tags": ["hills"]}
            for item in range(n_items)
        )
    )
    ids = items["item_id"].to_numpy()
    users = np.array([f"u{user:06}" for user in range(n_users)])

    def draw(each: int) -> pl.DataFrame:
        # Popular items more often; steps through the catalogue, so that no list shows an item twice.
        first = (n_items * rng.random(n_users) ** 3).astype(np.int64)[:, None]
        taken = (first + 7 * np.arange(each)) % n_items
        return pl.DataFrame({"user_id": np.repeat(users, each), "item_id": ids[taken.ravel()]})

    step = pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id")
    interactions = draw(5).with_columns(
        step=step,
        time=pl.lit(at(20)) + pl.duration(hours=step),
        event=pl.lit("view"),
        weight=pl.lit(1.0, pl.Float32),
        value=pl.lit(None, pl.Float32),
        position=pl.lit(None, pl.UInt16),
        positive=pl.lit(True),
        consumed=pl.lit(True),
    )
    tables = {"items": items, "interactions": interactions, "rejected": empty(Rejected)}
    snapshot = write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))
    rank = (1 + pl.int_range(pl.len()).over("user_id")).cast(pl.UInt16)
    lists = draw(10).with_columns(
        rank=rank,
        score=(1 / rank).cast(pl.Float32),
        sources=pl.lit(["als", "text"]),
        reason=pl.lit("More hills: ") + pl.col("item_id").str.tail(2),
        variant=pl.lit("ranker"),
        model_version=pl.lit("1"),
    )

    def fill(folder: Path) -> dict[str, Any]:
        write_table(lists.select(*Recommendations.columns()), Recommendations, folder / "part-00000.parquet", "lists")
        return {}

    facts = {"model_version": "1", "snapshot": snapshot, "end": at(40).isoformat()}
    publish(home, config.name, "2025-02-10", fill, facts)


def test_the_page_of_a_large_catalogue_is_below_two_megabytes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = make_home(home, nights=0)
    publish_large_night(home, config, n_items=20_000, n_users=100_000)
    page = write_report(config, home)
    text = page.read_text("utf-8")
    assert "of 100,000 users" in text
    assert "of 20,000 items that may be recommended" in text
    assert page.stat().st_size < 2_000_000
