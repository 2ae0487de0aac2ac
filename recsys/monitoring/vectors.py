"""Vectors: whether the encoder still sees in each item what it saw in the last good night of the same champion."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.monitoring.figures import Figures, average_by_item_column

# An own cosine that is smaller by less than this counts as a tie: vectors are rounded.
_TIE = 0.01


def watch_vectors(
    figures: Figures,
    now: pl.DataFrame,
    last: pl.DataFrame,
    unchanged: pl.Series,
    items: pl.DataFrame,
    columns: tuple[str, ...],
) -> None:
    """Add the figures of the vectors of a sample of items.

    `identity.vector_moved` is the share of the items whose vector is closer to last night's vector of another sampled
    item than to their own, as in a catalogue whose texts were given to other items; a text that was reworded stays near
    itself. `model.vector_change` is 1 minus the mean cosine of items whose text did not change, 0 for the same encoder.
    `model.centroid_shift` is 1 minus the cosine of the mean vectors of both nights.

    Args:
        figures: to add to.
        now: `ItemVectors` of tonight.
        last: the same for the last good night by the same version with the same settings.
        unchanged: `item_id` of the items whose text is known to be the same in both nights.
        items: `Items`.
        columns: item columns whose values are segments.
    """
    both = now.join(last, on="item_id", suffix="_before").sort("item_id")
    if both.is_empty() or not now["vector"].list.len().eq(last["vector"].list.len()[0]).all():
        return
    new, old = (_to_unit(both[name]) for name in ("vector", "vector_before"))
    cosines = new @ old.T
    own = np.diagonal(cosines)
    moved = cosines.max(axis=1) > own + _TIE
    marked = both.select("item_id", moved=pl.Series(moved))
    segments = average_by_item_column(marked, items, columns, pl.col("moved").mean())
    figures.add("identity.vector_moved", float(moved.mean()), segments)
    same = both["item_id"].is_in(unchanged.implode()).to_numpy()
    if same.any():
        figures.add("model.vector_change", max(0.0, 1.0 - float(own[same].mean())))
    centers = [_to_unit(table["vector"]).mean(axis=0) for table in (now, last)]
    norms = [float(np.linalg.norm(center)) for center in centers]
    if min(norms) > 0:
        figures.add("model.centroid_shift", max(0.0, 1.0 - float(centers[0] @ centers[1]) / (norms[0] * norms[1])))


def _to_unit(vectors: pl.Series) -> NDArray[np.float32]:
    """Return (n_items, embedding_size) float32, rows unit length; a vector of zeros stays zero."""
    matrix = np.array(vectors.to_list(), dtype=np.float32)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit: NDArray[np.float32] = matrix / np.maximum(lengths, 1e-12)
    return unit
