"""What the page's browser of users holds: histories beside lists, compact, and chosen evenly."""

from __future__ import annotations

from typing import Any

import polars as pl

# The newest items of a history that the page shows; it says how many there are in all.
HISTORY_LENGTH = 50


def gather_users(
    lists: pl.DataFrame, history: pl.DataFrame, items: pl.DataFrame, held: pl.DataFrame | None, at_most: int
) -> dict[str, Any]:
    """Return users with their history and list, each title stored once.

    Args:
        lists: `user_id`, `rank`, `item_id`, `score`, and perhaps `sources` and `reason`, as in `Recommendations`.
        history: `Interactions` that the lists were made from.
        items: `Items`.
        held: `TestPositives` of the lists' users: what they took afterwards; None where nobody knows.
        at_most: users.

    Returns:
        `titles`, `sources`, `reasons`, `outcomes`: texts. `users`: per user `id`, `size` (distinct items of history),
        `history` as [title, day], newest first, `list` as [title, score, [source, …], reason] by rank, and `held` as
        [title, outcome, rank among our candidates or null]; texts by their place. A day counts from 1970-01-01; it is
        null without times.
    """
    chosen, sizes = _choose(lists, history, at_most)
    shown = lists.join(chosen, on="user_id", how="semi").sort("user_id", "rank")
    had = _find_newest(history.join(chosen, on="user_id", how="semi"))
    took = held.join(chosen, on="user_id", how="semi") if held is not None else pl.DataFrame()
    frames = [frame for frame in (shown, had, took) if frame.height]
    used = (
        pl.concat([frame["item_id"] for frame in frames]).unique().sort() if frames else pl.Series([], dtype=pl.String)
    )
    names = pl.DataFrame({"item_id": used}).join(items, on="item_id", how="left", maintain_order="left")
    place = {item: number for number, item in enumerate(used)}
    sources, reasons, outcomes = (
        _list_texts(*one) for one in ((shown, "sources"), (shown, "reason"), (took, "outcome"))
    )
    users: dict[str, dict[str, Any]] = {
        user: {"id": user, "size": size, "history": [], "list": [], "held": []} for user, size in sizes.items()
    }
    for row in had.iter_rows(named=True):
        users[row["user_id"]]["history"].append([place[row["item_id"]], row["day"]])
    for row in shown.iter_rows(named=True):
        found = [sources.index(name) for name in row.get("sources", [])]
        reason = reasons.index(row["reason"]) if "reason" in row else None
        users[row["user_id"]]["list"].append([place[row["item_id"]], round(row["score"], 4), found, reason])
    for row in took.iter_rows(named=True):
        users[row["user_id"]]["held"].append([place[row["item_id"]], outcomes.index(row["outcome"]), row["rank"]])
    return {
        # A blank title, or an item that left the catalogue: its id.
        "titles": [
            title if title and title.strip() else item for item, title in names.select("item_id", "title").iter_rows()
        ],
        "sources": sources,
        "reasons": reasons,
        "outcomes": outcomes,
        "users": list(users.values()),
    }


def _choose(lists: pl.DataFrame, history: pl.DataFrame, at_most: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Take users evenly from the shortest to the longest history, so that the same lists show the same users."""
    counted = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size"))
    sizes = (
        lists.select(pl.col("user_id").unique())
        .join(counted, on="user_id", how="left")
        .with_columns(pl.col("size").fill_null(0))
        .sort("size", "user_id")
    )
    shown = min(at_most, sizes.height)
    steps = max(1, shown - 1)
    places = sorted({round(step * (sizes.height - 1) / steps) for step in range(shown)})
    chosen = sizes[places]
    return chosen.select("user_id"), dict(chosen.iter_rows())


def _find_newest(history: pl.DataFrame) -> pl.DataFrame:
    """Each user's newest distinct items, newest first, ties by item id, with the day they were last touched."""
    return (
        history.group_by("user_id", "item_id")
        .agg(pl.col("step").max(), pl.col("time").max().dt.epoch("d").alias("day"))
        .sort("user_id", "step", "item_id", descending=[False, True, False])
        .group_by("user_id", maintain_order=True)
        .head(HISTORY_LENGTH)
    )


def _list_texts(shown: pl.DataFrame, column: str) -> list[str]:
    if column not in shown.columns:
        return []
    texts = shown[column].explode() if isinstance(shown.schema[column], pl.List) else shown[column]
    return sorted(texts.drop_nulls().unique().to_list())
