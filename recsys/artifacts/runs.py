"""Runs: what one training measured, as tables that notebooks and the report read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from recsys.config import Config, load_config
from recsys.errors import ArtifactError
from recsys.storage.files import read_table, verify_folder, write_table
from recsys.tables import (
    CandidateLedger,
    CatalogueTable,
    FeatureImportance,
    FeatureShift,
    LedgerDepths,
    LedgerOverlap,
    MetricTable,
    SegmentTable,
    TestPositives,
    UserMetrics,
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


@dataclass(frozen=True)
class Run:
    """One training, read back.

    Attributes:
        name: of its folder below `runs/`.
        folder: where it lies; `plots/` holds its pictures.
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
        lists: `user_id`, `rank`, `item_id`, `score`: our lists for the test window.
        importance: `FeatureImportance`.
        curves: name -> value by step.
        measured: what is no table: outcomes of the positives, losses, churn, blend weights, what ranks, users
            without history.
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
    curves: dict[str, list[float]]
    measured: dict[str, Any]


def write_run_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Check and write the tables of a run, one parquet file each, named as the attributes of `Run`."""
    for name, schema in _TABLES.items():
        write_table(tables[name], schema, folder / f"{name}.parquet", f"run table '{name}'")


def find_run(home: Path, config_name: str) -> str | None:
    """Return the name of a config's last training in this home, None before the first."""
    pointer = home / "runs" / f"{config_name}.current"
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def read_run(home: Path, config_name: str, run: str | None = None) -> Run:
    """Read a training of a config, the last one unless named.

    Raises:
        ArtifactError: there is none, or its folder was changed.
    """
    name = find_run(home, config_name) if run is None else run
    if name is None:
        raise ArtifactError(f"run of '{config_name}': none in {home}; {_NEXT} first")
    folder = home / "runs" / name
    if not folder.is_dir():
        known = sorted(path.name for path in (home / "runs").glob("*") if path.is_dir())
        raise ArtifactError(f"run '{name}': not in {home / 'runs'}; found {', '.join(known) or 'none'}; {_NEXT}")
    return open_run(folder)


def open_run(folder: Path) -> Run:
    """Read the run in a folder, such as the one that was logged to MLflow.

    Raises:
        ArtifactError: the folder was changed, or was written by an older version.
    """
    facts = verify_folder(folder, _NEXT)
    return Run(
        name=facts["run"],
        folder=folder,
        facts=facts,
        config=load_config(folder / "config.yaml"),
        **{
            name: read_table(folder / f"{name}.parquet", schema, f"table '{name}' of run {folder.name}", _NEXT)
            for name, schema in _TABLES.items()
        },
        lists=pl.read_parquet(folder / "lists.parquet"),
        curves=json.loads((folder / "curves.json").read_text(encoding="utf-8")),
        measured=json.loads((folder / "measured.json").read_text(encoding="utf-8")),
    )
