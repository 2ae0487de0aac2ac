"""No event at or after a run date may change a result as of that date."""

import csv
import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature import CUTOFF, NOW, RUN_DATE, TEST_START, Trained, read_files

from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.windows import Window, split_windows
from recsys.evaluation.comparison import summarise
from recsys.pipelines.run import run_all
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, Version, need_version
from recsys.storage.folders import read_manifest
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle
from recsys.training.measurement import Measured, measure


def find_run(home: Path) -> Path:
    return home / "runs" / (home / "runs/mini.current").read_text().strip()


def find_champion(trained: Trained, home: Path) -> Version:
    return need_version(connect(home, trained.config), "recsys", CHAMPION, "")


@pytest.fixture(scope="module")
def truncated(
    trained: Trained, raw: Path, new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A home made from the same raw files without the events at or after the run date."""
    cut = tmp_path_factory.mktemp("cut")
    (cut / "items.jsonl.gz").write_bytes((raw / "items.jsonl.gz").read_bytes())
    with (
        gzip.open(raw / "interactions.csv.gz", "rt", encoding="utf-8", newline="") as whole,
        gzip.open(cut / "interactions.csv.gz", "wt", encoding="utf-8", newline="") as kept,
    ):
        rows = csv.reader(whole)
        writer = csv.writer(kept)
        writer.writerow(next(rows))
        early = [row for row in rows if row[3] < RUN_DATE]
        writer.writerows(early)
    assert len(early) > 0
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(cut))
        run_all(trained.config, home, RUN_DATE, NOW)
    return home


class TestEventsAfterTheRunDate:
    def test_there_are_some(self, trained: Trained, truncated: Path) -> None:
        # Otherwise the tests below would compare equal things.
        snapshots = {
            home: read_manifest(next((home / "snapshots").glob("*/manifest.json")).parent, "")["counts"]
            for home in (trained.home, truncated)
        }
        assert snapshots[trained.home]["interactions"] > 1.1 * snapshots[truncated]["interactions"]
        assert snapshots[trained.home]["items"] == snapshots[truncated]["items"]

    @pytest.mark.parametrize(
        "name",
        [
            "training_rows.parquet",
            "lists.parquet",
            "metrics.parquet",
            "user_metrics.parquet",
            "importance.parquet",
            "shift.parquet",
            "curves.json",
            "measured.json",
            "config.yaml",
            "plots/metrics.png",
        ],
    )
    def test_leave_no_trace_in_the_run(self, name: str, trained: Trained, truncated: Path) -> None:
        assert (find_run(truncated) / name).read_bytes() == (find_run(trained.home) / name).read_bytes()

    def test_leave_no_trace_in_the_bundle(self, trained: Trained, truncated: Path) -> None:
        full, cut = find_champion(trained, trained.home), find_champion(trained, truncated)
        # The hash of every file of the bundle.
        assert cut.tags["bundle"] == full.tags["bundle"]
        assert {**cut.tags, "snapshot": "", "run": ""} == {**full.tags, "snapshot": "", "run": ""}

    def test_leave_no_trace_in_the_lists(self, trained: Trained, truncated: Path) -> None:
        full, cut = (read_files(home / "recommendations") for home in (trained.home, truncated))
        manifest = f"run_date={RUN_DATE}/manifest.json"
        assert full.pop(manifest) != cut.pop(manifest)
        assert cut == full
        samples = [f"_sample/{name}-00000.parquet" for name in ("baselines", "features", "vectors")]
        assert sorted(full) == [
            "CURRENT",
            *(f"run_date={RUN_DATE}/{name}" for name in [*samples, "part-00000.parquet"]),
        ]


def fit_evaluation_model(trained: Trained, snapshot: Snapshot, start: datetime, end: datetime) -> tuple[Fitted, Window]:
    """Fit the evaluation model on data in which the events from start to end are on other items."""
    config, interactions = trained.config, snapshot.interactions
    inside = interactions["time"].is_between(start, end, closed="left").arg_true()
    other = np.random.default_rng(0).permutation(inside.to_numpy())
    items = interactions["item_id"].scatter(inside, interactions["item_id"].gather(other))
    windows = split_windows(
        interactions.with_columns(items), config.windows, repeats=False, end=CUTOFF, seed=config.seed
    )
    catalogue = prepare_encoder_inputs(config, snapshot.items, windows.measurement_fold.labels[-1].cutoff)
    return fit_bundle(config, snapshot.items, catalogue, windows.measurement_fold), windows.test


@pytest.fixture(scope="module")
def shuffled(trained: Trained, snapshot: Snapshot) -> tuple[Fitted, Measured]:
    """The evaluation model and its measures on data in which the events of the test window are on other items."""
    fitted, test = fit_evaluation_model(trained, snapshot, TEST_START, CUTOFF)
    return fitted, measure(fitted.bundle, test, snapshot.items, baselines=True)


class TestItemsOfTheTestWindow:
    def test_do_not_reach_the_training_rows(self, trained: Trained, shuffled: tuple[Fitted, Measured]) -> None:
        rows = pl.read_parquet(find_run(trained.home) / "training_rows.parquet", glob=False)
        assert rows["label"].sum() > 50
        assert shuffled[0].rows.equals(rows)

    def test_do_not_reach_the_lists(self, trained: Trained, shuffled: tuple[Fitted, Measured]) -> None:
        lists = pl.read_parquet(find_run(trained.home) / "lists.parquet", glob=False)
        # The measured users may differ by a user whose other items were all consumed before.
        both = lists.select("user_id").unique().join(shuffled[1].lists, on="user_id", how="semi")["user_id"]
        assert len(both) > 0.9 * lists["user_id"].n_unique()
        mine, theirs = (one.filter(pl.col("user_id").is_in(both.implode())) for one in (lists, shuffled[1].lists))
        assert theirs.equals(mine)

    def test_do_reach_the_metrics(self, trained: Trained, shuffled: tuple[Fitted, Measured]) -> None:
        metrics = pl.read_parquet(find_run(trained.home) / "metrics.parquet", glob=False)
        config = trained.config
        changed = summarise(shuffled[1].user_metrics, "ours", config.evaluation, config.seed)
        assert not changed["mean"].equals(metrics["mean"])


def test_items_of_the_label_window_do_not_reach_the_text_models(trained: Trained, snapshot: Snapshot) -> None:
    # The ranker must learn the value of a text score on events that the text model has not seen.
    fitted, _ = fit_evaluation_model(trained, snapshot, TEST_START - timedelta(days=7), TEST_START)
    curves = json.loads((find_run(trained.home) / "curves.json").read_text(encoding="utf-8"))
    assert fitted.text.curves["fine_tuning_loss"] == curves["fine_tuning_loss"]
    # First the interest model of the label window, then the one that serves, which may have seen those items.
    label, served = zip(fitted.text.curves["interest_loss"], curves["interest_loss"], strict=True)
    assert label[0] == label[1]
    assert served[0] != served[1]
    rows = pl.read_parquet(find_run(trained.home) / "training_rows.parquet", glob=False)
    assert not fitted.rows["label"].equals(rows["label"])
