"""The ranker's training table: candidates of a label window, with the items that the user consumed as labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    import lightgbm as lgb


def label_rows(features: pl.DataFrame, positives: pl.DataFrame, shown: pl.DataFrame, *, window: int) -> pl.DataFrame:
    """Return `TrainingRows`: the features with a label, without groups in which no candidate is a positive.

    Args:
        features: keys and features of every candidate of the window.
        positives: `user_index`, `item_index` of the pairs that users consumed.
        shown: `user_index`, `item_index`, `position`: where items were shown.
        window: number of the label window, 0 the newest.
    """
    labelled = mark_positives(features, positives)
    labelled = labelled.join(shown, on=["user_index", "item_index"], how="left", maintain_order="left")
    labelled = labelled.filter((pl.col("label").max() > 0).over("user_index"))
    keys = ["user_index", "item_index", "label", "position"]
    return labelled.select(pl.lit(window, dtype=pl.UInt8).alias("window"), *keys, pl.exclude(keys))


def mark_positives(features: pl.DataFrame, positives: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in their order with `label` (UInt8): 1 where the pair is among the positives, else 0."""
    keys = ["user_index", "item_index"]
    labels = positives.select(*keys, pl.lit(1, dtype=pl.UInt8).alias("label"))
    return features.join(labels, on=keys, how="left", maintain_order="left").with_columns(pl.col("label").fill_null(0))


def share_negatives(rows: pl.DataFrame, max_rows: int) -> float:
    """Return the share of the negatives that leaves about `max_rows` rows if every positive stays."""
    positive = int(rows["label"].sum())
    return min(1.0, max(0, max_rows - positive) / max(1, rows.height - positive))


def thin_negatives(rows: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Return the rows with this share of the negatives, drawn at random; every positive stays."""
    if share >= 1.0:
        return rows
    drawn = np.random.default_rng(seed).random(rows.height) < share
    return rows.filter((pl.col("label") > 0) | pl.Series(drawn))


def find_starts(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Return (n_groups + 1) int64: where each run of one (window, user) begins, or of one user without windows."""
    keys = [key for key in ("window", "user_index") if key in rows.columns]
    sizes = rows.select(pl.struct(keys).rle().struct.field("len").cast(pl.Int64)).to_series().to_numpy()
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])


def read_column(rows: pl.DataFrame, name: str) -> NDArray[np.float32]:
    """Return (n_rows) float32 of a feature, NaN where it is missing."""
    return rows[name].cast(pl.Float32).to_numpy()


def to_dataset(
    matrix: NDArray[np.float32], rows: pl.DataFrame, parameters: dict[str, object], names: list[str]
) -> lgb.Dataset:
    """Return the rows as a LightGBM data set, a group per window and user.

    Where the log has the positions at which items were shown, LightGBM learns the effect of the position separately
    from the trees and drops it afterwards (Hu et al. 2019, WWW). Items that were not shown share position 0.

    Args:
        matrix: (n_rows, n_columns) float32, the inputs of the trees.
        rows: `TrainingRows`, the rows of the matrix.
        parameters: of LightGBM; trees with other seeds can learn from the same data set.
        names: of the columns of the matrix.
    """
    import lightgbm as lgb

    data = lgb.Dataset(
        matrix,
        rows["label"].to_numpy(),
        group=np.diff(find_starts(rows)),
        position=_read_positions(rows),
        feature_name=names,
        params=dict(parameters),
    )
    return data.construct()


def take_part(data: lgb.Dataset, rows: pl.DataFrame, part: NDArray[np.int64]) -> lgb.Dataset:
    """Return some groups of a data set, without binning its columns again.

    Args:
        data: from `to_dataset`.
        rows: all its rows.
        part: indexes of rows, ascending, whole groups.
    """
    taken = data.subset(part).construct()
    # The subset has labels and groups of its own, but no positions.
    if (positions := _read_positions(rows[part])) is not None:
        taken.set_position(positions)
    return taken


def _read_positions(rows: pl.DataFrame) -> NDArray[np.int32] | None:
    shown = rows["position"]
    return None if shown.null_count() == len(shown) else shown.fill_null(0).cast(pl.Int32).to_numpy()
