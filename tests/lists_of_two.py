"""A small shop whose lists come from two variants, and users who act on them with a known effect."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from miniature import settings
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config, parse_config
from recsys.storage.files import write_table
from recsys.tables import Recommendations, Rejected, empty

FIRST_DAY = datetime(2025, 3, 1, tzinfo=UTC)
N_ITEMS, LENGTH = 60, 5


def make_config(**sections: Any) -> Config:
    return parse_config({**settings(), **sections}, "test")


def make_lists(rows: Sequence[tuple[str, str, Sequence[str]]]) -> pl.DataFrame:
    """Return `Recommendations`; a row is (user, variant, items from the top)."""
    filled = [
        {
            "user_id": user,
            "rank": rank,
            "item_id": item,
            "score": 1.0 / rank,
            "sources": ["als"],
            "reason": "",
            "variant": variant,
            "model_version": {"champion": "1", "challenger": "2"}.get(variant, "3"),
        }
        for user, variant, items in rows
        for rank, item in enumerate(items, start=1)
    ]
    columns = {name: column.dtype for name, column in Recommendations.columns().items()}
    return pl.DataFrame(filled, schema=columns).sort("user_id", "rank")


def publish_lists(home: Path, run_date: str, lists: pl.DataFrame, facts: Mapping[str, Any] | None = None) -> None:
    def write(folder: Path, lists: pl.DataFrame) -> dict[str, Any]:
        write_table(lists, Recommendations, folder / "part-00000.parquet", "lists")
        return {}

    publish(home, "mini", run_date, partial(write, lists=lists), facts or {})


def write_history(home: Path, config: Config, interactions: pl.DataFrame, n_items: int = N_ITEMS) -> None:
    """Write a snapshot with this history."""
    tables = {
        "items": make_items(*(f"i{item:03}" for item in range(n_items))).with_columns(category=pl.lit("")),
        "interactions": interactions,
        "rejected": empty(Rejected),
    }
    (home / "snapshots").mkdir(parents=True, exist_ok=True)
    write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))


def make_shop(
    home: Path, config: Config, *, users: int, nights: int, effect: float, share: float = 0.5, seed: int = 0
) -> pl.DataFrame:
    """Publish nights with a canary, write a snapshot of the month before, and return the events that followed.

    A user acts on the list of a day with a chance of the user's own, which the challenger's list multiplies by
    1 + effect, and buys any other item with a third of it.

    Returns:
        `user_id`, `item_id`, `timestamp` (ISO), `event`, as the config's files have them.
    """
    rng = np.random.default_rng(seed)
    names = [f"u{user:05}" for user in range(users)]
    treated = rng.random(users) < share
    eager = rng.gamma(2.0, 0.05, users)
    days = 28
    # What happened before the test, with the same chance per day.
    before = [
        (names[user], f"i{rng.integers(N_ITEMS):03}", 59.0 - days + day)
        for user, day in np.argwhere(rng.random((users, days)) < eager[:, None])
    ]
    write_history(home, config, make_interactions(*before, (names[0], "i000", 1.0)))
    events = []
    for night in range(nights):
        day = FIRST_DAY + timedelta(days=night)
        chosen = rng.random((users, N_ITEMS)).argsort(axis=1)[:, :LENGTH]
        rows = [
            (name, "challenger" if treated[user] else "champion", [f"i{item:03}" for item in chosen[user]])
            for user, name in enumerate(names)
        ]
        publish_lists(home, day.date().isoformat(), make_lists(rows), {"canary": {"share": share, "key": "k"}})
        chance = eager * np.where(treated, 1 + effect, 1.0)
        listed = [(user, chosen[user, rng.integers(LENGTH)]) for user in np.flatnonzero(rng.random(users) < chance)]
        others = [(user, rng.integers(N_ITEMS)) for user in np.flatnonzero(rng.random(users) < eager / 3)]
        events += [(names[user], f"i{item:03}", _moment(day, rng), "purchase") for user, item in (*listed, *others)]
    return pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "event"], orient="row")


def _moment(day: datetime, rng: np.random.Generator) -> str:
    return (day + timedelta(seconds=int(rng.integers(86_400)))).isoformat()
