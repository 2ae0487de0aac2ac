"""`collab.engine` decides where a training fits its collaborative models, and changes none of them."""

from pathlib import Path

import pytest
from miniature import CUTOFF, Trained, change, read_files

from recsys.artifacts.snapshots import Snapshot
from recsys.config import Config
from recsys.dataset.windows import split_windows
from recsys.engines.local import LocalEngine
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle


def fit(config: Config, snapshot: Snapshot) -> Fitted:
    items = snapshot.items
    windows = split_windows(snapshot.interactions, config.windows, repeats=False, end=CUTOFF, seed=config.seed)
    fold = windows.measurement_fold
    return fit_bundle(config, items, prepare_encoder_inputs(config, items, fold.labels[-1].cutoff), fold)


def test_two_processes_fit_the_same_bundle(
    trained: Trained, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[str] = []
    run = LocalEngine.run

    def count(engine: LocalEngine, work: object, numbers: object) -> object:
        if engine.parallel == 2:
            tasks.append(type(work).__name__)
        return run(engine, work, numbers)

    monkeypatch.setattr(LocalEngine, "run", count)
    config = change(trained.config, text={"fine_tune": {"epochs": 0}})
    parallel = change(config, collab={"engine": {"workers": 2}})
    one, two = fit(config, snapshot), fit(parallel, snapshot)
    assert {"_HalfStep", "_ItemBlocks", "_FollowerBlocks"} == set(tasks)
    for name, fitted in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        fitted.bundle.candidate_models.save(tmp_path / name)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")
    assert one.rows.equals(two.rows)
