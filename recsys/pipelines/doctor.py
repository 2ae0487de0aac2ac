"""`recsys doctor`: check environment, data, store and published lists. Read-only."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl

from recsys.artifacts.recommendations import find_published, read_pointer
from recsys.artifacts.replaced_lists import find_kept
from recsys.artifacts.snapshots import open_snapshot
from recsys.config import Config
from recsys.dataset.ingestion.check_up import look_at_raw_data
from recsys.errors import RecsysError, RegistryError
from recsys.progress import format_count
from recsys.storage.access import find_readable
from recsys.storage.compilation import describe_folder
from recsys.storage.folders import verify_folder
from recsys.storage.home import current_snapshot_file, list_folder, mlflow_database, old_ledger_file
from recsys.text.checkpoint import describe_checkpoint

_PACKAGES = ("torch", "transformers", "implicit", "lightgbm", "mlflow", "polars", "pandas")
_NEEDED_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked.
        state: `ok`, `note` (does not exist yet, or should be known) or `problem`.
        found: what was found, or what is wrong and what to do.
    """

    name: str
    state: str
    found: str


def examine(config: Config, home: Path) -> list[Finding]:
    """Check Python, packages, raw files, checkpoint, home, modes, compiled loops and what is made, in this order."""
    return [
        _check("python", lambda: f"{sys.version.split()[0]}"),
        *(_check(name, partial(importlib.metadata.version, name)) for name in _PACKAGES),
        *_look_at_raw_data(config),
        _check("checkpoint", lambda: describe_checkpoint(config.text.checkpoint)),
        _check("home", lambda: _describe_home(home)),
        _look_at_access(home),
        _check("compiled loops", describe_folder, missing="note"),
        _check("snapshot", lambda: _describe_snapshot(config, home), missing="note"),
        _check("registry", lambda: _describe_registry(config, home), missing="note"),
        _check("lists", lambda: _describe_lists(home), missing="note"),
    ]


def _check(name: str, describe: Callable[[], str], missing: str = "problem") -> Finding:
    try:
        return Finding(name, "ok", describe())
    except FileNotFoundError as error:
        return Finding(name, missing, str(error))
    except (RecsysError, OSError, importlib.metadata.PackageNotFoundError) as error:
        return Finding(name, "problem", str(error))


def _look_at_raw_data(config: Config) -> list[Finding]:
    looks = look_at_raw_data(config.dataset, datetime.now(UTC))
    return [Finding(look.name, "ok" if look.good else "problem", look.found) for look in looks]


def _describe_home(home: Path) -> str:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file; choose another RECSYS_HOME")
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"{existing} cannot be written; choose another RECSYS_HOME")
    free = shutil.disk_usage(existing).free
    if free < _NEEDED_BYTES:
        raise OSError(f"{existing} has {free / 1e9:.1f} GB free; a run needs about 2 GB; free some space")
    return f"{home}, {free / 1e9:.0f} GB free"


def _look_at_access(home: Path) -> Finding:
    if not home.is_dir():
        return Finding("access", "note", "no home yet; it will be created as a private folder")
    exposed = list(find_readable(home))
    if not exposed:
        return Finding("access", "ok", "the home is private")
    first = "the home itself" if exposed[0] == home else str(exposed[0].relative_to(home))
    # Some volumes force modes of their own, so this is no problem that fails the check.
    return Finding(
        "access",
        "note",
        f"other accounts can reach {format_count(len(exposed), 'file or folder', 'files and folders')}, such as "
        f"{first}; run: chmod -R o=,g-rw {shlex.quote(str(home))}",
    )


def _describe_snapshot(config: Config, home: Path) -> str:
    if not current_snapshot_file(home, config.name).exists():
        raise FileNotFoundError("none yet; run 'recsys ingest'")
    snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    interactions = snapshot.interactions.select(pl.len()).collect().item()
    return f"{snapshot.id}: {format_count(snapshot.items.height, 'item')}, {format_count(interactions, 'interaction')}"


def _describe_registry(config: Config, home: Path) -> str:
    if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(home).exists():
        raise FileNotFoundError("no store yet; run 'recsys train'")
    from recsys.pipelines.registration import find_kept
    from recsys.registry.champion import compare_with_alias
    from recsys.registry.promotion_log import PromotionLog
    from recsys.registry.pruned import refuse_pruned
    from recsys.registry.tracking import connect, find_experiment
    from recsys.registry.versions import CHALLENGER, CHAMPION, find_version

    store = connect(home, config)
    # A deleted experiment, which would stop the next training.
    find_experiment(store)
    database = mlflow_database(home)
    if store.address.is_file and database.exists() and not os.access(database, os.W_OK):
        raise PermissionError(f"{database} cannot be written; make it writable, otherwise no training can be logged")
    if kept := find_kept(home):
        raise OSError(f"{store.place}: not registered yet: {', '.join(kept)}; run 'recsys register'")
    named = {alias: find_version(store, config.model_name, alias) for alias in (CHAMPION, CHALLENGER)}
    for version in named.values():
        if version:
            refuse_pruned(store, config.model_name, version.number, version.tags)
    states = [f"{alias} {'version ' + version.number if version else 'none'}" for alias, version in named.items()]
    log = PromotionLog.open(store, home, config.model_name, read_only=True)
    if old_ledger_file(home).exists():
        states.append(
            f"{old_ledger_file(home).name} of an older version of recsys will be imported by 'recsys history'"
        )
        return f"{store.place}: {', '.join(states)}"
    problem = compare_with_alias(store, log).describe()
    if problem:
        raise RegistryError(f"{log.place}: {problem}")
    return f"{store.place}: {', '.join(states)}; promotion log: {format_count(len(log.entries), 'entry', 'entries')}"


def _describe_lists(home: Path) -> str:
    current = read_pointer(home)
    if current is None:
        raise FileNotFoundError("none published yet; run 'recsys generate'")
    verify_folder(list_folder(home, current), f"run 'recsys generate --run-date {current}'")
    facts = [f"readers see {current}", f"{format_count(len(find_published(home)), 'run date')} published"]
    if kept := find_kept(home, current):
        facts.append(f"lists of version {', '.join(kept)} kept for {current}")
    from recsys.pipelines.canary import find_published_canary

    if canary := find_published_canary(home):
        facts.append(f"canary: {canary.describe()}")
    return "; ".join(facts)
