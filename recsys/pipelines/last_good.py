"""The last good state, which tonight's data and lists are compared with before they are published.

What was refused never became current, so the current state is the last good state, unless the monitor raised an alert
for it that nobody accepted: then a night before it is taken, so that two bad nights do not make each other normal.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.night import ACCEPTED
from recsys.artifacts.recommendations import find_followed, find_published, scan_recommendations
from recsys.artifacts.snapshots import StoredSnapshot, find_current, find_stored
from recsys.errors import ArtifactError
from recsys.monitoring.monitored_nights import Night, read_nights
from recsys.progress import logger

# Before the current state, this many days are searched for a good state; older states differ for other reasons.
_DAYS = 7

Lists = tuple[pl.LazyFrame, dict[str, Any]]


def find_last_good_lists(home: Path, name: str, run_date: str, latest: str | None) -> Lists | None:
    """Return the `Recommendations` that a night is compared with, and their manifest; None: there are none.

    They are the lists that readers follow or, for a night before those, the newest lists before the night. If the
    monitor raised an alert for them, they are the newest lists of the seven days before without an alert. Damaged lists
    are left out with a warning: they must not stop the publication of new lists.

    Args:
        home: the home that publishes.
        name: of the config.
        run_date: of the night, YYYY-MM-DD.
        latest: the last plausible run date, YYYY-MM-DD; None: any.
    """
    followed = find_followed(home, latest)
    if followed.fault:
        logger.warning("%s; tonight's lists are not compared with them", followed.fault)
    current = followed.run_date if followed.run_date and followed.run_date <= run_date else None
    last = current or run_date
    first = (date.fromisoformat(last) - timedelta(days=_DAYS)).isoformat()
    earlier = [night for night in reversed(find_published(home)) if first <= night <= last and night != current]
    monitored = {night.run_date: night for night in read_nights(home, name)}
    fallback: Lists | None = None
    for candidate in [*([current] if current else []), *earlier]:
        try:
            lists = scan_recommendations(home, candidate)
        except ArtifactError as error:
            if not followed.fault:
                logger.warning("%s; tonight's lists are not compared with them", error)
            continue
        if not _is_alerted(monitored.get(candidate), lists[1]):
            return lists
        fallback = fallback or lists
    return fallback


def find_last_good_snapshot(home: Path, name: str) -> StoredSnapshot | None:
    """Return the snapshot that new data is compared with; None: there is none, or its files cannot be read.

    It is the current snapshot. If the monitor raised an alert for a night of it, it is that of the newest night of the
    seven days before without an alert, where that snapshot still exists.
    """
    try:
        current = find_current(home, name)
    except ArtifactError as error:
        logger.warning("%s; the new data is not compared with it", error)
        return None
    if current is None:
        return None
    nights = {night.snapshot: night for night in read_nights(home, name)}
    alerted = nights.get(current.id)
    if alerted is None or not _is_alerted(alerted, current.manifest):
        return current
    first = (date.fromisoformat(alerted.run_date) - timedelta(days=_DAYS)).isoformat()
    earlier = [night for night in nights.values() if first <= night.run_date < alerted.run_date]
    for night in sorted(earlier, key=lambda night: night.run_date, reverse=True):
        stored = find_stored(home, night.snapshot)
        if stored is not None and not _is_alerted(night, stored.manifest):
            return stored
    return current


def _is_alerted(night: Night | None, manifest: dict[str, Any]) -> bool:
    """Return whether the monitor raised an alert for exactly this state, which nobody accepted."""
    if night is None or night.good or ACCEPTED in manifest:
        return False
    # Lists that were made again from other data were not judged yet; a snapshot's manifest names none.
    return bool(manifest.get("snapshot", night.snapshot) == night.snapshot)
