"""Monitored nights on disk: figures, verdict and alerts as JSON, samples as parquet."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from recsys.errors import ArtifactError, DataError
from recsys.monitoring.sketches import Sketches
from recsys.progress import logger
from recsys.storage.files import encode_json, read_json, replace_text
from recsys.storage.folders import verify_folder, write_folder
from recsys.storage.home import monitored_nights_folder, monitored_samples_folder

# Samples of the last nights, for the decay of a week's lists and a run date that is monitored again.
SAMPLES_KEPT = 7
_NEXT_STEP = "run 'recsys monitor' for that date again"


@dataclass(frozen=True)
class Night:
    """One monitored night.

    Attributes:
        run_date: YYYY-MM-DD.
        end: instant before which events count, ISO 8601; "" without times.
        snapshot: id of the snapshot.
        model_version: of the lists; "" without lists.
        settings: hash of the settings of the lists; "" without lists.
        verdict: `alert` if there is an alert, otherwise `calm`.
        figures: figure -> value.
        segments: figure -> segment -> value.
        expected: figure -> `value`, `low`, `high` (null: no limit) that the night was judged by.
        alerts: as JSON, most important first.
        accepted: why somebody accepted the night as the new normal; "" if nobody did.
        intervals: figure -> segment, or "" for the figure itself -> the ends of its 95 % interval.
        retrain: whether an alert asks for a new training.
    """

    run_date: str
    end: str
    snapshot: str
    model_version: str
    settings: str
    verdict: Literal["calm", "alert"]
    figures: dict[str, float]
    segments: dict[str, dict[str, float]]
    expected: dict[str, dict[str, float | None]] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    accepted: str = ""
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    retrain: bool = False

    @property
    def good(self) -> bool:
        """Whether later nights may be compared with this one."""
        return self.verdict == "calm" or bool(self.accepted)

    @property
    def weekday(self) -> int:
        """Weekday of the run date, 0 Monday."""
        return date.fromisoformat(self.run_date).weekday()


@dataclass(frozen=True)
class LastNight:
    """The last good night.

    Attributes:
        night: its figures.
        sketches: its samples; None if they are missing or damaged.
    """

    night: Night
    sketches: Sketches | None


def write_night(home: Path, name: str, night: Night, sketches: Sketches) -> None:
    """Write a night of a config, its samples first; the same run date is replaced.

    Raises:
        ArtifactError: the home cannot be written.
    """
    folder = monitored_samples_folder(home, name, night.run_date)
    write_folder(folder, sketches.write, {"kind": "samples", "run_date": night.run_date})
    _write(home, name, night)


def read_nights(home: Path, name: str) -> list[Night]:
    """Return the monitored nights of a config, oldest first; files that cannot be read are left out with a warning."""
    folder, nights = monitored_nights_folder(home, name), []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            content = read_json(path)
            night = Night(**content)
            date.fromisoformat(night.run_date)
        except (OSError, ValueError, TypeError) as error:
            logger.warning("monitored night %s: cannot be read (%s); skipped; %s", path, error, _NEXT_STEP)
            continue
        nights.append(night)
    return nights


def read_last(home: Path, name: str, reference: Sequence[Night]) -> LastNight | None:
    """Return the last of the reference nights with its samples; None if there is no reference night.

    A night whose samples are damaged still counts with its figures; a warning says what is not compared.
    """
    if not reference:
        return None
    night = reference[-1]
    folder = monitored_samples_folder(home, name, night.run_date)
    try:
        verify_folder(folder, _NEXT_STEP)
        return LastNight(night, Sketches.read(folder))
    except (ArtifactError, DataError) as error:
        logger.warning("%s; tonight's ids and texts are not compared with those of %s", error, night.run_date)
        return LastNight(night, None)


def accept_night(home: Path, name: str, run_date: str, reason: str) -> Night:
    """Accept a night as the new normal: the reference of later nights starts with it.

    Raises:
        ArtifactError: the night was not monitored, or the home cannot be written.
    """
    nights = {night.run_date: night for night in read_nights(home, name)}
    if run_date not in nights:
        known = ", ".join(list(nights)[-5:]) or "none"
        raise ArtifactError(
            f"monitored night {run_date} of '{name}': none; the last ones are {known}; "
            f"run 'recsys monitor --run-date {run_date}' first"
        )
    accepted = replace(nights[run_date], accepted=reason)
    _write(home, name, accepted)
    return accepted


def prune_nights(home: Path, name: str, nights: Sequence[Night], last_good: str | None, keep: int) -> None:
    """Delete the oldest nights beyond `keep`, and the samples of all but the last nights and the last good one."""
    for night in nights[:-keep]:
        (monitored_nights_folder(home, name) / f"{night.run_date}.json").unlink(missing_ok=True)
    with_samples = {night.run_date for night in nights[-SAMPLES_KEPT:]} | {last_good}
    for night in nights:
        if night.run_date not in with_samples:
            shutil.rmtree(monitored_samples_folder(home, name, night.run_date), ignore_errors=True)


def _write(home: Path, name: str, night: Night) -> None:
    replace_text(monitored_nights_folder(home, name) / f"{night.run_date}.json", encode_json(asdict(night)))
