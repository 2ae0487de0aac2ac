"""Every table that passes from one stage to another, in the order of the pipeline: the first file to read.

Each class is a dataframely schema: it names the columns, their types and the rules that rows must satisfy. `check`
returns a frame that satisfies them or raises an error that lists every failure.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import dataframely as dy
import polars as pl

from recsys.errors import DataError


def _instant(nullable: bool) -> dy.Datetime:
    return dy.Datetime(nullable=nullable, time_unit="us", time_zone="UTC")


class Items(dy.Schema):
    """The catalogue, sorted by `item_id`.

    Further string columns (attributes) may follow, then vectors from elsewhere in columns `vector:NAME`: List(Float32),
    all equally long and of unit length, null for an item without one.
    """

    item_id = dy.String(primary_key=True, min_length=1)
    title = dy.String(nullable=False)
    description = dy.String(nullable=False)
    tags = dy.List(dy.String(nullable=False), nullable=False)
    # False: learned from, but never recommended.
    available = dy.Bool(nullable=False)
    # When the item joined the catalogue; null: it was always there.
    created_at = _instant(nullable=True)


class Interactions(dy.Schema):
    """What users did, sorted by `user_id`, then `step`."""

    user_id = dy.String(nullable=False, min_length=1)
    item_id = dy.String(nullable=False, min_length=1)
    # Index in the user's history, 0 the oldest; 0 in every row if the data has no time and no order.
    step = dy.UInt32(nullable=False)
    # Null in every row if the raw data has no times.
    time = _instant(nullable=True)
    event = dy.String(nullable=False, min_length=1)
    # Weight of the event kind, above 0.
    weight = dy.Float32(nullable=False, min_exclusive=0)
    # The raw value (rating, quantity); null where there is none.
    value = dy.Float32(nullable=True)
    # Position at which the user was shown the item, 1 the first; null where it is unknown.
    position = dy.UInt16(nullable=True, min=1)
    # True: an event the lists should predict. Other rows are history only.
    positive = dy.Bool(nullable=False)
    # True: the user has the item from now on, and without repeats no list shows it again. This holds for every positive
    # row, and for a row of a positive kind with a low value (a bad rating).
    consumed = dy.Bool(nullable=False)


class Rejected(dy.Schema):
    """Raw rows that `ingest` rejected, each with the rule it broke."""

    table = dy.String(nullable=False)
    file = dy.String(nullable=False)
    # Row number in the file, 1 the first row of data.
    row = dy.UInt64(nullable=False)
    rule = dy.String(nullable=False)
    # The row as JSON.
    content = dy.String(nullable=False)


class Candidates(dy.Schema):
    """Items worth ranking for a user: the union of the sources, sorted by user, then item.

    `user_index` and `item_index` are indexes into the users and items of the histories that the candidates come from.
    Each source S adds `S_score` (Float32, null: the source has no score for the item) and `S_rank` (UInt16, 1 the best;
    null: below the depth of the source).
    """

    user_index = dy.UInt32(primary_key=True)
    item_index = dy.UInt32(primary_key=True)


class TrainingRows(dy.Schema):
    """Candidates with a label, grouped by window and user; the feature columns follow.

    `user_index` is an index into all known users, not into those of a window, so a user has the same index in all
    windows.
    """

    # 0 the newest label window.
    window = dy.UInt8(primary_key=True)
    user_index = dy.UInt32(primary_key=True)
    item_index = dy.UInt32(primary_key=True)
    # 1 if the user consumed the item inside the label window.
    label = dy.UInt8(nullable=False)
    # Smallest position at which the user was shown the item inside the label window; null where it is unknown.
    position = dy.UInt16(nullable=True, min=1)


class UserMetrics(dy.Schema):
    """The value of a metric for a user and a model, from which every average can be computed again."""

    model = dy.String(primary_key=True)
    user_id = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    # List length of the metric.
    n = dy.UInt16(primary_key=True)
    value = dy.Float64(nullable=False)


class MetricTable(dy.Schema):
    """Means over users with their interval; `difference*` compare each model with ours, paired by user."""

    model = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    n = dy.UInt16(primary_key=True)
    users = dy.UInt32(nullable=False)
    mean = dy.Float64(nullable=False)
    low = dy.Float64(nullable=False)
    high = dy.Float64(nullable=False)
    # Ours minus this model; null on our own row.
    difference = dy.Float64(nullable=True)
    difference_low = dy.Float64(nullable=True)
    difference_high = dy.Float64(nullable=True)
    # Chance of a difference at least this far from 0 if there is none (two-sided permutation test); null on our row.
    p_value = dy.Float64(nullable=True, min=0, max=1)


class SegmentTable(MetricTable):
    """The metric table by segment of users or items.

    `users` are those with a positive in the segment; the means are over them, and only those positives count.
    """

    # What the segments divide: `users`, `items`, `popularity`, `event`, or an item column that the config names.
    dimension = dy.String(primary_key=True)
    # The segment, such as `new`, `cold`, `purchase` or `Drama`.
    segment = dy.String(primary_key=True)
    positives = dy.UInt32(nullable=False)
    # False: fewer users than `evaluation.segments.min_users`, too few for a conclusion.
    enough = dy.Bool(nullable=False)


class CatalogueTable(dy.Schema):
    """How much of the catalogue is in a model's lists, in their first `evaluation.n` items."""

    model = dy.String(primary_key=True)
    # Share of the recommendable items that are in any list.
    coverage = dy.Float64(nullable=False, min=0, max=1)
    # 0: every recommendable item is shown equally often; near 1: a single item fills all lists.
    gini = dy.Float64(nullable=False, min=0, max=1)


class TestPositives(dy.Schema):
    """The outcome of each item that a measured user consumed in the test window."""

    user_id = dy.String(primary_key=True)
    item_id = dy.String(primary_key=True)
    # Kinds of the events that made it a positive, sorted.
    events = dy.List(dy.String(nullable=False), nullable=False)
    # One of `evaluation.ledger.OUTCOMES`.
    outcome = dy.String(nullable=False)
    # Sources that proposed it, in the order of the config.
    sources = dy.List(dy.String(nullable=False), nullable=False)
    # Its rank among our candidates, 1 the best; null if it was not a candidate.
    rank = dy.UInt16(nullable=True, min=1)
    # The segments that it belongs to, each as `dimension: segment`.
    segments = dy.List(dy.String(nullable=False), nullable=False)


class CandidateLedger(dy.Schema):
    """What each source proposed and how many positives that held; `list_share` is of all rows of the final lists."""

    source = dy.String(primary_key=True)
    proposed = dy.UInt64(nullable=False)
    found = dy.UInt64(nullable=False)
    # Share of the positives that the source proposes at its depth.
    recall = dy.Float64(nullable=False, min=0, max=1)
    # Share of the positives that no other source proposes: the loss without this source.
    recall_alone = dy.Float64(nullable=False, min=0, max=1)
    list_share = dy.Float64(nullable=False, min=0, max=1)


class LedgerDepths(dy.Schema):
    """Share of the positives that a source proposes among its first `depth` items; source `union` is all of them."""

    source = dy.String(primary_key=True)
    depth = dy.UInt16(primary_key=True)
    recall = dy.Float64(nullable=False, min=0, max=1)


class LedgerOverlap(dy.Schema):
    """Share of the items (of the positives) that `source` proposes which `other` proposes as well."""

    source = dy.String(primary_key=True)
    other = dy.String(primary_key=True)
    proposed_share = dy.Float64(nullable=False, min=0, max=1)
    found_share = dy.Float64(nullable=False, min=0, max=1)


class FeatureShift(dy.Schema):
    """How much the distribution of each feature differs between training and test window, largest first."""

    feature = dy.String(primary_key=True)
    # distance + |missing_training - missing_night|: 0 alike.
    shift = dy.Float64(nullable=False, min=0, max=2)
    # Kolmogorov-Smirnov distance over the values that are present.
    distance = dy.Float64(nullable=False, min=0, max=1)
    missing_training = dy.Float64(nullable=False, min=0, max=1)
    missing_night = dy.Float64(nullable=False, min=0, max=1)


class FeatureImportance(dy.Schema):
    """Importance of each feature to the trees, largest gain first."""

    feature = dy.String(primary_key=True)
    # Total over all splits.
    gain = dy.Float64(nullable=False, min=0)
    # nDCG lost on the test window if the feature's values are shuffled; null if it could not be measured.
    loss = dy.Float64(nullable=True)


class ModelLists(dy.Schema):
    """The lists of every measured model for a sample of the test users, in their first `evaluation.n` items."""

    model = dy.String(primary_key=True)
    user_id = dy.String(primary_key=True)
    rank = dy.UInt16(primary_key=True, min=1)
    item_id = dy.String(nullable=False, min_length=1)


class ItemNeighbours(dy.Schema):
    """The items with the most similar texts to each item of a sample, by the embeddings that were measured."""

    item_id = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt16(primary_key=True, min=1)
    neighbour = dy.String(nullable=False, min_length=1)
    # Of the two embeddings.
    cosine = dy.Float32(nullable=False, min=-1.001, max=1.001)


VariantName = Literal["champion", "challenger"]
# Values of the column `variant` in a night with a canary.
CHAMPION: VariantName = "champion"
CHALLENGER: VariantName = "challenger"
# Value of the column `variant`, and first of the `sources`, where the fallback chain filled in.
FALLBACK = "fallback"


class Recommendations(dy.Schema):
    """The lists of one run date, sorted by `user_id`, then `rank`."""

    user_id = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt16(primary_key=True, min=1)
    item_id = dy.String(nullable=False, min_length=1)
    # Falls with rank inside one list; not comparable between users.
    score = dy.Float32(nullable=False)
    # Names of the sources that proposed the item; ["fallback", step] where that step filled up the list.
    sources = dy.List(dy.String(nullable=False), nullable=False)
    reason = dy.String(nullable=False)
    variant = dy.String(nullable=False)
    model_version = dy.String(nullable=False)


class BaselineLists(dy.Schema):
    """What baselines would have shown a sample of a night's users, sorted by `user_id`, `baseline`, then `rank`."""

    user_id = dy.String(primary_key=True, min_length=1)
    # `blend`: the weighted blend alone orders the candidates; `popularity`: the popular items that the user lacks.
    baseline = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt16(primary_key=True, min=1)
    item_id = dy.String(nullable=False, min_length=1)


class SampledFeatures(dy.Schema):
    """The ranker's features of one candidate of each sampled user, sorted by `user_id`; a Float32 column for each."""

    user_id = dy.String(primary_key=True, min_length=1)
    item_id = dy.String(nullable=False, min_length=1)


class ItemVectors(dy.Schema):
    """The text vectors of a sample of the catalogue, sorted by `item_id`: numbers times `night_sample.VECTOR_SCALE`."""

    item_id = dy.String(primary_key=True, min_length=1)
    vector = dy.List(dy.Int16(nullable=False), nullable=False)


class Outcomes(dy.Schema):
    """What users did while one night's lists were shown, sorted by `user_id`; only positive events count."""

    user_id = dy.String(primary_key=True, min_length=1)
    # Those of the first row of the user's list.
    variant = dy.String(nullable=False)
    model_version = dy.String(nullable=False)
    # Positive events, with items of the list or others; `items` are the distinct ones.
    events = dy.UInt32(nullable=False)
    items = dy.UInt32(nullable=False)
    # Items of the list among them.
    hits = dy.UInt16(nullable=False)
    # Rank of the best of these; null without a hit.
    first_rank = dy.UInt16(nullable=True, min=1)
    # 0 without an event.
    ndcg = dy.Float64(nullable=False, min=0, max=1)
    # Sum of the events' values; 0 where none has one.
    value = dy.Float64(nullable=False)


Table = TypeVar("Table", bound=dy.Schema)


def check(schema: type[Table], frame: pl.DataFrame, what: str, next_step: str) -> pl.DataFrame:
    """Check a frame against its table; columns beyond the schema are not checked.

    Args:
        schema: the table's class.
        frame: what a stage is about to read or write.
        what: the object's name for the message, such as `candidates for 2025-01-31`.
        next_step: what the reader should do, such as `rerun 'recsys ingest'`.

    Returns:
        The same frame.

    Raises:
        DataError: naming every missing column, wrong type and broken rule with its count.
    """
    columns = schema.columns()
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"{what}: no column {', '.join(map(repr, missing))}; "
            f"found {', '.join(map(repr, frame.columns))}; {next_step}"
        )
    wrong = [
        f"column '{name}' is {frame.schema[name]}, expected {column.dtype}"
        for name, column in columns.items()
        if frame.schema[name] != column.dtype
    ]
    if wrong:
        raise DataError(f"{what}: {'; '.join(wrong)}; {next_step}")
    _, failures = schema.filter(frame.select(list(columns)))
    counts = failures.counts()
    if counts:
        broken = ", ".join(f"'{rule}' ({count:,})" for rule, count in counts.items())
        raise DataError(f"{what}: {len(failures):,} of {frame.height:,} rows break a rule: {broken}; {next_step}")
    return frame


def empty(schema: type[Table]) -> pl.DataFrame:
    """Return a frame of the table's columns with no rows."""
    return pl.DataFrame(schema={name: column.dtype for name, column in schema.columns().items()})
