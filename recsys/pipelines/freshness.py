"""`recsys freshness`: whether the raw files hold the data of a night yet. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path

from recsys.artifacts.recommendations import read_pointer
from recsys.config import Config
from recsys.dataset.ingestion.arrival import find_newest_time
from recsys.dataset.windows import parse_run_date
from recsys.errors import DataError

# Where neither the command nor generation.max_snapshot_age_hours gives a tolerance.
DEFAULT_TOLERANCE_HOURS = 24.0


@dataclass(frozen=True)
class Freshness:
    """What the raw files hold for a run date.

    Attributes:
        run_date: YYYY-MM-DD.
        newest: time of the newest raw event; None for data without times, or without a readable one.
        needed: the newest event must be at or after this instant.
        fresh: whether it is; data without times is always fresh.
        lists: the run date that readers follow; None before the first night.
        problem: why the raw files cannot be read, such as a file that is not there yet; empty if they can.
    """

    run_date: str
    newest: datetime | None
    needed: datetime
    fresh: bool
    lists: str | None
    problem: str = ""

    def describe(self) -> str:
        """Return what was found in one sentence."""
        if self.problem:
            return self.problem
        if self.fresh and self.newest is None:
            return "the data has no times, so freshness is not checked"
        found = f"the newest event is from {self.newest.isoformat()}" if self.newest else "no event has a readable time"
        return f"{found}; expected an event at or after {self.needed.isoformat()}"


def examine_freshness(
    config: Config, home: Path, run_date: str | None, tolerance_hours: float | None, now: datetime
) -> Freshness:
    """Look for the newest raw event and compare it with what the lists of a run date need.

    Lists of a run date use the events before 00:00 UTC of that day. The data is fresh if its newest event is at most
    the tolerance before that instant, or later. Files that cannot be read are not fresh: they may be on their way.

    Args:
        config: raw files, and `generation.max_snapshot_age_hours`: the tolerance that `generate` applies.
        home: the folder of the published lists.
        run_date: YYYY-MM-DD; None: the day of `now`.
        tolerance_hours: replaces the tolerance of the config; None: the config's, or 24 hours where it has none.
        now: aware instant.

    Raises:
        DataError: the run date is not YYYY-MM-DD.
    """
    day = parse_run_date(run_date) if run_date else datetime.combine(now.date(), time(), tzinfo=now.tzinfo)
    if tolerance_hours is None:
        tolerance_hours = config.generation.max_snapshot_age_hours or DEFAULT_TOLERANCE_HOURS
    needed = day - timedelta(hours=tolerance_hours)
    newest, problem = None, ""
    try:
        newest = find_newest_time(config.dataset, now)
    except DataError as error:
        problem = str(error)
    timed = dict(config.dataset.interactions.columns).get("time") is not None
    fresh = not problem and (newest >= needed if newest else not timed)
    return Freshness(day.date().isoformat(), newest, needed, fresh, read_pointer(home), problem)
