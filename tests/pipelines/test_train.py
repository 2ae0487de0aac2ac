"""Other kinds of data, from raw files to lists, and trainings that cannot start."""

import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl
import pytest
from miniature import LENIENT_GATE, NOW, Trained, change, read_files, read_lists
from worlds import checkerboard

from recsys.artifacts.runs import read_run
from recsys.config import AUTO, SOURCES, Config, parse_config
from recsys.errors import ArtifactError, DataError, EngineError, RegistryError
from recsys.pipelines import train as train_module
from recsys.pipelines.compare import load_bundle
from recsys.pipelines.generate import generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.promote import promote
from recsys.pipelines.run import run_all
from recsys.pipelines.train import train
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, need_version
from recsys.storage.folders import read_manifest
from recsys.storage.locks import lock


def small_config(raw: Path, columns: dict[str, str], **sections: Any) -> Config:
    dataset = {
        "items": {"path": str(raw / "items.parquet"), "columns": {"description": "description", "tags": "tags"}},
        "interactions": {"path": str(raw / "interactions.parquet"), "columns": columns},
        "repeats": sections.pop("repeats", False),
    }
    quick = {
        "text": {"max_tokens": 16, "fine_tune": {"epochs": 0}, "interest": {"epochs": 1}},
        "ranking": {"fixed_trees": 5, "min_data_in_leaf": 5},
        "evaluation": {"bootstrap_samples": 100},
        "registry": {"gate": LENIENT_GATE},
        "generation": {"n": 5},
    }
    return parse_config({"name": "small", "threads": 1, "dataset": dataset, **quick, **sections}, "test")


def write_board(raw: Path, twice: bool = False) -> pl.DataFrame:
    """Write a checkerboard's raw files and return its interactions; with `twice`, each is repeated 20 days later."""
    items, interactions = checkerboard(users=24, items=20)
    if twice:
        again = interactions.with_columns(pl.col("time") + pl.duration(days=20))
        interactions = pl.concat([interactions, again])
    items.write_parquet(raw / "items.parquet")
    slots = interactions.select("user_id", "item_id", "time", slot=pl.int_range(pl.len()) % 7 + 1)
    slots.write_parquet(raw / "interactions.parquet")
    return interactions


class TestWithoutTimes:
    def test_from_raw_files_to_lists(self, new_home: Callable[[], Path], tmp_path: Path) -> None:
        interactions = write_board(tmp_path)
        config, home = small_config(tmp_path, {}, windows={"protocol": "random"}), new_home()
        made = run_all(config, home, None, NOW)
        assert made.generated.run_date == "2025-06-01"
        lists = read_lists(home, "2025-06-01")
        assert lists.height == 24 * 5
        assert lists.join(interactions, on=["user_id", "item_id"], how="semi").is_empty()
        # White users take white items, so the right answers are known.
        colour = pl.col("user_id").str.slice(1).cast(int) % 2 == pl.col("item_id").str.slice(1).cast(int) % 2
        assert lists.filter(pl.col("rank") == 1).select(colour.mean()).item() > 0.8
        champion = need_version(connect(home, config), config.model_name, CHAMPION, "")
        assert (champion.tags["end"], champion.tags["test_start"], champion.tags["protocol"]) == ("", "", "random")
        manifest = read_manifest(made.generated.folder, "")
        assert manifest["end"] is None

        # Made again on another day by the clock: the same lists under the run date of the command.
        rmtree(made.generated.folder)
        again = generate(config, home, "2025-06-01", NOW.replace(year=2026))
        assert read_lists(home, again.run_date).equals(lists)

        # Another seed draws other test pairs; the gate must not treat them as the same.
        train(config.model_copy(update={"seed": 1}), home, None)
        reason = promote(config, home).reason
        assert "of champion version 1 (each on its own hold-out pairs) on" in reason


class TestRepeats:
    def test_from_raw_files_to_lists(self, new_home: Callable[[], Path], tmp_path: Path) -> None:
        interactions = write_board(tmp_path, twice=True)
        sources = [name for name in SOURCES if name != "sequence"]
        candidates = {"depths": dict.fromkeys(sources, 10), "segment_column": "tags"}
        config = small_config(
            tmp_path,
            {"time": "time", "position": "slot"},
            repeats=True,
            windows={"test_days": 14},
            candidates=candidates,
        )
        home = new_home()
        made = run_all(config, home, None, NOW)
        assert set(made.trained.metrics["model"]) >= {*sources} - {"new_items"}
        # The position of an item is known for items that the user met in the label window.
        run = read_run(home, config.name)
        rows = pl.read_parquet(run.folder / "training_rows.parquet", glob=False)
        assert rows.filter(pl.col("label") == 1)["position"].is_between(1, 7).all()
        assert rows["position"].null_count() > 0
        # Auto settings are chosen once, for the evaluation model and the refit.
        asked, settled = (dict(one.flatten()) for one in (config, run.config))
        # The forms of raw files are detected in ingest, the precision is chosen by the processor, and the reasons'
        # language with each night's catalogue.
        later = {"text.precision", "generation.reason_language"}
        open_settings = {path for path, value in asked.items() if value == AUTO and not path.startswith("dataset.")}
        open_settings -= later
        assert len(open_settings) == 11
        assert all(settled[path] == value for path, value in asked.items() if path not in open_settings)
        store = connect(home, config)
        served = load_bundle(store, need_version(store, config.model_name, CHAMPION, ""), "bundle").config
        assert dict(served.flatten()) == settled
        lists = read_lists(home, made.generated.run_date)
        had = lists.join(interactions, on=["user_id", "item_id"], how="semi")
        assert had.height > lists.height / 4
        repeated = lists.filter(pl.col("sources").list.contains("repeat"))
        assert repeated.height > 0
        assert repeated.join(interactions, on=["user_id", "item_id"], how="anti").is_empty()

        # The same champion with a config that allows no repeats: tonight's config decides.
        strict = config.model_copy(update={"dataset": config.dataset.model_copy(update={"repeats": False})})
        run_ingest(strict, home, NOW)
        made_strictly = generate(strict, home, None, NOW)
        lists = read_lists(home, made_strictly.run_date)
        assert lists.join(interactions, on=["user_id", "item_id"], how="semi").is_empty()
        assert lists["user_id"].n_unique() == 24


class TestCannotStart:
    def test_without_a_store_nothing_is_fitted(
        self, trained: Trained, trained_copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fit(*_: object) -> None:
            raise AssertionError("fitting started although it cannot be logged")

        monkeypatch.setattr(train_module, "prepare_encoder_inputs", fit)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "bogus://x")
        before = read_files(trained_copy / "runs")
        with pytest.raises(RegistryError, match="does not answer"):
            train(trained.config, trained_copy, "2025-02-10")
        assert read_files(trained_copy / "runs") == before

    @pytest.mark.parametrize("lacking", ["ray", "a cluster"])
    def test_without_its_engine_nothing_is_fitted(
        self, lacking: str, trained: Trained, trained_copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if lacking == "ray":
            monkeypatch.setitem(sys.modules, "ray", None)
            reason = "ray is not installed; run pip install .*"
        else:
            pytest.importorskip("ray")
            # Nothing listens there.
            monkeypatch.setenv("RECSYS_RAY_ADDRESS", "127.0.0.1:1")
            reason = "cannot connect to a cluster at RECSYS_RAY_ADDRESS=127.0.0.1:1 .*"
        config = change(trained.config, collab={"engine": {"kind": "ray"}})
        before = read_files(trained_copy)
        with pytest.raises(EngineError, match=rf"{reason} or use collab\.engine\.kind: local") as refused:
            train(config, trained_copy, "2025-02-10")
        assert refused.value.exit_code == 2
        assert read_files(trained_copy) == before

    def test_while_another_trains(self, trained: Trained, trained_copy: Path) -> None:
        with (
            lock(trained_copy, "training"),
            pytest.raises(ArtifactError, match=r"training in .* another process holds the lock"),
        ):
            train(trained.config, trained_copy, "2025-02-10")

    @pytest.mark.parametrize(
        ("run_date", "reason"),
        [
            ("2025-13-01", "run date '2025-13-01': expected YYYY-MM-DD"),
            ("2025-1-31", "expected YYYY-MM-DD"),
            ("2024-12-31", "no interaction before 2024-12-31"),
            ("2025-01-10", "the label 1 window .* has no history"),
            ("2025-04-01", "the test window .* has no positives"),
        ],
    )
    def test_a_run_date_that_leaves_nothing(self, run_date: str, reason: str, trained: Trained) -> None:
        with pytest.raises(DataError, match=reason):
            train(trained.config, trained.home, run_date)
