"""Every table that crosses a stage boundary, in the order they flow. A newcomer's first page.

Each class is a dataframely schema: it names the columns, their types and the rules a row must keep.
`check` turns a frame into a checked one or raises an error that a person can act on.
"""

from __future__ import annotations

from typing import TypeVar

import dataframely as dy
import polars as pl

from recsys.errors import DataError


def _instant(nullable: bool) -> dy.Datetime:
    return dy.Datetime(nullable=nullable, time_unit="us", time_zone="UTC")


class Items(dy.Schema):
    """The catalogue, sorted by `item_id`. Further string columns (attributes) may stand to the right."""

    item_id = dy.String(primary_key=True, min_length=1)
    title = dy.String(nullable=False)
    description = dy.String(nullable=False)
    tags = dy.List(dy.String(nullable=False), nullable=False)
    # False: known and learned from, never recommended.
    available = dy.Bool(nullable=False)
    # When the item joined the catalogue; null: it was always there.
    created_at = _instant(nullable=True)


class Interactions(dy.Schema):
    """What users did, sorted by `user_id`, then `position`."""

    user_id = dy.String(nullable=False, min_length=1)
    item_id = dy.String(nullable=False, min_length=1)
    # Place in the user's own history, 0 the oldest; 0 in every row when the data has no time and no order.
    step = dy.UInt32(nullable=False)
    # Null in every row when the raw data has no times.
    time = _instant(nullable=True)
    event = dy.String(nullable=False, min_length=1)
    # Weight of the event kind, above 0.
    weight = dy.Float32(nullable=False, min_exclusive=0)
    # The raw value (rating, quantity), where there is one.
    value = dy.Float32(nullable=True)
    # Place at which the item stood where the user met it, 1 the first; null where nobody noted it.
    position = dy.UInt16(nullable=True, min=1)
    # True: an event the lists should predict. Other rows are history only.
    positive = dy.Bool(nullable=False)
    # True: now the user has the item, and without repeats no list shows it again. Every positive row is one; so is a
    # row whose kind counts and whose value does not (a bad rating).
    consumed = dy.Bool(nullable=False)


class Rejected(dy.Schema):
    """Raw rows kept aside by `ingest`, with the rule each one broke."""

    table = dy.String(nullable=False)
    file = dy.String(nullable=False)
    # Row number in the file, 1 the first row of data.
    row = dy.UInt64(nullable=False)
    rule = dy.String(nullable=False)
    # The row as JSON.
    content = dy.String(nullable=False)


class Candidates(dy.Schema):
    """Items worth ranking for a user: the union of the sources, sorted by user, then item.

    `user_index` and `item_index` are places in the sorted users and items of the histories they were made
    from. Each source S adds `S_score` (Float32, null: the source says nothing about the item) and `S_rank`
    (UInt16, 1 the best; null: below the depth the source was asked for).
    """

    user_index = dy.UInt32(primary_key=True)
    item_index = dy.UInt32(primary_key=True)


class TrainingRows(dy.Schema):
    """Candidates with a label, grouped by window and user; the feature columns stand to the right.

    `user_index` is a place among the sorted users of all that is known, so a user has one number in all windows.
    """

    # 0 the newest label window.
    window = dy.UInt8(primary_key=True)
    user_index = dy.UInt32(primary_key=True)
    item_index = dy.UInt32(primary_key=True)
    # 1 where the user took the item inside the label window.
    label = dy.UInt8(nullable=False)
    # First place at which the user met the item inside the label window; null where nobody noted it.
    position = dy.UInt16(nullable=True, min=1)


class UserMetrics(dy.Schema):
    """One metric value of one user under one model, so that any cut can be made again."""

    model = dy.String(primary_key=True)
    user_id = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    # List length the metric looks at.
    n = dy.UInt16(primary_key=True)
    value = dy.Float64(nullable=False)


class MetricTable(dy.Schema):
    """Means over users with their interval; `difference*` compares each model with ours, paired by user."""

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
    # How often chance alone shows a difference this far from 0 (two-sided permutation test); null on our own row.
    p_value = dy.Float64(nullable=True, min=0, max=1)


class SegmentTable(MetricTable):
    """The metric table again, cut by who the user is or what the item is.

    `users` are those with a positive in the segment; the means are over them, and only those positives count.
    """

    # What the cut is by: `users`, `items`, `popularity`, `event`, or an item column that the config names.
    dimension = dy.String(primary_key=True)
    # The cut's value: `new`, `cold`, `purchase`, `Drama`.
    segment = dy.String(primary_key=True)
    positives = dy.UInt32(nullable=False)
    # False: fewer users than `evaluation.segments.min_users`, too few to say anything.
    enough = dy.Bool(nullable=False)


class CatalogueTable(dy.Schema):
    """What a model's lists show of the catalogue as a whole, in the first `evaluation.n` places."""

    model = dy.String(primary_key=True)
    # Share of the recommendable items that stand in anyone's list.
    coverage = dy.Float64(nullable=False, min=0, max=1)
    # 0: every recommendable item is shown equally often; near 1: one item takes all places.
    gini = dy.Float64(nullable=False, min=0, max=1)


class TestPositives(dy.Schema):
    """What became of each item that a measured user took in the test window."""

    user_id = dy.String(primary_key=True)
    item_id = dy.String(primary_key=True)
    # Kinds of the events that make it a positive, sorted.
    events = dy.List(dy.String(nullable=False), nullable=False)
    # One of `evaluation.ledger.OUTCOMES`.
    outcome = dy.String(nullable=False)
    # Sources that proposed it, in the order of the config.
    sources = dy.List(dy.String(nullable=False), nullable=False)
    # Its place among our ranked candidates, 1 the best; null where it is no candidate.
    rank = dy.UInt16(nullable=True, min=1)
    # The segments it counts in, each as `dimension: segment`.
    segments = dy.List(dy.String(nullable=False), nullable=False)


class CandidateLedger(dy.Schema):
    """What each source proposed and found; shares are of all positives, and of all rows of the final lists."""

    source = dy.String(primary_key=True)
    proposed = dy.UInt64(nullable=False)
    found = dy.UInt64(nullable=False)
    # Positives that the source proposes at its depth.
    recall = dy.Float64(nullable=False, min=0, max=1)
    # Positives that no other source proposes: what the union would lose without it.
    recall_alone = dy.Float64(nullable=False, min=0, max=1)
    list_share = dy.Float64(nullable=False, min=0, max=1)


class LedgerDepths(dy.Schema):
    """Share of the positives that a source proposes among its first `depth` items; source `union` is all of them."""

    source = dy.String(primary_key=True)
    depth = dy.UInt16(primary_key=True)
    recall = dy.Float64(nullable=False, min=0, max=1)


class LedgerOverlap(dy.Schema):
    """Of what `source` proposes (and finds), the share that `other` proposes (and finds) as well."""

    source = dy.String(primary_key=True)
    other = dy.String(primary_key=True)
    proposed_share = dy.Float64(nullable=False, min=0, max=1)
    found_share = dy.Float64(nullable=False, min=0, max=1)


class FeatureShift(dy.Schema):
    """How differently each feature is distributed where the ranker learned and where it was measured, most first."""

    feature = dy.String(primary_key=True)
    # distance + |missing_training - missing_night|: 0 alike.
    shift = dy.Float64(nullable=False, min=0, max=2)
    # Of Kolmogorov and Smirnov, over the values that are there.
    distance = dy.Float64(nullable=False, min=0, max=1)
    missing_training = dy.Float64(nullable=False, min=0, max=1)
    missing_night = dy.Float64(nullable=False, min=0, max=1)


class FeatureImportance(dy.Schema):
    """What the trees owe to each feature, most gain first."""

    feature = dy.String(primary_key=True)
    # Total over all splits.
    gain = dy.Float64(nullable=False, min=0)
    # nDCG lost on the test window where the feature's values are shuffled; null where it could not be measured.
    loss = dy.Float64(nullable=True)


class Recommendations(dy.Schema):
    """The lists of one run date, sorted by `user_id`, then `rank`."""

    user_id = dy.String(primary_key=True, min_length=1)
    rank = dy.UInt16(primary_key=True, min=1)
    item_id = dy.String(nullable=False, min_length=1)
    # Falls with rank inside one list; not comparable between users.
    score = dy.Float32(nullable=False)
    # Names of the sources that found the item; ["fallback", step] where that step only fills the list up.
    sources = dy.List(dy.String(nullable=False), nullable=False)
    reason = dy.String(nullable=False)
    variant = dy.String(nullable=False)
    model_version = dy.String(nullable=False)


Table = TypeVar("Table", bound=dy.Schema)


def check(schema: type[Table], frame: pl.DataFrame, what: str, next_step: str) -> pl.DataFrame:
    """Check a frame against its table; columns beyond the schema pass through untouched.

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
        broken = ", ".join(f"'{rule}' in {count:,} rows" for rule, count in counts.items())
        raise DataError(f"{what}: {len(failures):,} of {frame.height:,} rows break a rule: {broken}; {next_step}")
    return frame


def empty(schema: type[Table]) -> pl.DataFrame:
    """Return a frame of the table's columns with no rows."""
    return pl.DataFrame(schema={name: column.dtype for name, column in schema.columns().items()})
