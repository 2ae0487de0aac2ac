"""`recsys runs`: the trainings of a config in this home. Read-only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.runs import list_run_folders, read_metrics
from recsys.config import Config
from recsys.errors import ArtifactError, RegistryError
from recsys.pipelines.registration import find_kept
from recsys.progress import logger
from recsys.registry.pruned import describe_pruned
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, Version, list_versions
from recsys.storage.home import mlflow_database


@dataclass(frozen=True)
class FoundRun:
    """One training.

    Attributes:
        name: of its folder.
        finished: when it was registered; when its folder was written, where it is not.
        version: number of its registered version; None: it has none, or the store does not answer.
        state: `champion`, `challenger` or another alias, `registered`, `pruned`, `to register`, `not registered`, or
            `unknown` where the store does not answer.
        facts: its manifest; empty where it is damaged.
        config: the settings of the training; None likewise.
        metrics: `MetricTable`; None likewise.
        fault: what is damaged; empty if nothing is.
    """

    name: str
    finished: datetime
    version: str | None
    state: str
    facts: dict[str, Any] = field(default_factory=dict)
    config: Config | None = None
    metrics: pl.DataFrame | None = None
    fault: str = ""


def list_runs(config: Config, home: Path) -> list[FoundRun]:
    """Return the trainings of a config, newest first.

    Args:
        config: whose runs; names the registered model.
        home: the folder of the runs.
    """
    folders = [folder for folder in list_run_folders(home) if folder.name.startswith(f"{config.name}-")]
    if not folders:
        return []
    registered, waiting = _Registered.ask(config, home), find_kept(home)
    found = [_read(folder, registered, waits=folder.name in waiting) for folder in folders]
    ours = [run for run in found if run.config is None or run.config.name == config.name]
    return sorted(ours, key=lambda run: (run.finished, run.name), reverse=True)


@dataclass(frozen=True)
class _Registered:
    """What the store says about the versions of a model.

    Attributes:
        versions: by run, with the time of registration.
        aliases: by number.
        known: False: the store did not answer.
    """

    versions: dict[str, tuple[Version, datetime]]
    aliases: dict[str, list[str]]
    known: bool

    @classmethod
    def ask(cls, config: Config, home: Path) -> _Registered:
        # Connecting creates a store where there is none, and this command is read-only.
        if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(home).exists():
            return cls({}, {}, known=True)
        try:
            versions, aliases = list_versions(connect(home, config), config.model_name)
        except RegistryError as error:
            logger.warning("versions are not shown: %s", error)
            return cls({}, {}, known=False)
        return cls({version.tags.get("run", ""): (version, time) for version, time in versions}, aliases, known=True)

    def describe(self, run: str, written: datetime, *, waits: bool) -> tuple[datetime, str | None, str]:
        """Return when a run was finished, its version and its state."""
        if run not in self.versions:
            state = "to register" if waits else "not registered"
            return written, None, state if self.known else "unknown"
        version, time = self.versions[run]
        aliases = self.aliases.get(version.number, [])
        if aliases:
            return time, version.number, CHAMPION if CHAMPION in aliases else ", ".join(aliases)
        return time, version.number, "pruned" if describe_pruned(version.tags) else "registered"


def _read(folder: Path, registered: _Registered, *, waits: bool) -> FoundRun:
    written = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    facts = registered.describe(folder.name, written, waits=waits)
    try:
        return FoundRun(folder.name, *facts, *read_metrics(folder))
    except ArtifactError as error:
        return FoundRun(folder.name, *facts, fault=str(error))
