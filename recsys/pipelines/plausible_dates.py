"""Which run dates are plausible: a typing error such as `2052-02-05` must not keep readers from every later night.

A night is made for today or tomorrow, or, for data that ended in the past, for the day after its last event. A training
or a search as of a later day would use no event that an earlier one does not have, and no night before that day could
be made with its model. Every command with a run date asks here.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from recsys.artifacts.snapshots import open_snapshot
from recsys.config import Config
from recsys.dataset.windows import resolve_end
from recsys.errors import Refused

# Without another limit, a run date that is later than this after the last event is a typing error or a dead feed.
_MAX_DAYS_AFTER_DATA = 31
_ADVICE = {
    "generate": "choose another --run-date, or add --allow-future for a simulation; the current lists remain published"
}
_OTHER_DATE = "choose another --run-date"


def find_last_plausible(data_end: datetime | None, now: datetime) -> str:
    """Return the last plausible run date: tomorrow or the day after the last event, whichever is later.

    Args:
        data_end: 00:00 UTC of the day after the last event; None without times.
        now: the time of the clock; tomorrow (UTC) has begun in other time zones.
    """
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return max(tomorrow, data_end.date() if data_end else tomorrow).isoformat()


def refuse_future(command: str, run_date: str, data_end: datetime | None, now: datetime) -> None:
    """Refuse a run date in the future.

    Args:
        command: for the message.
        run_date: YYYY-MM-DD.
        data_end: as for `find_last_plausible`.
        now: the time of the clock.

    Raises:
        Refused: the run date is after the last plausible one.
    """
    if run_date > (last := find_last_plausible(data_end, now)):
        raise Refused(
            f"{command} for {run_date}: the run date is in the future, expected at most {last}; "
            f"{_ADVICE.get(command, _OTHER_DATE)}"
        )


def refuse_implausible(command: str, config: Config, run_date: str, data_end: datetime | None, now: datetime) -> None:
    """Refuse a run date in the future, and one long after the data.

    Args:
        command: for the message.
        config: `generation.max_snapshot_age_hours` replaces the limit of 31 days after the last event.
        run_date: YYYY-MM-DD.
        data_end: as for `find_last_plausible`.
        now: the time of the clock.

    Raises:
        Refused: the run date is after the last plausible one, or too long after the last event.
    """
    refuse_future(command, run_date, data_end, now)
    if data_end is None or config.generation.max_snapshot_age_hours is not None:
        return
    if date.fromisoformat(run_date) > data_end.date() + timedelta(days=_MAX_DAYS_AFTER_DATA):
        raise Refused(
            f"{command} for {run_date}: the snapshot's last event is on {data_end - timedelta(days=1):%Y-%m-%d}, more "
            f"than {_MAX_DAYS_AFTER_DATA} days before the run date; ingest newer data, set "
            f"generation.max_snapshot_age_hours if such gaps are normal, or {_ADVICE.get(command, _OTHER_DATE)}"
        )


def check_run_date(command: str, config: Config, home: Path, run_date: str | None, now: datetime) -> None:
    """Check the run date of a command against the newest snapshot, before hours of work.

    Args:
        command: for the message.
        config: names the snapshot.
        home: the folder of the snapshots.
        run_date: as given; None: the day after the last event, which is plausible.
        now: the time of the clock.

    Raises:
        DataError: it is not YYYY-MM-DD.
        Refused: it is not plausible.
        ArtifactError: there is no snapshot.
    """
    if run_date is None:
        return
    interactions = open_snapshot(home, config.name, config.dataset.model_dump(mode="json")).interactions
    resolve_end(interactions, run_date)
    refuse_implausible(command, config, run_date, resolve_end(interactions, None), now)
