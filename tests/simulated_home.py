"""A home that grows as with nightly and weekly commands, without fitting anything.

Snapshots, runs, registered versions, published nights and caches are small, and are written by the functions that the
commands use. Files get the time of the simulated day.
"""

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import yaml
from lists_of_two import make_lists, publish_lists
from mlflow_runs import DATA, HOME_ID, make_results
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import prune_published
from recsys.artifacts.runs import _TABLES, write_run_tables
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.pipelines.registration import find_kept, finish_training, keep_training
from recsys.registry.tracking import connect
from recsys.registry.training_run import open_training
from recsys.registry.versions import Version
from recsys.storage.array_cache import ArrayCache
from recsys.storage.files import replace_text
from recsys.storage.folders import write_folder
from recsys.storage.home import current_run_file, embeddings_folder, factors_folder, report_file, run_folder
from recsys.tables import Rejected, empty

START = datetime(2025, 3, 1, tzinfo=UTC)
KINDS = ("snapshots", "runs", "mlartifacts", "mlflow.db", "recommendations", "embeddings", "factors", "reports")


@dataclass
class SimulatedHome:
    """The home, and what day it is.

    Attributes:
        config: of everything.
        home: its folder.
        encoder_bytes: size of the encoder in a bundle.
        tuned: the encoders are fine-tuned, so those of all bundles differ.
        day: days since `START`.
    """

    config: Config
    home: Path
    encoder_bytes: int = 100_000
    tuned: bool = True
    day: int = 0
    _opened: float = field(default_factory=time.time)

    @property
    def now(self) -> datetime:
        return START + timedelta(days=self.day)

    @property
    def run_date(self) -> str:
        return self.now.date().isoformat()

    def ingest(self) -> str:
        """Write the snapshot of the day and return its id."""
        tables = {
            "items": make_items("a", "b").with_columns(category=pl.lit("")),
            "interactions": make_interactions(*(("u", "a", day) for day in range(self.day + 1, self.day + 52))),
            "rejected": empty(Rejected),
        }
        return write_snapshot(self.home, self.config.name, tables, self.config.dataset.model_dump(mode="json"))

    def night(self) -> None:
        """Do what a night does: a snapshot, lists, cached embeddings and factors; then the next day begins."""
        snapshot = self.ingest()
        facts = {"snapshot": snapshot, "model_version": "1", "counts": {"rows": 20, "users": 10}}
        lists = make_lists([(f"u{user}", "champion", ["a", "b"]) for user in range(10)])
        publish_lists(self.home, self.run_date, lists, facts)
        prune_published(self.home, self.config.generation.keep_run_dates)
        self._cache(embeddings_folder(self.home), "e" * 64, "")
        factors = self._cache(factors_folder(self.home), f"{self.day // 7:064x}", self.run_date)
        factors.forget_models(1)
        factors.forget_runs()
        self.stamp()
        self.day += 1

    def _cache(self, root: Path, model: str, run: str) -> ArrayCache:
        rows = np.random.default_rng(self.day).random((2500, 8), dtype=np.float32)
        keys = np.arange(2500, dtype=np.uint64)[:, None] + np.uint64(self.day * 10_000)
        cache = ArrayCache(root, model, 1, 8, run)
        cache.reload()
        cache.write(keys, rows, "rows")
        return cache

    def train(self, *, finish: bool = True) -> Version | None:
        """Do what a training leaves: a run, its report, and a registered version."""
        store, snapshot = connect(self.home, self.config), self.ingest()
        run = f"{self.config.name}-{self.run_date}-{self.day:08x}"
        facts = {"run": run, "snapshot": snapshot, "end": "", "test_start": "", "test_end": ""}
        write_folder(run_folder(self.home, run), self._write_run, {**facts, "kind": "run"})
        replace_text(current_run_file(self.home, self.config.name), run + "\n")
        replace_text(report_file(self.home, run), "<!doctype html>" + " " * 50_000)
        with (
            patch("recsys.registry.training_run.log_system_metrics", lambda *_: nullcontext()),
            open_training(store, run, self.config, facts, DATA, HOME_ID, find_kept(self.home).values()) as run_id,
        ):
            bundle, evaluated = (self._bundle(part) for part in (1, 2))
            results = make_results({"popular": {"ndcg_at_10": 0.1}}, facts)
            keep_training(self.home, run, run_id, store, bundle, evaluated, results)
            version = finish_training(self.config, self.home, store, run) if finish else None
        self.stamp()
        return version

    def _write_run(self, folder: Path) -> None:
        write_run_tables(folder, {name: empty(schema) for name, schema in _TABLES.items()})
        pl.DataFrame({"user_id": ["u"], "rank": [1]}).write_parquet(folder / "lists.parquet")
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config.resolved()), "utf-8")
        for name in ("curves", "measured"):
            (folder / f"{name}.json").write_text("{}", "utf-8")
        (folder / "training_rows.parquet").write_bytes(os.urandom(50_000))

    def _bundle(self, part: int) -> Any:
        seed = self.day * 10 + part if self.tuned else 0

        def save(folder: Path) -> None:
            (folder / "encoder").mkdir()
            (folder / "encoder" / "model.safetensors").write_bytes(
                np.random.default_rng(seed).bytes(self.encoder_bytes)
            )
            (folder / "ranker.json").write_text(f"{self.day} {part}", "utf-8")

        return SimpleNamespace(save=save)

    def stamp(self) -> None:
        """Give everything that was written since the last call the time of the simulated day."""
        instant = self.now.timestamp()
        for path in self.home.rglob("*"):
            # Written by the clock of this machine, which is ahead.
            if not path.is_symlink() and path.stat().st_mtime >= self._opened - 1:
                os.utime(path, (instant, instant))

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each kind; files with several links count once."""
        return {kind: measure(self.home / kind) for kind in KINDS}


def measure(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; files with several links count once."""
    paths = [path] if path.is_file() else path.rglob("*")
    states = [each.lstat() for each in paths if each.is_file() and not each.is_symlink()]
    return sum({(state.st_dev, state.st_ino): state.st_size for state in states}.values())
