"""What was read: the size of the data, its span, its texts, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from recsys.dataset.ingestion.event_blocks import EventCounts
from recsys.dataset.ingestion.judgement import TableCounts
from recsys.dataset.languages import count_languages
from recsys.progress import format_count

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Share of the titles that are one text, or hold markup, from which on a warning is due.
_MOSTLY = 0.5
# Items that are older than this before the first event are hardly right.
_LONG_BEFORE = timedelta(days=30 * 365)
_MARKUP = r"</?[A-Za-z][^<>]*>|&[a-z]+;|\{\{|\]\]|\*\*"


@dataclass(frozen=True)
class Texts:
    """The texts of a field of the items.

    Attributes:
        share: share of the items with text.
        median_length: characters of the median text; 0 without texts.
        long_length: characters that 90 % of the texts do not exceed; 0 without texts.
    """

    share: float
    median_length: int
    long_length: int


@dataclass(frozen=True)
class Summary:
    """What was read.

    Attributes:
        users: users with interactions.
        items: items of the catalogue.
        items_with_interactions: items that some user interacted with.
        interactions: interactions kept.
        events: interactions of each kind, most frequent first.
        positive: interactions that the lists should predict.
        first_time: of the first interaction, ISO 8601; None without times.
        last_time: of the last one.
        texts: title and description.
        languages: share of the titles in each language or script, largest first.
        rows: what became of the raw rows, by table, as in `TableCounts`.
        warnings: what looks wrong with the texts and times.
    """

    users: int
    items: int
    items_with_interactions: int
    interactions: int
    events: dict[str, int]
    positive: int
    first_time: str | None
    last_time: str | None
    texts: dict[str, Texts]
    languages: dict[str, float]
    rows: dict[str, TableCounts]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Summary:
        """Return the summary that `as_dict` was made from."""
        texts = {field: Texts(**values) for field, values in content["texts"].items()}
        rows = {table: TableCounts(**counts) for table, counts in content["rows"].items()}
        return cls(**{**content, "texts": texts, "rows": rows})

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.events.items())
        span = f"{self.first_time} ... {self.last_time}" if self.first_time else "no times"
        languages = ", ".join(f"{name} {share:.0%}" for name, share in self.languages.items())
        return [
            f"users: {self.users:,}; items: {self.items:,}, {self.items_with_interactions:,} of them with interactions",
            f"interactions: {self.interactions:,} ({kinds}), {self.positive:,} positive",
            f"time: {span}",
            *(
                f"{field}: {texts.share:.1%} of the items, median {format_count(texts.median_length, 'character')}, "
                "90 % at most "
                f"{texts.long_length}"
                for field, texts in self.texts.items()
            ),
            f"titles by language: {languages or 'none'}",
            *(f"warning: {warning}" for warning in self.warnings),
            *(f"{table}: {_describe_rows(counts)}" for table, counts in self.rows.items()),
        ]


def _describe_rows(counts: TableCounts) -> str:
    """Return what became of a table's raw rows as text."""
    rejected = ", ".join(f"{rule} {count:,}" for rule, count in counts.rejected.items()) or "none"
    parts = [f"{counts.kept:,} of {format_count(counts.read, 'row')} kept", f"rejected: {rejected}"]
    if counts.repeats or counts.differing:
        parts.append(f"repeated rows merged: {counts.repeats:,}, and {counts.differing:,} that differ in other fields")
    if counts.returns:
        parts.append(
            f"returns: {counts.returns:,} cancelled {format_count(counts.taken_back, 'event')}; "
            f"{counts.lone_returns:,} matched no event"
        )
    if counts.excess:
        days = format_count(counts.crowded_days, "day of a user", "days of users")
        parts.append(f"excluded by max_events_per_user_day: {counts.excess:,} on {days}")
    if counts.skipped:
        parts.append(f"excluded by keep_rows: {counts.skipped:,}")
    return "; ".join(parts)


def summarize(
    items: pl.DataFrame, events: EventCounts, kinds: Sequence[str], rows: Mapping[str, TableCounts]
) -> Summary:
    """Return what was read.

    Args:
        items: `Items`.
        events: of all interactions.
        kinds: the event kinds of the config.
        rows: what became of the raw rows, by table.
    """
    counts = {kind: int(count) for kind, count in zip(kinds, events.kinds, strict=True) if count}
    return Summary(
        users=events.users,
        items=items.height,
        items_with_interactions=int(events.items.sum()),
        interactions=events.kept,
        events=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        positive=events.positive,
        first_time=_format_time(events.first),
        last_time=_format_time(events.last),
        texts={field: _measure(items[field]) for field in ("title", "description")},
        languages=count_languages(items["title"]),
        rows=dict(rows),
        warnings=[*_find_faults(items["title"]), *_compare_times(items["created_at"], events.first, events.last)],
    )


def _format_time(microseconds: int | None) -> str | None:
    return None if microseconds is None else (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def _measure(texts: pl.Series) -> Texts:
    lengths = texts.filter(texts != "").str.len_chars()
    share = len(lengths) / max(1, len(texts))
    if not len(lengths):
        return Texts(share, 0, 0)
    return Texts(share, *(int(lengths.quantile(q, interpolation="lower") or 0) for q in (0.5, 0.9)))


def _compare_times(created: pl.Series, first: int | None, last: int | None) -> list[str]:
    """Return a warning if most items were created after the last event, or decades before the first."""
    times = created.drop_nulls()
    if first is None or last is None or not len(times):
        return []
    start, end = (_EPOCH + timedelta(microseconds=moment) for moment in (first, last))
    late, early = int((times > end).sum()), int((times < start - _LONG_BEFORE).sum())
    if max(late, early) <= _MOSTLY * len(times):
        return []
    count, relation = (late, "after the last event") if late > early else (early, "decades before the first event")
    return [
        f"created_at of {count:,} of {format_count(len(times), 'item')}, such as {times[0]:%Y-%m-%d}, is {relation}; "
        f"events are from {start:%Y-%m-%d} to {end:%Y-%m-%d}; check the column and time_format of both tables"
    ]


def _find_faults(titles: pl.Series) -> list[str]:
    given = titles.filter(titles != "")
    if len(given) < 2:
        return []
    warnings = []
    commonest, count = given.value_counts(sort=True).row(0)
    if count > _MOSTLY * len(given):
        warnings.append(
            f"{count:,} of {format_count(len(given), 'title')} are '{commonest}', so texts cannot distinguish these "
            "items; is title the right column?"
        )
    marked = int(given.str.contains(_MARKUP).sum())
    if marked > _MOSTLY * len(given):
        warnings.append(
            f"{marked:,} of {format_count(len(given), 'title')} contain markup other than HTML; remove it in the export"
        )
    return warnings
