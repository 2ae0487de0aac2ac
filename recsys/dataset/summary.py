"""What was read: the size of the data, its span, its texts, and what was left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import polars as pl

from recsys.dataset.judgement import TableCounts
from recsys.dataset.languages import count_languages

logger = logging.getLogger(__name__)

# Share of the titles that are one text, or hold markup, from which on a warning is due.
_MOSTLY = 0.5
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
        warnings: what looks wrong with the texts.
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

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.events.items())
        span = f"{self.first_time} ... {self.last_time}" if self.first_time else "no times"
        languages = ", ".join(f"{name} {share:.0%}" for name, share in self.languages.items())
        return [
            *(f"{table}: {_describe_rows(counts)}" for table, counts in self.rows.items()),
            f"users: {self.users:,}; items: {self.items:,}, {self.items_with_interactions:,} of them with interactions",
            f"interactions: {self.interactions:,} ({kinds}), {self.positive:,} positive",
            f"time: {span}",
            *(
                f"{field}: {texts.share:.1%} of the items, median {texts.median_length} characters, 90 % at most "
                f"{texts.long_length}"
                for field, texts in self.texts.items()
            ),
            f"titles by language: {languages or 'none'}",
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def _describe_rows(counts: TableCounts) -> str:
    """Return what became of a table's raw rows as text."""
    rejected = ", ".join(f"{rule} {count:,}" for rule, count in counts.rejected.items()) or "none"
    parts = [f"{counts.kept:,} of {counts.read:,} rows kept", f"rejected: {rejected}"]
    if counts.repeats or counts.differing:
        parts.append(f"repeats folded: {counts.repeats:,}, and {counts.differing:,} that differ in other fields")
    if counts.returns:
        parts.append(
            f"returns: {counts.returns:,} took {counts.taken_back:,} events back, {counts.lone_returns:,} found none"
        )
    if counts.skipped:
        parts.append(f"left out by keep_rows: {counts.skipped:,}")
    return "; ".join(parts)


class Summarizer:
    """Summarizes items at once, and interactions while their blocks pass.

    Args:
        items: `Items`.
    """

    def __init__(self, items: pl.DataFrame) -> None:
        self._items = items
        self._users = self._interactions = self._positive = 0
        self._kinds: dict[str, int] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._touched = pl.Series(dtype=pl.String)

    def watch(self, blocks: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the blocks, each of whole users, and count them."""
        for block in blocks:
            self._add(block)
            yield block

    def _add(self, block: pl.DataFrame) -> None:
        self._users += block["user_id"].n_unique()
        self._interactions += block.height
        self._positive += int(block["positive"].sum())
        for kind, count in block["event"].value_counts().iter_rows():
            self._kinds[kind] = self._kinds.get(kind, 0) + count
        self._touched = pl.concat([self._touched, block["item_id"].unique()]).unique()
        first, last = block["time"].min(), block["time"].max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            self._first = min(first, self._first or first)
            self._last = max(last, self._last or last)

    def summarize(self, rows: Mapping[str, TableCounts]) -> Summary:
        """Return the summary of the items and of the blocks that passed."""
        titles = self._items["title"]
        return Summary(
            users=self._users,
            items=self._items.height,
            items_with_interactions=len(self._touched),
            interactions=self._interactions,
            events=dict(sorted(self._kinds.items(), key=lambda item: (-item[1], item[0]))),
            positive=self._positive,
            first_time=self._first.isoformat() if self._first else None,
            last_time=self._last.isoformat() if self._last else None,
            texts={field: _measure(self._items[field]) for field in ("title", "description")},
            languages=count_languages(titles),
            rows=dict(rows),
            warnings=_find_faults(titles),
        )


def _measure(texts: pl.Series) -> Texts:
    lengths = texts.filter(texts != "").str.len_chars()
    share = len(lengths) / max(1, len(texts))
    if not len(lengths):
        return Texts(share, 0, 0)
    return Texts(share, *(int(lengths.quantile(q, interpolation="lower") or 0) for q in (0.5, 0.9)))


def _find_faults(titles: pl.Series) -> list[str]:
    given = titles.filter(titles != "")
    if len(given) < 2:
        return []
    warnings = []
    commonest, count = given.value_counts(sort=True).row(0)
    if count > _MOSTLY * len(given):
        warnings.append(
            f"{count:,} of {len(given):,} titles are '{commonest}', so texts tell these items apart no more; is title "
            "the right column?"
        )
    marked = int(given.str.contains(_MARKUP).sum())
    if marked > _MOSTLY * len(given):
        warnings.append(f"{marked:,} of {len(given):,} titles hold markup that is not HTML; clean them in the export")
    return warnings
