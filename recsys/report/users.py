"""Data of the page's browser: a sample of users with their histories and lists, and the items in them, compactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from recsys.evaluation.comparison import OURS
from recsys.report.items import gather_items, link_neighbours
from recsys.tables import ItemNeighbours, ModelLists, empty

# Maximum number of history items per user; the page also shows the total.
HISTORY_LENGTH = 50
# Items with a page of their own.
_DETAILED = 800
# Share of the users for whom the models' lists can be compared, where there are so many.
_COMPARED_SHARE = 2 / 3


def gather_users(
    lists: pl.DataFrame,
    history: pl.DataFrame,
    items: pl.DataFrame,
    held: pl.DataFrame | None,
    max_users: int,
    *,
    compared: pl.DataFrame | None = None,
    neighbours: pl.DataFrame | None = None,
    models: Sequence[str] = (),
) -> dict[str, Any]:
    """Return users with their history and lists, and the items that these name; each text is stored once.

    Args:
        lists: `user_id`, `rank`, `item_id`, `score`, and optionally `sources` and `reason`, as in `Recommendations`.
        history: `Interactions` that the lists were made from.
        items: `Items`.
        held: `TestPositives`; None if the test window is unknown.
        max_users: maximum number of users.
        compared: `ModelLists` of some users for the test window; None: there are none.
        neighbours: `ItemNeighbours`; None: there are none.
        models: whose lists are compared, in this order.

    Returns:
        `titles`, `ids`, `details`: of the items, from `gather_items`; `near`: their neighbours. `sources`, `reasons`,
        `outcomes`, `models`: texts. `start`: index of the user to show first. `users`: per user `id`, `size` (distinct
        items of history), `history` as [item, day], newest first, `list` as [item, score, [source, …], reason] by rank,
        `held` as [item, outcome, rank among our candidates or null] by that rank, and `compared`, a list of items for
        each model, where an item or text is its index. `day` is days since 1970-01-01; null without times.
    """
    compared = empty(ModelLists) if compared is None else compared.filter(pl.col("model").is_in(list(models)))
    chosen, sizes = _sample_users(lists, history, compared, max_users)
    shown = lists.join(chosen, on="user_id", how="semi").sort("user_id", "rank")
    newest = _select_newest(history.join(chosen, on="user_id", how="semi"))
    positives = _sort_held(held.join(chosen, on="user_id", how="semi")) if held is not None else pl.DataFrame()
    tested = compared.join(chosen, on="user_id", how="semi").sort("user_id", "model", "rank")
    listed = [frame["item_id"] for frame in (shown, tested, positives) if frame.height]
    detailed = _select_detailed(listed)
    near = _find_links(empty(ItemNeighbours) if neighbours is None else neighbours, detailed)
    named = [*listed, *([newest["item_id"]] if newest.height else []), near["neighbour"]]
    used = pl.concat([pl.Series([], dtype=pl.String), *(ids.cast(pl.String) for ids in named)]).unique().sort()
    index = {item: number for number, item in enumerate(used)}
    sources, reasons, outcomes = (
        _list_texts(frame, column) for frame, column in ((shown, "sources"), (shown, "reason"), (positives, "outcome"))
    )
    users: dict[str, dict[str, Any]] = {
        user: {"id": user, "size": size, "history": [], "list": [], "held": [], "compared": []}
        for user, size in sizes.items()
    }
    for row in newest.iter_rows(named=True):
        users[row["user_id"]]["history"].append([index[row["item_id"]], row["day"]])
    source_index, reason_index = ({text: number for number, text in enumerate(texts)} for texts in (sources, reasons))
    for row in shown.iter_rows(named=True):
        proposed_by = [source_index[name] for name in row.get("sources", [])]
        reason = reason_index[row["reason"]] if "reason" in row else None
        users[row["user_id"]]["list"].append([index[row["item_id"]], round(row["score"], 4), proposed_by, reason])
    for row in positives.iter_rows(named=True):
        users[row["user_id"]]["held"].append([index[row["item_id"]], outcomes.index(row["outcome"]), row["rank"]])
    for (user,), own in tested.group_by("user_id"):
        by_model = dict(own.group_by("model", maintain_order=True).agg("item_id").iter_rows())
        users[str(user)]["compared"] = [[index[item] for item in by_model.get(model, [])] for model in models]
    return {
        **gather_items(used, detailed, items, lists, history),
        "near": link_neighbours(near, detailed.to_list(), index),
        "sources": sources,
        "reasons": reasons,
        "outcomes": outcomes,
        "models": list(models),
        "start": _choose_start(list(users.values()), models),
        "users": list(users.values()),
    }


def keep_users(found: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the data of fewer users, evenly chosen, and of what they need; nothing is read again.

    Args:
        found: from `gather_users`.
        number: of users to keep.
    """
    users = [found["users"][place] for place in _space_evenly(len(found["users"]), number)]
    listed = {item for user in users for item in _list_shown(user)}
    details = {key: value for key, value in found["details"].items() if int(key) in listed}
    near = {key: value for key, value in found["near"].items() if key in details}
    used = listed | {row[0] for user in users for row in user["history"]}
    used |= {item for links in near.values() for item, _ in links}
    order = sorted(used)
    new = {item: number for number, item in enumerate(order)}

    def renumber(rows: list[list[Any]]) -> list[list[Any]]:
        return [[new[item], *rest] for item, *rest in rows]

    kept = [
        {
            **user,
            **{name: renumber(user[name]) for name in ("history", "list", "held")},
            "compared": [[new[item] for item in row] for row in user["compared"]],
        }
        for user in users
    ]
    return {
        **found,
        **{name: [found[name][item] for item in order] for name in ("titles", "ids")},
        "details": {str(new[int(key)]): value for key, value in details.items()},
        "near": {str(new[int(key)]): renumber(links) for key, links in near.items()},
        "start": _choose_start(kept, found["models"]),
        "users": kept,
    }


def _list_shown(user: dict[str, Any]) -> list[int]:
    """Return the items of a user that may have a page of their own: listed, compared or chosen in the test window."""
    return [*(row[0] for row in [*user["list"], *user["held"]]), *(item for row in user["compared"] for item in row)]


def _sample_users(
    lists: pl.DataFrame, history: pl.DataFrame, compared: pl.DataFrame, max_users: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Select users evenly from the shortest to the longest history; the same lists give the same users.

    Users whose models' lists can be compared are preferred, but do not take all places.
    """
    counted = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size"))
    sizes = (
        lists.select(pl.col("user_id").unique())
        .join(counted, on="user_id", how="left")
        .with_columns(pl.col("size").fill_null(0))
        .sort("size", "user_id")
    )
    tested = sizes.join(compared, on="user_id", how="semi")
    others = sizes.join(compared, on="user_id", how="anti")
    places = min(tested.height, max(round(max_users * _COMPARED_SHARE), max_users - others.height), max_users)
    chosen = pl.concat([_pick_evenly(tested, places), _pick_evenly(others, max_users - places)]).sort("size", "user_id")
    return chosen.select("user_id"), dict(chosen.iter_rows())


def _pick_evenly(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    return rows[_space_evenly(rows.height, most)]


def _space_evenly(total: int, most: int) -> list[int]:
    shown = min(most, total)
    steps = max(1, shown - 1)
    return sorted({round(step * (total - 1) / steps) for step in range(shown)})


def _select_newest(history: pl.DataFrame) -> pl.DataFrame:
    """Return each user's newest distinct items, newest first, ties by item id, with the day of the last interaction."""
    return (
        history.group_by("user_id", "item_id")
        .agg(pl.col("step").max(), pl.col("time").max().dt.epoch("d").alias("day"))
        .sort("user_id", "step", "item_id", descending=[False, True, False])
        .group_by("user_id", maintain_order=True)
        .head(HISTORY_LENGTH)
    )


def _sort_held(held: pl.DataFrame) -> pl.DataFrame:
    """Sort each user's test positives by their rank among our candidates; those that are no candidates come last."""
    return held.sort("user_id", "rank", "item_id", nulls_last=True)


def _select_detailed(listed: Sequence[pl.Series]) -> pl.Series:
    """Return the items that the shown lists hold most often."""
    if not listed:
        return pl.Series("item_id", [], dtype=pl.String)
    counts = pl.concat(listed).alias("item_id").value_counts(name="times")
    return counts.sort("times", "item_id", descending=[True, False])["item_id"].head(_DETAILED)


def _find_links(neighbours: pl.DataFrame, detailed: pl.Series) -> pl.DataFrame:
    return neighbours.filter(pl.col("item_id").is_in(detailed.implode()))


def _choose_start(users: Sequence[dict[str, Any]], models: Sequence[str]) -> int:
    """Return the index of a typical user: one with a hit in our test list if there is any, of middle history."""
    place = list(models).index(OURS) if OURS in models else None

    def has_hit(user: dict[str, Any]) -> bool:
        taken = {row[0] for row in user["held"]}
        return place is not None and bool(user["compared"]) and bool(taken & set(user["compared"][place]))

    good = [number for number, user in enumerate(users) if has_hit(user)] or list(range(len(users)))
    return good[len(good) // 2] if good else 0


def _list_texts(shown: pl.DataFrame, column: str) -> list[str]:
    if column not in shown.columns:
        return []
    texts = shown[column].explode() if isinstance(shown.schema[column], pl.List) else shown[column]
    return sorted(texts.drop_nulls().unique().to_list())
