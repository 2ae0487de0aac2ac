"""From when until when readers saw the lists of each run date, and which nights showed two variants side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.recommendations import find_published, scan_recommendations
from recsys.errors import DataError
from recsys.progress import format_count

# How long the newest lists count, whose successor is not published yet.
_LAST_NIGHT = timedelta(days=1)


@dataclass(frozen=True)
class ServedNight:
    """The lists of one run date, and the half-open period in which users saw them.

    Attributes:
        run_date: YYYY-MM-DD.
        start: first instant; earlier events never count for these lists.
        end: first instant after it.
    """

    run_date: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class VariantNight:
    """A night of a test.

    Attributes:
        served: its period.
        lists: `Recommendations`, not read yet.
        versions: variant -> model versions behind its rows.
        canary: what the manifest records of the canary; empty where it records nothing.
    """

    served: ServedNight
    lists: pl.LazyFrame
    versions: Mapping[str, tuple[str, ...]]
    canary: Mapping[str, Any] = field(default_factory=dict)


def list_periods(run_dates: Sequence[str], served_from: time = time()) -> list[ServedNight]:
    """Return the period in which readers saw the lists of each run date.

    A list is shown from `served_from` (UTC) of its run date until the next published one is; the newest for 24 hours.

    Args:
        run_dates: all published run dates, YYYY-MM-DD, oldest first.
        served_from: time of day at which new lists reach users.
    """
    starts = [datetime.combine(_parse_day(run_date), served_from, tzinfo=UTC) for run_date in run_dates]
    ends = [*starts[1:], *(start + _LAST_NIGHT for start in starts[-1:])]
    return [ServedNight(*night) for night in zip(run_dates, starts, ends, strict=True)]


def find_test(
    home: Path,
    control: str,
    treatment: str | None,
    first: str | None = None,
    last: str | None = None,
    served_from: time = time(),
) -> tuple[list[VariantNight], str]:
    """Return the nights that showed two variants, oldest first, and the name of the treatment.

    Without dates these are the newest nights in a row with the same two variants, the same model versions and the same
    canary. With dates, all nights between them that showed both.

    Args:
        home: the home that published.
        control: name of the variant that the other is held against.
        treatment: name of the other; None: the only other one.
        first: earliest run date, YYYY-MM-DD; None: as far back as the test goes.
        last: latest run date; None: the newest.
        served_from: as for `list_periods`.

    Raises:
        DataError: no night shows both, several variants could be the treatment, or a date is not YYYY-MM-DD.
        ArtifactError: published lists are damaged.
    """
    for run_date in filter(None, (first, last)):
        _parse_day(run_date)
    published = find_published(home)
    if not published:
        raise DataError(f"lists: none are published in {home}; run 'recsys generate' first")
    periods = [
        night for night in list_periods(published, served_from) if (first or "") <= night.run_date <= (last or "~")
    ]
    if not periods:
        raise DataError(
            f"lists from {first or published[0]} until {last or published[-1]}: none of the "
            f"{format_count(len(published), 'published run date')} ({published[0]} until {published[-1]}) is in this "
            "range; choose other dates"
        )
    chosen: list[VariantNight] = []
    seen: dict[str, None] = {}
    for served in reversed(periods):
        night = _open_night(home, served)
        seen |= dict.fromkeys(night.versions)
        treatment = treatment or _other_variant(night, control)
        if treatment is not None and control in night.versions and treatment in night.versions:
            if chosen and first is None and _breaks(night, chosen[-1], (control, treatment)):
                break
            chosen.append(night)
        elif chosen and first is None:
            break
    if not chosen or treatment is None:
        wanted = f"'{control}' and {f'{treatment!r}' if treatment else 'another'}"
        raise DataError(
            f"lists from {periods[0].run_date} until {periods[-1].run_date}: no night shows the variants {wanted}; "
            f"found {', '.join(sorted(seen))}; start a canary before the lists are made, or name the variants with "
            "--control and --treatment"
        )
    return chosen[::-1], treatment


def describe_gaps(nights: Sequence[VariantNight]) -> str | None:
    """Return a sentence about lists that users saw for longer than a day; None where there are none."""
    longer = [
        f"{night.served.run_date} ({format_count((night.served.end - night.served.start).days, 'day')})"
        for night in nights
        if night.served.end - night.served.start > _LAST_NIGHT
    ]
    missing = [after.served.run_date for before, after in pairwise(nights) if after.served.start != before.served.end]
    sentences = []
    if longer:
        sentences.append(f"lists shown for more than a day, until the next were published: {', '.join(longer)}")
    if missing:
        sentences.append(f"excluded because a variant is missing: nights before {', '.join(missing)}")
    return "; ".join(sentences) or None


def _open_night(home: Path, served: ServedNight) -> VariantNight:
    lists, manifest = scan_recommendations(home, served.run_date)
    kinds = lists.select("variant", "model_version").unique().sort("variant", "model_version").collect()
    versions: dict[str, tuple[str, ...]] = {}
    for variant, version in kinds.iter_rows():
        versions[variant] = (*versions.get(variant, ()), version)
    canary = manifest.get("canary")
    return VariantNight(served, lists, versions, canary if isinstance(canary, dict) else {})


def _other_variant(night: VariantNight, control: str) -> str | None:
    """Return the only variant of a night other than the control; None where there is no control or no other.

    Raises:
        DataError: there are several others.
    """
    others = sorted(set(night.versions) - {control})
    if control not in night.versions or not others:
        return None
    if len(others) > 1:
        raise DataError(
            f"lists of {night.served.run_date}: the variants {', '.join(others)} can all be compared with "
            f"'{control}'; choose one with --treatment"
        )
    return others[0]


def _breaks(older: VariantNight, newer: VariantNight, variants: tuple[str, str]) -> bool:
    """Return whether an older night belongs to another test than the next newer one."""
    return older.canary != newer.canary or any(older.versions[name] != newer.versions[name] for name in variants)


def _parse_day(run_date: str) -> datetime:
    try:
        day = datetime.strptime(run_date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"run date '{run_date}': expected YYYY-MM-DD, such as 2025-01-31") from error
    if day.date().isoformat() != run_date:
        raise DataError(f"run date '{run_date}': expected YYYY-MM-DD, such as 2025-01-31")
    return day
