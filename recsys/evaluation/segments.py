"""Segments: the comparison repeated for some users, some items, some kinds of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import EvaluationConfig, SegmentsConfig
from recsys.evaluation.comparison import estimate
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.tied_ranks import TiedRanks
from recsys.progress import track


@dataclass(frozen=True)
class Segment:
    """A named subset of the positives.

    Attributes:
        dimension: what the positives are divided by.
        name: the value of the dimension.
        kept: `(n_positives,)` bool, the positives in the segment.
    """

    dimension: str
    name: str
    kept: NDArray[np.bool_]

    @property
    def label(self) -> str:
        """Dimension and value in one string, such as `items: cold`."""
        return f"{self.dimension}: {self.name}"


def cut_segments(
    positives: pl.DataFrame,
    user_items: NDArray[np.int64],
    item_users: NDArray[np.float32],
    items: pl.DataFrame,
    config: SegmentsConfig,
) -> list[Segment]:
    """Divide the positives by user, item, popularity, event kind, and the item columns that the config names.

    Args:
        positives: `user_index`, `item_index`, `events`.
        user_items: `(n_users,)` number of distinct items in each user's history.
        item_users: `(n_items,)` number of users who interacted with each item before the window.
        items: a column of lists of strings per item column of the config: the distinct values of each item.
        config: the thresholds.

    Returns:
        The segments that hold at least one positive but not all of them, in the order of the tables. A positive may be
        in several segments of an event or item dimension (an item with two tags), but in at most one of every other.
    """
    users, item_index = positives["user_index"].to_numpy(), positives["item_index"].to_numpy()
    length = user_items[users]
    new, heavy = length <= config.new_user_items, length > config.heavy_user_items
    cold = item_users[item_index] <= config.cold_item_users
    stratum = _stratify(item_users)[item_index]
    segments = [
        Segment("users", "new", new),
        Segment("users", "light", ~new & ~heavy),
        Segment("users", "heavy", heavy),
        Segment("items", "cold", cold),
        Segment("items", "warm", ~cold),
        *(Segment("popularity", name, stratum == number) for number, name in enumerate(("head", "torso", "tail"))),
        *_cut_by_values("event", positives["events"], len(item_index)),
    ]
    for column in config.item_columns:
        values = items[column].gather(item_index)
        segments += _cut_by_values(column, values, config.max_values)
    # A segment with every positive, such as the only kind of event, would repeat the overall comparison.
    return [segment for segment in segments if segment.kept.any() and not segment.kept.all()]


def _stratify(item_users: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return the popularity stratum of each item, `(n_items,)` int8.

    0 for the most popular items that together hold a third of all user-item pairs, 1 for those of the next third, 2
    for the last third; -1 for items without interactions.
    """
    order = np.argsort(-item_users, kind="stable")
    above = np.cumsum(item_users[order]) - item_users[order]
    total = max(float(item_users.sum()), 1.0)
    strata = np.full(len(item_users), -1, dtype=np.int8)
    strata[order] = np.minimum(3.0 * above / total, 2.0).astype(np.int8)
    strata[item_users <= 0] = -1
    return strata


def _cut_by_values(dimension: str, values: pl.Series, max_values: int) -> list[Segment]:
    """Return a segment per value that the lists hold, those with most positives first."""
    rows = pl.DataFrame({"value": values}).with_row_index("row")
    rows = rows.explode("value", keep_nulls=False, empty_as_null=False)
    names = rows.group_by("value").len().sort(["len", "value"], descending=[True, False])["value"].head(max_values)
    kept = {name: np.zeros(len(values), dtype=bool) for name in names}
    for (name,), group in rows.filter(pl.col("value").is_in(names.implode())).group_by("value"):
        kept[str(name)][group["row"].to_numpy()] = True
    return [Segment(dimension, name, mask) for name, mask in kept.items()]


def label_positives(segments: Sequence[Segment], n_positives: int) -> pl.Series:
    """Return the labels of the segments that each positive is in, (n_positives) lists of strings."""
    if not segments:
        return pl.Series([[]] * n_positives, dtype=pl.List(pl.String))
    marks = pl.DataFrame([pl.Series(segment.label, segment.kept) for segment in segments])
    labels = [pl.when(pl.col(segment.label)).then(pl.lit(segment.label)) for segment in segments]
    return marks.select(pl.concat_list(labels).list.drop_nulls().alias("segments")).to_series()


def parse_segments(labels: pl.Series) -> list[Segment]:
    """Return the segments of labels from `label_positives`; dimensions come in order of first appearance."""
    rows = pl.DataFrame({"label": labels}).with_row_index("row").explode("label", keep_nulls=False, empty_as_null=False)
    segments = []
    for (label,), group in rows.group_by("label", maintain_order=True):
        kept = np.zeros(len(labels), dtype=bool)
        kept[group["row"].to_numpy()] = True
        dimension, _, name = str(label).partition(": ")
        segments.append(Segment(dimension, name, kept))
    dimensions = list(dict.fromkeys(segment.dimension for segment in segments))
    return sorted(segments, key=lambda segment: dimensions.index(segment.dimension))


def compute_segments(
    segments: Sequence[Segment], ranks_by_model: Mapping[str, TiedRanks], ours: str, config: EvaluationConfig, seed: int
) -> pl.DataFrame:
    """Return the `SegmentTable`: the config's metric and recall at its n, for every segment and model.

    The users of a segment are those with a positive in it, and only these positives count; the lists do not change.
    """
    metrics = list(dict.fromkeys([config.metric, "recall"]))
    models = pl.DataFrame({"model": list(ranks_by_model)})
    columns = models.join(pl.DataFrame({"metric": metrics}), how="cross", maintain_order="left_right")
    our_index = list(ranks_by_model).index(ours)
    tables = []
    for segment in track(segments, "Segments"):
        cube = score_segment(segment, ranks_by_model, metrics, config.n)
        facts: list[pl.Expr] = [
            pl.lit(segment.dimension).alias("dimension"),
            pl.lit(segment.name).alias("segment"),
            pl.col("model"),
            pl.col("metric"),
            pl.lit(config.n, dtype=pl.UInt16).alias("n"),
            pl.lit(len(cube), dtype=pl.UInt32).alias("users"),
            pl.lit(int(segment.kept.sum()), dtype=pl.UInt32).alias("positives"),
            pl.lit(len(cube) >= config.segments.min_users).alias("enough"),
        ]
        tables.append(columns.select(facts).with_columns(estimate(cube, our_index, config, seed)))
    return pl.concat(tables)


def score_segment(
    segment: Segment, ranks_by_model: Mapping[str, TiedRanks], metrics: Sequence[str], n: int
) -> NDArray[np.float64]:
    """Return one value per user with a positive in the segment, `(n_users, n_models, n_metrics)` float64."""
    counts = next(iter(ranks_by_model.values())).count_positives(segment.kept)
    present = counts > 0
    cube = np.empty((int(present.sum()), len(ranks_by_model), len(metrics)))
    for model, tied_ranks in enumerate(ranks_by_model.values()):
        hits = tied_ranks.find_hits(segment.kept).select(present)
        for number, metric in enumerate(metrics):
            cube[:, model, number] = METRICS[metric](hits, counts[present], n)
    return cube
