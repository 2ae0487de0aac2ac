"""Data of the page's item pages: what the catalogue says about an item, how often it is shown, and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from recsys.dataset.item_vectors import PREFIX
from recsys.dataset.values import list_values

# Of each text, so that one long description does not fill the page.
_CHARACTERS = 240
_TAGS = 8


def gather_items(
    used: pl.Series, detailed: pl.Series, items: pl.DataFrame, lists: pl.DataFrame, history: pl.DataFrame
) -> dict[str, Any]:
    """Return titles and ids of items, and everything else of the detailed ones.

    Args:
        used: ids of all items that the page names, sorted; an item is its index in this order.
        detailed: ids of the items with a page of their own.
        items: `Items`.
        lists: `user_id`, `item_id` of all lists, not only those on the page.
        history: `Interactions` that the lists were made from.

    Returns:
        `titles`, `ids`: of all. `details`: index -> [description, tags, [[attribute, value], …], users, lists].
    """
    named = pl.DataFrame({"item_id": used}).join(items, on="item_id", how="left", maintain_order="left")
    users = dict(history.group_by("item_id").agg(pl.col("user_id").n_unique()).iter_rows())
    shown = dict(lists.group_by("item_id").len().iter_rows())
    attributes = [
        name
        for name in items.columns
        if name not in ("item_id", "title", "description", "tags", "available", "created_at")
        and not name.startswith(PREFIX)
    ]
    wanted = set(detailed)
    # Only the detailed ones, so that a large catalogue is not looked through.
    rows = named.with_row_index("index").filter(pl.col("item_id").is_in(pl.Series(list(wanted)).implode()))
    values = {name: list_values(rows[name]).to_list() for name in ("tags", *attributes)} if rows.height else {}
    details = {}
    for place, row in enumerate(rows.select("index", "item_id", "description").iter_rows(named=True)):
        facts = [[name, ", ".join(values[name][place])] for name in attributes if values[name][place]]
        tags = values["tags"][place][:_TAGS]
        text = _shorten(" ".join((row["description"] or "").split()))
        details[str(row["index"])] = [text, tags, facts, users.get(row["item_id"], 0), shown.get(row["item_id"], 0)]
    return {
        # The id replaces a blank title, and the title of an item that left the catalogue.
        "titles": [
            _shorten(title) if title and title.strip() else item
            for item, title in named.select("item_id", "title").iter_rows()
        ],
        "ids": used.to_list(),
        "details": details,
    }


def link_neighbours(neighbours: pl.DataFrame, detailed: Sequence[str], index: dict[str, int]) -> dict[str, Any]:
    """Return index of an item -> [[index of a neighbour, cosine], …], nearest first.

    Args:
        neighbours: `ItemNeighbours`.
        detailed: ids of the items with a page of their own.
        index: id -> index, of all items on the page.
    """
    wanted = pl.Series(list(detailed), dtype=pl.String).implode()
    links: dict[str, Any] = {}
    for row in neighbours.filter(pl.col("item_id").is_in(wanted)).sort("item_id", "rank").iter_rows(named=True):
        links.setdefault(str(index[row["item_id"]]), []).append([index[row["neighbour"]], round(row["cosine"], 2)])
    return links


def _shorten(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
