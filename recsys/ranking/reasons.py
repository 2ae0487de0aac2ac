"""Which source or column each feature counts for, and the item of the history that is nearest to a listed item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.histories import Histories
from recsys.storage.compilation import compiled

_POPULAR = (
    "item_users",
    "item_recent",
    "item_trend",
    "item_recent_share",
    "item_percentile",
    "item_days_since_last",
    "popularity_fit",
)
_NEW = ("item_age_days", "age_fit")
_MATCHES = ("recent_match_", "match_")
# Prefixes of features that are computed from a model but not from its source's scores.
_MODELS = ("text_", "als_", "item_to_item_", "transitions_")
# Newest items that a reason may name.
_MOST = 50


def group_features(features: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return what each feature counts for: a source, `match NAME` for a column of the items, or "" for nothing.

    Args:
        features: names.
        sources: names of the sources that propose; features of other sources count for nothing.
    """
    return [_find_group(feature, sources) for feature in features]


def _find_group(feature: str, sources: Sequence[str]) -> str:
    for source in sorted(sources, key=len, reverse=True):
        if feature in (f"{source}_rank", f"{source}_z", f"{source}_gap"):
            return source
    if feature in _POPULAR:
        found = "popular"
    elif feature in _NEW:
        found = "new_items"
    elif feature.startswith("had_"):
        found = "repeat"
    elif matching := [prefix for prefix in _MATCHES if feature.startswith(prefix)]:
        return f"match {feature.removeprefix(matching[0])}"
    else:
        found = next((model.removesuffix("_") for model in _MODELS if feature.startswith(model)), "")
    return found if found in sources else ""


def find_nearest(
    users: NDArray[np.int64],
    items: NDArray[np.int32],
    histories: Histories,
    embeddings: NDArray[np.float32],
    least: float,
) -> NDArray[np.int32]:
    """Return (n_rows) int32: the item with the nearest text among the user's fifty newest items; -1 for none.

    Args:
        users: (n_rows) int64, of the histories.
        items: (n_rows) int32.
        histories: of these users.
        embeddings: (n_items, embedding_size) float32, unit rows.
        least: smallest cosine that counts.
    """
    found = np.full(len(items), -1, dtype=np.int32)
    past = (histories.starts, histories.items, histories.consumed)
    _find_nearest(users, items, *past, embeddings, np.float32(least), found)
    return found


@compiled(fastmath={"reassoc", "contract"})
def _find_nearest(users, items, past_starts, past_items, consumed, embeddings, least, nearest):  # type: ignore[no-untyped-def]
    for row in range(len(items)):
        user, own = users[row], embeddings[items[row]]
        most = least
        for entry in range(past_starts[user + 1] - 1, max(past_starts[user], past_starts[user + 1] - _MOST) - 1, -1):
            item = past_items[entry]
            if not consumed[entry] or item == items[row]:
                continue
            cosine = np.float32(0.0)
            for cell in range(len(own)):
                cosine += own[cell] * embeddings[item, cell]
            if cosine > most:
                most, nearest[row] = cosine, item
