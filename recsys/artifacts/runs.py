"""Runs: what a training measured, as tables that notebooks and the report read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from recsys.config import Config, load_config
from recsys.errors import ArtifactError, ConfigError
from recsys.storage.files import read_json, read_name, read_parquet, read_table, write_table
from recsys.storage.folders import read_manifest, verify_folder
from recsys.storage.home import current_run_file, run_folder, runs_folder
from recsys.tables import (
    CandidateLedger,
    CatalogueTable,
    FeatureImportance,
    FeatureShift,
    ItemNeighbours,
    LedgerDepths,
    LedgerOverlap,
    MetricTable,
    ModelLists,
    SegmentTable,
    TestPositives,
    UserMetrics,
    empty,
)

_NEXT = "run 'recsys train' with this config"
_TABLES: dict[str, type[dy.Schema]] = {
    "metrics": MetricTable,
    "user_metrics": UserMetrics,
    "segments": SegmentTable,
    "catalogue": CatalogueTable,
    "positives": TestPositives,
    "ledger": CandidateLedger,
    "depths": LedgerDepths,
    "overlap": LedgerOverlap,
    "shift": FeatureShift,
    "importance": FeatureImportance,
}
# Samples for the report; runs of older versions have none.
_SAMPLES: dict[str, type[dy.Schema]] = {"model_lists": ModelLists, "neighbours": ItemNeighbours}


@dataclass(frozen=True)
class Run:
    """What one training measured.

    Attributes:
        name: name of its folder.
        folder: its folder; `plots/` holds the plots.
        facts: its manifest: snapshot, windows, config hash.
        config: the resolved settings of the training.
        metrics: `MetricTable`.
        user_metrics: `UserMetrics`.
        segments: `SegmentTable`.
        catalogue: `CatalogueTable`.
        positives: `TestPositives`.
        ledger: `CandidateLedger`.
        depths: `LedgerDepths`.
        overlap: `LedgerOverlap`.
        shift: `FeatureShift`.
        lists: `user_id`, `rank`, `item_id`, `score`: the model's lists for the test window.
        importance: `FeatureImportance`.
        model_lists: `ModelLists`; empty in a run of an older version.
        neighbours: `ItemNeighbours`; likewise.
        curves: name -> value by step.
        measured: everything that is not a table: outcomes of the positives, losses, churn, blend weights, the ranker,
            users without history, the lengths of the trainings in a curve.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    config: Config
    metrics: pl.DataFrame
    user_metrics: pl.DataFrame
    segments: pl.DataFrame
    catalogue: pl.DataFrame
    positives: pl.DataFrame
    ledger: pl.DataFrame
    depths: pl.DataFrame
    overlap: pl.DataFrame
    shift: pl.DataFrame
    lists: pl.DataFrame
    importance: pl.DataFrame
    model_lists: pl.DataFrame
    neighbours: pl.DataFrame
    curves: dict[str, list[float]]
    measured: dict[str, Any]


def write_run_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Check and write the tables of a run, one parquet file each, named like the attributes of `Run`.

    Args:
        folder: of the run.
        tables: by name; samples may be missing.
    """
    for name, schema in (*_TABLES.items(), *((name, _SAMPLES[name]) for name in _SAMPLES if name in tables)):
        write_table(tables[name], schema, folder / f"{name}.parquet", f"run table '{name}'")


def find_run(home: Path, config_name: str) -> str | None:
    """Return the name of a config's last run in this home, None before the first.

    Raises:
        ArtifactError: the file that names it is damaged.
    """
    return read_name(current_run_file(home, config_name), _NEXT)


def read_run(home: Path, config_name: str, run: str | None = None) -> Run:
    """Read a run of a config, the last run unless named.

    Raises:
        ArtifactError: there is none, or its folder was changed.
    """
    name = find_run(home, config_name) if run is None else run
    if name is None:
        raise ArtifactError(f"run of '{config_name}': none in {home}; {_NEXT} first")
    folder, every = run_folder(home, name), runs_folder(home)
    if not folder.is_dir():
        known = sorted(path.name for path in every.iterdir() if path.is_dir()) if every.is_dir() else []
        raise ArtifactError(f"run '{name}': not in {every}; found {', '.join(known) or 'none'}; {_NEXT}")
    return open_run(folder)


def list_run_folders(home: Path) -> list[Path]:
    """Return the folders of all runs in a home, by name; leftovers of killed trainings are left out."""
    every = runs_folder(home)
    paths = sorted(every.iterdir()) if every.is_dir() else []
    return [path for path in paths if path.is_dir() and not path.name.startswith(".")]


def read_metrics(folder: Path) -> tuple[dict[str, Any], Config, pl.DataFrame]:
    """Return a run's manifest, settings and `MetricTable`; its other files are neither read nor checked.

    Raises:
        ArtifactError: one of them is missing or damaged.
    """
    facts = read_manifest(folder, _NEXT)
    try:
        config = load_config(folder / "config.yaml")
    except ConfigError as error:
        raise ArtifactError(f"run {folder.name}: {error}") from error
    return facts, config, read_table(folder / "metrics.parquet", MetricTable, f"metrics of run {folder.name}", _NEXT)


def open_run(folder: Path) -> Run:
    """Read the run in a folder, such as the one that was logged to MLflow.

    Raises:
        ArtifactError: the folder was changed, or was written by an older version.
    """
    facts = verify_folder(folder, _NEXT)
    if not isinstance(facts.get("run"), str):
        raise ArtifactError(f"folder {folder}: its manifest does not name a run; not written by recsys; {_NEXT}")
    return Run(
        name=facts["run"],
        folder=folder,
        facts=facts,
        config=load_config(folder / "config.yaml"),
        **{
            name: read_table(folder / f"{name}.parquet", schema, f"table '{name}' of run {folder.name}", _NEXT)
            for name, schema in _TABLES.items()
        },
        **{name: _read_sample(folder, name, schema) for name, schema in _SAMPLES.items()},
        lists=read_parquet(folder / "lists.parquet"),
        curves=read_json(folder / "curves.json"),
        measured=read_json(folder / "measured.json"),
    )


def _read_sample(folder: Path, name: str, schema: type[dy.Schema]) -> pl.DataFrame:
    path = folder / f"{name}.parquet"
    return read_table(path, schema, f"table '{name}' of run {folder.name}", _NEXT) if path.is_file() else empty(schema)
