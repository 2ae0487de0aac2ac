"""`recsys monitor`: compare a night with the last good nights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.night_samples import BASELINES, FEATURES, VECTORS, read_sample
from recsys.artifacts.recommendations import find_published, read_pointer, scan_recommendations
from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot, read_summary
from recsys.config import Config
from recsys.dataset.windows import resolve_end
from recsys.errors import ArtifactError, RegistryError
from recsys.monitoring.alerts import judge
from recsys.monitoring.events import DAY
from recsys.monitoring.figures import Observed, ShownLists
from recsys.monitoring.metrics_text import format_metrics
from recsys.monitoring.monitored_nights import (
    SAMPLES_KEPT,
    Night,
    accept_night,
    prune_nights,
    read_last,
    read_nights,
    write_night,
)
from recsys.monitoring.nights import list_periods
from recsys.monitoring.observation import observe
from recsys.monitoring.reference import select_reference
from recsys.monitoring.sketches import read_list_sketch
from recsys.pipelines.plausible_dates import refuse_future
from recsys.progress import format_count, log_stage, logger
from recsys.storage.access import let_readers_in
from recsys.storage.files import replace_text
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder, monitor_metrics_file, monitored_samples_folder
from recsys.storage.locks import lock


@dataclass(frozen=True)
class Monitored:
    """A monitored night with what it was compared with.

    Attributes:
        night: figures, verdict and alerts.
        nights: all nights of the config until this one, oldest first, this one included.
        reference: run dates of the good nights that it was compared with.
    """

    night: Night
    nights: tuple[Night, ...]
    reference: tuple[str, ...]


def monitor(config: Config, home: Path, run_date: str | None, now: datetime) -> Monitored:
    """Compute the figures of a night, compare them with the last good nights, and write both.

    The night is the newest snapshot of the config, of which only events before 00:00 UTC of the run date count, and the
    lists that were published last until the run date. A night that is monitored again replaces its earlier result.

    Args:
        config: its snapshot and lists are watched; its section `monitoring` has the settings.
        home: the folder of snapshots, lists and monitored nights.
        run_date: YYYY-MM-DD; None: the run date that readers follow or, without lists, the day after the last event.
        now: limits the run date; its day is the run date where the data has no times and nothing else gives one.

    Raises:
        ArtifactError: there is no snapshot, the lists are damaged, or the home cannot be written.
        DataError: the run date is not YYYY-MM-DD.
        Refused: it is in the future.
    """
    settings = config.monitoring
    with lock(home, f"monitoring-{config.name}"), log_stage("monitor") as done:
        snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        chosen = run_date or _find_followed(config, home)
        end = resolve_end(snapshot.interactions, chosen)
        day = chosen or (end or now).date().isoformat()
        if run_date is not None:
            # A night long after the data is what a frozen feed looks like; one in the future is a typing error.
            refuse_future("monitor", run_date, resolve_end(snapshot.interactions, None), now)
        nights = [night for night in read_nights(home, config.name) if night.run_date < day]
        reference = select_reference(nights, day, settings)
        last = read_last(home, config.name, reference.nights)
        observed = _gather(config, home, snapshot, day, end)
        observation = observe(observed, last, settings, nights)
        version = str(observed.list_facts.get("model_version", ""))
        expected, alerts = judge(observation.figures, replace(reference, version=version), nights)
        night = Night(
            run_date=day,
            end=end.isoformat() if end else "",
            snapshot=snapshot.id,
            model_version=version,
            settings=str(observed.list_facts.get("config", "")),
            verdict="alert" if alerts else "calm",
            figures=observation.figures.values,
            segments=observation.figures.segments,
            expected={name: _limits(asdict(normal)) for name, normal in expected.items()},
            alerts=[alert.to_dict() for alert in alerts],
            intervals=observation.figures.intervals,
            retrain=any(alert.retrain for alert in alerts),
        )
        write_night(home, config.name, night, observation.sketches)
        everything = read_nights(home, config.name)
        good = next((known.run_date for known in reversed(everything) if known.good), None)
        prune_nights(home, config.name, everything, good, settings.keep_nights)
        replace_text(monitor_metrics_file(home, config.name), format_metrics(config.name, night))
        let_readers_in(home, monitor_metrics_file(home, config.name))
        done(
            f"{day}: {format_count(len(night.figures), 'figure')}, {format_count(len(alerts), 'alert')}, "
            f"{format_count(len(reference.nights), 'reference night')}"
        )
    return Monitored(night, (*nights, night), tuple(known.run_date for known in reference.nights))


def track(config: Config, home: Path, night: Night, page: Path, now: datetime) -> str | None:
    """Log a monitored night to MLflow and return the id of its run.

    What the monitor found does not depend on it: a store that does not answer is a warning.

    Args:
        config: names the experiment; `monitoring.mlflow` false logs nothing.
        home: the folder of the default MLflow store.
        night: the night.
        page: of the night.
        now: time of the logged values.

    Returns:
        None if nothing was logged.
    """
    if not config.monitoring.mlflow:
        return None
    from recsys.registry.monitored_run import log_night
    from recsys.registry.tracking import connect

    try:
        return log_night(connect(home, config), night, page, now)
    except RegistryError as error:
        logger.warning("%s; the night's result and its page are complete without it", error)
        return None


def accept(config: Config, home: Path, run_date: str, reason: str) -> Night:
    """Accept a monitored night as the new normal: later nights are compared with it and with those after it.

    Raises:
        ArtifactError: the night was not monitored, or the home cannot be written.
    """
    with lock(home, f"monitoring-{config.name}"):
        night = accept_night(home, config.name, run_date, reason)
    logger.info("monitored night %s: accepted; later nights are compared with it", run_date)
    return night


def _limits(normal: dict[str, Any]) -> dict[str, float | None]:
    return {name: normal[name] for name in ("value", "low", "high")}


def _find_followed(config: Config, home: Path) -> str | None:
    """Return the run date that readers follow, None if it is not a night of this config."""
    current = read_pointer(home)
    if current is None:
        return None
    try:
        manifest = read_manifest(list_folder(home, current), f"run 'recsys generate --run-date {current}'")
    except ArtifactError:
        return None
    return current if manifest.get("name") == config.name else None


def _gather(config: Config, home: Path, snapshot: OpenSnapshot, run_date: str, end: datetime | None) -> Observed:
    lists, facts = _find_lists(config, home, run_date)
    listed = str(facts.get("run_date", ""))
    return Observed(
        run_date=run_date,
        end=end,
        snapshot=snapshot.id,
        items=snapshot.items,
        interactions=snapshot.interactions,
        summary=read_summary(home, snapshot.id),
        lists=lists,
        list_facts=facts,
        item_columns=config.evaluation.segments.item_columns,
        features=read_sample(home, listed, FEATURES) if listed else None,
        vectors=read_sample(home, listed, VECTORS) if listed else None,
        shown=_find_shown(config, home, run_date, end),
        max_events_per_user_day=config.dataset.max_events_per_user_day,
    )


def _find_lists(config: Config, home: Path, run_date: str) -> tuple[pl.LazyFrame | None, dict[str, Any]]:
    """Return the lists of the config that were published last until a run date, and their manifest."""
    for published in reversed([day for day in find_published(home) if day <= run_date]):
        lists, manifest = scan_recommendations(home, published)
        if manifest.get("name") == config.name:
            return lists, manifest
    return None, {}


def _find_shown(config: Config, home: Path, run_date: str, end: datetime | None) -> ShownLists | None:
    """Return the lists whose period ended in the last day; None if there are none, or they are damaged."""
    published = [day for day in find_published(home) if day <= run_date]
    if end is None or not published:
        return None
    ended = [night for night in list_periods(published) if end - DAY < night.end <= end]
    if not ended:
        return None
    served = ended[-1]
    try:
        lists, manifest = scan_recommendations(home, served.run_date)
    except ArtifactError as error:
        logger.warning("%s; the outcomes of these lists are not monitored", error)
        return None
    if manifest.get("name") != config.name:
        return None
    first = date.fromisoformat(served.run_date)
    days = [(age, (first - timedelta(days=age)).isoformat()) for age in range(SAMPLES_KEPT)]
    sketches = {age: monitored_samples_folder(home, config.name, day) for age, day in days}
    earlier = {age: read_list_sketch(folder) for age, folder in sketches.items() if folder.is_dir()}
    return ShownLists(served, lists, read_sample(home, served.run_date, BASELINES), earlier)
