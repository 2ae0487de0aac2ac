"""Segments: the same comparison for some users, some items, some events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from recsys.config import EvaluationConfig, SegmentsConfig
from recsys.errors import DataError
from recsys.evaluation.comparison import DIFFERENCE, MEAN, estimate, write_interval, write_p_value
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.tied_ranks import TiedRanks


@dataclass(frozen=True)
class Segment:
    """One cut of the positives.

    Attributes:
        dimension: what it cuts by.
        name: its value.
        kept: `(n_positives,)` bool, the positives that count in it.
    """

    dimension: str
    name: str
    kept: NDArray[np.bool_]

    @property
    def label(self) -> str:
        """Dimension and value in one, such as `items: cold`."""
        return f"{self.dimension}: {self.name}"


def find_segments(
    positives: pl.DataFrame,
    user_items: NDArray[np.int64],
    item_users: NDArray[np.float32],
    items: pl.DataFrame,
    config: SegmentsConfig,
) -> list[Segment]:
    """Cut the positives by user, item, popularity, event, and the item columns that the config names.

    Args:
        positives: `user_index`, `item_index`, `events`.
        user_items: `(n_users,)` distinct items in each user's history.
        item_users: `(n_items,)` users who touched each item before the window.
        items: a column of lists of strings per item column of the config: the values of each item, distinct.
        config: where the lines are drawn.

    Returns:
        Segments with at least one positive but not all of them, in the order they are told. A positive may be in
        several segments of a dimension (an item with two tags); every other dimension parts the positives.
    """
    users, numbers = positives["user_index"].to_numpy(), positives["item_index"].to_numpy()
    length = user_items[users]
    new, heavy = length <= config.new_user_items, length > config.heavy_user_items
    cold = item_users[numbers] <= config.cold_item_users
    stratum = _stratify(item_users)[numbers]
    found = [
        Segment("users", "new", new),
        Segment("users", "light", ~new & ~heavy),
        Segment("users", "heavy", heavy),
        Segment("items", "cold", cold),
        Segment("items", "warm", ~cold),
        *(Segment("popularity", name, stratum == place) for place, name in enumerate(("head", "torso", "tail"))),
        *_cut_by_values("event", positives["events"], len(numbers)),
    ]
    for column in config.item_columns:
        values = items[column].gather(numbers)
        found += _cut_by_values(column, values, config.max_values)
    # One that keeps everything, such as the only kind of event, is the plain comparison again.
    return [segment for segment in found if segment.kept.any() and not segment.kept.all()]


def _stratify(item_users: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return `(n_items,)` int8: 0 for the most popular items that together hold a third of all touches, 1 for those of
    the next third, 2 for the last; -1 for items that nobody touched.
    """  # noqa: D205
    order = np.argsort(-item_users, kind="stable")
    reached = np.cumsum(item_users[order]) - item_users[order]
    total = max(float(item_users.sum()), 1.0)
    strata = np.full(len(item_users), -1, dtype=np.int8)
    strata[order] = np.minimum(3.0 * reached / total, 2.0).astype(np.int8)
    strata[item_users <= 0] = -1
    return strata


def _cut_by_values(dimension: str, values: pl.Series, at_most: int) -> list[Segment]:
    """Return a segment per member of the lists, those with most positives first."""
    rows = pl.DataFrame({"value": values}).with_row_index("row")
    rows = rows.explode("value", keep_nulls=False, empty_as_null=False)
    names = rows.group_by("value").len().sort(["len", "value"], descending=[True, False])["value"].head(at_most)
    kept = {name: np.zeros(len(values), dtype=bool) for name in names}
    for (name,), part in rows.filter(pl.col("value").is_in(names.implode())).group_by("value"):
        kept[str(name)][part["row"].to_numpy()] = True
    return [Segment(dimension, name, mask) for name, mask in kept.items()]


def label_positives(segments: Sequence[Segment], n_positives: int) -> pl.Series:
    """Return the labels of the segments that each positive is in, (n_positives) lists of strings."""
    if not segments:
        return pl.Series([[]] * n_positives, dtype=pl.List(pl.String))
    marks = pl.DataFrame([pl.Series(segment.label, segment.kept) for segment in segments])
    labels = [pl.when(pl.col(segment.label)).then(pl.lit(segment.label)) for segment in segments]
    return marks.select(pl.concat_list(labels).list.drop_nulls().alias("segments")).to_series()


def read_segments(labels: pl.Series) -> list[Segment]:
    """Return the segments that `label_positives` wrote down, in order of first appearance by dimension."""
    rows = pl.DataFrame({"label": labels}).with_row_index("row").explode("label", keep_nulls=False, empty_as_null=False)
    found = []
    for (label,), part in rows.group_by("label", maintain_order=True):
        kept = np.zeros(len(labels), dtype=bool)
        kept[part["row"].to_numpy()] = True
        dimension, _, name = str(label).partition(": ")
        found.append(Segment(dimension, name, kept))
    order = {dimension: place for place, dimension in enumerate(dict.fromkeys(one.dimension for one in found))}
    return sorted(found, key=lambda one: order[one.dimension])


def measure_segments(
    segments: Sequence[Segment], ranks_by_model: Mapping[str, TiedRanks], ours: str, config: EvaluationConfig, seed: int
) -> pl.DataFrame:
    """Return the `SegmentTable`: the config's metric and recall at its n, for every segment and model.

    A segment's users are those with a positive in it, and only these positives count; the lists stay as they are.
    """
    names = list(dict.fromkeys([config.metric, "recall"]))
    models = pl.DataFrame({"model": list(ranks_by_model)})
    columns = models.join(pl.DataFrame({"metric": names}), how="cross", maintain_order="left_right")
    tables = []
    for segment in segments:
        counts = next(iter(ranks_by_model.values())).count_positives(segment.kept)
        present = counts > 0
        cube = np.empty((int(present.sum()), len(ranks_by_model), len(names)))
        for place, tied_ranks in enumerate(ranks_by_model.values()):
            hits = tied_ranks.find_hits(segment.kept).select(present)
            for number, name in enumerate(names):
                cube[:, place, number] = METRICS[name](hits, counts[present], config.n)
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
        tables.append(
            columns.select(facts).with_columns(estimate(cube, list(ranks_by_model).index(ours), config, seed))
        )
    return pl.concat(tables)


def render_segments(table: pl.DataFrame, ours: str, rival: str, metric: str, n: int, *, confidence: float) -> Table:
    """Lay a `SegmentTable` out for the terminal: ours beside one rival, a row per segment.

    Raises:
        DataError: the table has no such rival.
    """
    models = table["model"].unique(maintain_order=True).to_list()
    if rival not in models:
        raise DataError(f"segments: no model '{rival}'; found {', '.join(models)}; compare with one of them")
    rendered = Table(title=f"{metric}@{n} by segment, {100 * confidence:.4g}% intervals; ours beside {rival}")
    for name in ("by", "segment", "users", "positives", ours, rival, "difference"):
        rendered.add_column(name, justify="left" if name in ("by", "segment") else "right", overflow="fold")
    rows = table.filter(pl.col("metric") == metric, pl.col("n") == n, pl.col("model").is_in([ours, rival]))
    last = ""
    for (dimension, segment), pair in rows.group_by("dimension", "segment", maintain_order=True):
        by_model = {row["model"]: row for row in pair.iter_rows(named=True)}
        mine, theirs = by_model[ours], by_model[rival]
        means = [write_interval(row, MEAN, ".3f") for row in (mine, theirs)]
        ahead = f"{write_interval(theirs, DIFFERENCE, '+.3f')} {write_p_value(theirs['p_value'])}"
        by = str(dimension) if dimension != last else ""
        last = str(dimension)
        cells = (by, str(segment), f"{mine['users']:,}", f"{mine['positives']:,}", *means)
        # Too few users: the numbers are shown, and that they say nothing.
        rendered.add_row(*map(Text, (*cells, ahead if mine["enough"] else "too few users")))
    return rendered
