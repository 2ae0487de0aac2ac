"""A small shop whose lists come from two variants, and users who act on them with a known effect."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from miniature import settings
from numpy.typing import NDArray
from worlds import make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config, parse_config
from recsys.storage.files import write_table
from recsys.tables import Interactions, Recommendations, Rejected, empty

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
    names = pl.Series([f"u{user:05}" for user in range(users)])
    items = pl.Series([f"i{item:03}" for item in range(N_ITEMS)])
    treated = rng.random(users) < share
    eager = rng.gamma(2.0, 0.05, users)
    write_history(home, config, _draw_history(rng, names, items, eager))
    variants = pl.Series(["champion", "challenger"]).gather(treated.astype(int))
    events = []
    for night in range(nights):
        day = FIRST_DAY + timedelta(days=night)
        chosen = np.argsort(rng.random((users, N_ITEMS), dtype=np.float32), axis=1)[:, :LENGTH]
        lists = _make_table(names, variants, items.gather(chosen.ravel()))
        publish_lists(home, day.date().isoformat(), lists, {"canary": {"share": share, "key": "k"}})
        acting = np.flatnonzero(rng.random(users) < eager * np.where(treated, 1 + effect, 1.0))
        listed = chosen[acting, rng.integers(LENGTH, size=len(acting))]
        elsewhere = np.flatnonzero(rng.random(users) < eager / 3)
        others = rng.integers(N_ITEMS, size=len(elsewhere))
        for who, what in ((acting, listed), (elsewhere, others)):
            seconds = pl.Series(rng.integers(86_400, size=len(who)))
            times = pl.select(pl.lit(day) + pl.duration(seconds=seconds)).to_series()
            columns = {"user_id": names.gather(who), "item_id": items.gather(what), "timestamp": times}
            events.append(pl.DataFrame(columns).with_columns(event=pl.lit("purchase")))
    return pl.concat(events).with_columns(pl.col("timestamp").dt.to_string("iso:strict"))


def _make_table(names: pl.Series, variants: pl.Series, shown: pl.Series) -> pl.DataFrame:
    """Return `Recommendations` of lists that are all of one length."""
    rows = np.repeat(np.arange(len(names)), LENGTH)
    ranks = np.tile(np.arange(1, LENGTH + 1), len(names))
    frame = pl.DataFrame(
        {
            "user_id": names.gather(rows),
            "rank": ranks.astype(np.uint16),
            "item_id": shown,
            "score": (1.0 / ranks).astype(np.float32),
            "variant": variants.gather(rows),
        }
    ).with_columns(
        sources=pl.lit(["als"]),
        reason=pl.lit(""),
        model_version=pl.when(pl.col("variant") == "champion").then(pl.lit("1")).otherwise(pl.lit("2")),
    )
    return frame.select(Recommendations.columns().keys())


def _draw_history(
    rng: np.random.Generator, names: pl.Series, items: pl.Series, eager: NDArray[np.float64], days: int = 28
) -> pl.DataFrame:
    """Return `Interactions` of the four weeks before the test, with the same chance per day."""
    who, when = np.nonzero(rng.random((len(names), days)) < eager[:, None])
    columns = {
        "user_id": names.gather(who),
        "item_id": items.gather(rng.integers(N_ITEMS, size=len(who))),
        "step": pl.int_range(len(who), eager=True).cast(pl.UInt32),
        "time": pl.select(pl.lit(FIRST_DAY - timedelta(days=days)) + pl.duration(days=pl.Series(when))).to_series(),
    }
    constant = {"event": "purchase", "weight": 1.0, "value": None, "position": None, "positive": True, "consumed": True}
    frame = pl.DataFrame(columns).with_columns(**{name: pl.lit(value) for name, value in constant.items()})
    wanted = {name: column.dtype for name, column in Interactions.columns().items()}
    return frame.with_columns(step=pl.int_range(pl.len()).over("user_id")).select(wanted.keys()).cast(wanted)
