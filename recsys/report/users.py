"""Data of the page's user browser: an even sample of users with their histories and lists, in compact form."""

from __future__ import annotations

from typing import Any

import polars as pl

# Maximum number of history items per user; the page also shows the total.
HISTORY_LENGTH = 50


def gather_users(
    lists: pl.DataFrame, history: pl.DataFrame, items: pl.DataFrame, held: pl.DataFrame | None, max_users: int
) -> dict[str, Any]:
    """Return users with their history and list; each text is stored once.

    Args:
        lists: `user_id`, `rank`, `item_id`, `score`, and optionally `sources` and `reason`, as in `Recommendations`.
        history: `Interactions` that the lists were made from.
        items: `Items`.
        held: `TestPositives` of the lists' users; None if the test window is unknown.
        max_users: maximum number of users.

    Returns:
        `titles`, `sources`, `reasons`, `outcomes`: texts. `users`: per user `id`, `size` (distinct items of history),
        `history` as [title, day], newest first, `list` as [title, score, [source, …], reason] by rank, and `held` as
        [title, outcome, rank among our candidates or null], where a text is its index. `day` is days since 1970-01-01;
        null without times.
    """
    chosen, sizes = _sample_users(lists, history, max_users)
    shown = lists.join(chosen, on="user_id", how="semi").sort("user_id", "rank")
    newest = _select_newest(history.join(chosen, on="user_id", how="semi"))
    positives = held.join(chosen, on="user_id", how="semi") if held is not None else pl.DataFrame()
    frames = [frame for frame in (shown, newest, positives) if frame.height]
    used = (
        pl.concat([frame["item_id"] for frame in frames]).unique().sort() if frames else pl.Series([], dtype=pl.String)
    )
    names = pl.DataFrame({"item_id": used}).join(items, on="item_id", how="left", maintain_order="left")
    index = {item: number for number, item in enumerate(used)}
    sources, reasons, outcomes = (
        _list_texts(frame, column) for frame, column in ((shown, "sources"), (shown, "reason"), (positives, "outcome"))
    )
    users: dict[str, dict[str, Any]] = {
        user: {"id": user, "size": size, "history": [], "list": [], "held": []} for user, size in sizes.items()
    }
    for row in newest.iter_rows(named=True):
        users[row["user_id"]]["history"].append([index[row["item_id"]], row["day"]])
    for row in shown.iter_rows(named=True):
        proposed_by = [sources.index(name) for name in row.get("sources", [])]
        reason = reasons.index(row["reason"]) if "reason" in row else None
        users[row["user_id"]]["list"].append([index[row["item_id"]], round(row["score"], 4), proposed_by, reason])
    for row in positives.iter_rows(named=True):
        users[row["user_id"]]["held"].append([index[row["item_id"]], outcomes.index(row["outcome"]), row["rank"]])
    return {
        # The id replaces a blank title, and the title of an item that left the catalogue.
        "titles": [
            title if title and title.strip() else item for item, title in names.select("item_id", "title").iter_rows()
        ],
        "sources": sources,
        "reasons": reasons,
        "outcomes": outcomes,
        "users": list(users.values()),
    }


def _sample_users(lists: pl.DataFrame, history: pl.DataFrame, max_users: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Select users evenly from the shortest to the longest history; the same lists give the same users."""
    counted = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size"))
    sizes = (
        lists.select(pl.col("user_id").unique())
        .join(counted, on="user_id", how="left")
        .with_columns(pl.col("size").fill_null(0))
        .sort("size", "user_id")
    )
    shown = min(max_users, sizes.height)
    steps = max(1, shown - 1)
    rows = sorted({round(step * (sizes.height - 1) / steps) for step in range(shown)})
    chosen = sizes[rows]
    return chosen.select("user_id"), dict(chosen.iter_rows())


def _select_newest(history: pl.DataFrame) -> pl.DataFrame:
    """Return each user's newest distinct items, newest first, ties by item id, with the day of the last interaction."""
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
