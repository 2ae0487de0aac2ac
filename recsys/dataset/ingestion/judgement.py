"""The judgement of raw rows: which rule each bad row breaks, how many may, and what to do about it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config.raw_files import TOTAL, RawFiles
from recsys.dataset.raw.batches import RawBatch
from recsys.errors import DataError
from recsys.progress import format_count
from recsys.storage.spilled_frames import SpilledFrames

logger = logging.getLogger(__name__)

# Rule -> the rows of a batch that break it, in the order in which rules are checked.
Broken = Mapping[str, NDArray[np.bool_]]
# The content of a row that names a user who must not be named.
_NO_CONTENT = "{}"
# Values that a message shows, and values that advice is drawn from.
_SHOWN, _EVIDENCE = 3, 1000
_LONGEST_VALUE = 60
# Control characters, invisible ones, and marks that reverse the text after them.
_DISTURBING = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class TableCounts:
    """What became of the raw rows of a table.

    Attributes:
        read: rows read, without the skipped ones.
        kept: rows of the snapshot.
        rejected: rejected rows per rule (only rules that were broken), most frequent first.
        repeats: rows that say the same as another row, folded into it.
        differing: rows with the key of another row but other fields; `keep` chose between them.
        skipped: rows that `keep_rows` left out.
        returns: rows with a negative value that took events back.
        taken_back: events that were taken back.
        lone_returns: returns without an earlier event to take back.
        excess: events left out by `max_events_per_user_day`.
        crowded_days: pairs of user and day that these events are of.
    """

    read: int
    kept: int
    rejected: dict[str, int]
    repeats: int = 0
    differing: int = 0
    skipped: int = 0
    returns: int = 0
    taken_back: int = 0
    lone_returns: int = 0
    excess: int = 0
    crowded_days: int = 0


@dataclass
class _Breaches:
    """The rows that broke one rule: how many, where the first were, and some of their values."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


class Judge:
    """Counts the rows of a table, keeps the bad ones aside, and stops the run when there are too many.

    Args:
        table: its name, `items` or `interactions`.
        files: its settings, with the limits of single rules.
        share: the limit of all other rules together, unless the files set one, as a share of the rows read.
        fields: rule -> the field whose values it looks at; a rule without one has no value to show.
        advise: returns what to do about a rule, given some of the values that broke it; empty if there is no advice.
        rejected: where bad rows go.
        withheld: rules whose rows are kept without their content; None: all rules.
    """

    def __init__(
        self,
        table: str,
        files: RawFiles,
        share: float,
        fields: Mapping[str, str],
        advise: Callable[[str, pl.Series], str],
        rejected: SpilledFrames,
        withheld: Collection[str] | None = (),
    ) -> None:
        self._table, self._files, self._share = table, files, share
        self._fields, self._advise, self._rejected = fields, advise, rejected
        self._withheld = withheld
        self._breaches: dict[str, _Breaches] = {}
        self.read = 0
        self.skipped = 0

    def judge(self, batch: RawBatch, broken: Broken) -> NDArray[np.bool_]:
        """Set aside the rows of a batch that break a rule, each with the first it breaks; return which are good."""
        names = list(broken)
        first = np.zeros(batch.values.height, dtype=np.uint8)
        for number, name in enumerate(names, start=1):
            first[broken[name] & (first == 0)] = number
        self.read += len(first)
        self.skipped += batch.skipped
        good: NDArray[np.bool_] = first == 0
        if not good.all():
            self._set_aside(batch, first, names)
        return good

    def _set_aside(self, batch: RawBatch, first: NDArray[np.uint8], names: list[str]) -> None:
        chosen = np.flatnonzero(first)
        for number in np.unique(first[chosen]):
            self._note(names[number - 1], batch, np.flatnonzero(first == number))
        rows = pl.Series(chosen)
        rules = pl.Series([*names]).gather(first[chosen].astype(np.int64) - 1)
        content = pl.Series(batch.content(rows), dtype=pl.String)
        hidden = [name for name in names if self._withheld is None or name in self._withheld]
        content = content.set(rules.is_in(pl.Series(hidden, dtype=pl.String).implode()), _NO_CONTENT)
        self._rejected.append(
            pl.DataFrame(
                {
                    "table": pl.repeat(self._table, len(rows), eager=True),
                    "file": pl.repeat(batch.file, len(rows), eager=True),
                    "row": batch.rows.gather(rows),
                    "rule": rules,
                    "content": content,
                }
            )
        )

    def _note(self, name: str, batch: RawBatch, rows: NDArray[np.int64]) -> None:
        breaches = self._breaches.setdefault(name, _Breaches())
        breaches.count += len(rows)
        column = self._fields.get(name)
        if len(breaches.examples) < _SHOWN:
            values = _as_text(batch.values[column]) if column in batch.values.columns else None
            shown = _first_distinct(values, rows)[: _SHOWN - len(breaches.examples)]
            lines = batch.locate(pl.Series(shown))
            for row, line in zip(shown, lines, strict=True):
                place = f"{batch.file} {batch.unit} {line}"
                value = None if values is None else values[int(row)]
                breaches.examples.append(f"'{_shorten(value)}' in {place}" if value else place)
        if column in batch.values.columns and len(breaches.values) < _EVIDENCE:
            known = dict.fromkeys(breaches.values)
            more = _as_text(batch.values[column].gather(rows)).drop_nulls().unique(maintain_order=True)
            breaches.values = list(known | dict.fromkeys(more.head(_EVIDENCE)))[:_EVIDENCE]

    def check(self) -> None:
        """Check the limits once all rows are read, and log the counts.

        Raises:
            DataError: no row is left, or more rows than allowed break a rule.
        """
        bad = sum(breaches.count for breaches in self._breaches.values())
        if not self.read:
            left = (
                f"; keep_rows excluded all {format_count(self.skipped, 'row')}" if self.skipped else ", only a header"
            )
            raise DataError(
                f"{self._table} {self._files.path}: no rows of data{left}; check the export and the settings"
            )
        if bad == self.read:
            raise DataError(f"no rows of {self._table} are left: {self.explain(list(self._breaches))}; {self._fix()}")
        for setting, names in self._group(list(self._breaches)).items():
            count, limit = self._count(names), self._limit(setting)
            if count > limit * self.read:
                raise DataError(self._refuse(names, count, limit, setting))
        detail = ", ".join(f"{rule} {count:,}" for rule, count in self.rejected.items())
        logger.info(
            "%s: %d rows read, %d good, %d rejected%s",
            self._table,
            self.read,
            self.read - bad,
            bad,
            detail and f": {detail}",
        )

    def exceeds(self, names: Iterable[str]) -> bool:
        """Return whether more rows than allowed break one of some rules, or all rows do."""
        groups = self._group(list(names))
        return self._count(names) == self.read > 0 or any(
            self._count(rules) > self._limit(setting) * self.read for setting, rules in groups.items()
        )

    def _group(self, names: list[str]) -> dict[str, list[str]]:
        """Return the rules by the name of their limit."""
        groups: dict[str, list[str]] = {}
        for name in names:
            setting = TOTAL if self._files.rejected_limit(name, self._share) is None else name
            groups.setdefault(setting, []).append(name)
        return groups

    def _count(self, names: Iterable[str]) -> int:
        return sum(self._breaches[name].count for name in names)

    def _limit(self, setting: str) -> float:
        return self._files.rejected_limit(setting, self._share) or 0.0

    @property
    def rejected(self) -> dict[str, int]:
        """Rejected rows per rule, most frequent first."""
        counts = {name: breaches.count for name, breaches in self._breaches.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def _refuse(self, names: list[str], count: int, limit: float, setting: str) -> str:
        share = count / self.read
        return (
            f"{self._table}: {count:,} of {format_count(self.read, 'row')} rejected ({share:.1%}), expected at most "
            f"{limit:.1%}: "
            f"{self.explain(names)}; {self._fix()}, or allow more with "
            f"dataset.{self._table}.max_rejected: {{{setting}: {_round_up(share)}}}"
        )

    def _fix(self) -> str:
        return f"fix the rows or dataset.{self._table} in the config"

    def explain(self, names: list[str]) -> str:
        """Return each rule with its count, examples and advice, the most frequent rule first."""
        parts = []
        for name in sorted(names, key=lambda name: (-self._breaches[name].count, name)):
            breaches = self._breaches[name]
            advice = self._advise(name, pl.Series(breaches.values, dtype=pl.String))
            parts.append(
                f"{name} {breaches.count:,}, such as {', '.join(breaches.examples)}"
                + (f" ({advice})" if advice else "")
            )
        return "; ".join(parts)


def _as_text(values: pl.Series) -> pl.Series:
    return values.list.join(", ") if isinstance(values.dtype, pl.List) else values.cast(pl.String)


def _first_distinct(values: pl.Series | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first rows with different values, at most as many as a message shows."""
    if values is None:
        return rows[:1]
    distinct = values.gather(rows).is_first_distinct().arg_true().head(_SHOWN).to_numpy()
    return np.asarray(rows[distinct])


def _shorten(value: str) -> str:
    """Return the start of a value, with characters that would disturb a line of text as escapes."""
    shown = _DISTURBING.sub(lambda match: ascii(match[0])[1:-1], value[:_LONGEST_VALUE])
    return shown if len(value) <= _LONGEST_VALUE else f"{shown}…"


def _round_up(share: float) -> float:
    """Return a limit that lets a share through, in hundredths."""
    return min(1.0, (int(share * 100) + 1) / 100)
