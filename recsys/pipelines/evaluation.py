"""`recsys evaluate`: what a training measured. Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.folders import read_table, verify_folder
from recsys.errors import ArtifactError
from recsys.tables import CandidateLedger, MetricTable, UserMetrics

_NEXT = "run 'recsys train' with this config"


@dataclass(frozen=True)
class Run:
    """One training, read back.

    Attributes:
        name: of its folder below `runs/`.
        facts: its manifest: snapshot, windows, config hash.
        metrics: `MetricTable`.
        user_metrics: `UserMetrics`.
        ledger: `CandidateLedger`.
        importance: `feature`, `gain`.
        curves: name -> value by step.
        measured: coverage, the fates of the positives, blend weights, users without history.
    """

    name: str
    facts: dict[str, Any]
    metrics: pl.DataFrame
    user_metrics: pl.DataFrame
    ledger: pl.DataFrame
    importance: pl.DataFrame
    curves: dict[str, list[float]]
    measured: dict[str, Any]


def read_run(home: Path, config_name: str, run: str | None = None) -> Run:
    """Read a training of a config, the last one unless named.

    Raises:
        ArtifactError: there is none, or its folder was changed.
    """
    pointer = home / "runs" / f"{config_name}.current"
    if run is None and not pointer.is_file():
        raise ArtifactError(f"run of '{config_name}': none in {home}; {_NEXT} first")
    name = pointer.read_text(encoding="utf-8").strip() if run is None else run
    folder = home / "runs" / name
    if not folder.is_dir():
        known = sorted(path.name for path in (home / "runs").glob("*") if path.is_dir())
        raise ArtifactError(f"run '{name}': not in {home / 'runs'}; found {', '.join(known) or 'none'}; {_NEXT}")
    facts = verify_folder(folder, _NEXT)
    return Run(
        name=name,
        facts=facts,
        metrics=read_table(folder / "metrics.parquet", MetricTable, f"metrics of run {name}", _NEXT),
        user_metrics=read_table(folder / "user_metrics.parquet", UserMetrics, f"user metrics of run {name}", _NEXT),
        ledger=read_table(folder / "ledger.parquet", CandidateLedger, f"candidate ledger of run {name}", _NEXT),
        importance=pl.read_parquet(folder / "importance.parquet"),
        curves=json.loads((folder / "curves.json").read_text(encoding="utf-8")),
        measured=json.loads((folder / "measured.json").read_text(encoding="utf-8")),
    )
