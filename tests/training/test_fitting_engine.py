"""`collab.engine` decides where a training fits its collaborative models, and changes none of them."""

from pathlib import Path
from typing import Any

import pytest
from miniature import CUTOFF, Trained, change, read_files
from ray_clusters import start_two_nodes

from recsys.artifacts.snapshots import Snapshot
from recsys.config import Config
from recsys.dataset.windows import split_windows
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import RayEngine
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle, refit_bundle

KINDS = {"_HalfStep", "_ItemBlocks", "_FollowerBlocks"}


def fit(config: Config, snapshot: Snapshot) -> tuple[Fitted, Fitted]:
    """Return an evaluation model and its refit."""
    items = snapshot.items
    windows = split_windows(snapshot.interactions, config.windows, repeats=False, end=CUTOFF, seed=config.seed)
    inputs = prepare_encoder_inputs(config, items, windows.measurement_fold.labels[-1].cutoff)
    evaluated = fit_bundle(config, items, inputs, windows.measurement_fold)
    return evaluated, refit_bundle(items, windows.refit_fold, evaluated)


@pytest.fixture(scope="module")
def frozen(trained: Trained) -> Config:
    return change(trained.config, text={"fine_tune": {"epochs": 0}})


@pytest.fixture(scope="module")
def alone(frozen: Config, snapshot: Snapshot) -> tuple[Fitted, Fitted]:
    return fit(frozen, snapshot)


def check_same(fitted: tuple[Fitted, Fitted], expected: tuple[Fitted, Fitted], folder: Path) -> None:
    for number, pair in enumerate(zip(fitted, expected, strict=True)):
        own, other = (folder / f"{number} {name}" for name in ("own", "other"))
        for each, place in zip(pair, (own, other), strict=True):
            place.mkdir()
            each.bundle.candidate_models.save(place)
        assert read_files(own) == read_files(other)
        assert pair[0].rows.equals(pair[1].rows)


def count_tasks(monkeypatch: pytest.MonkeyPatch, engine: type[LocalEngine | RayEngine]) -> set[str]:
    """Return the set of the kinds of tasks that two workers of an engine will be given."""
    kinds: set[str] = set()
    run = engine.run

    def count(self: Any, work: Any, numbers: Any) -> Any:
        if self.parallel == 2:
            kinds.add(type(work).__name__)
        return run(self, work, numbers)

    monkeypatch.setattr(engine, "run", count)
    return kinds


def test_two_processes_fit_the_same_bundles(
    frozen: Config,
    alone: tuple[Fitted, Fitted],
    snapshot: Snapshot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = count_tasks(monkeypatch, LocalEngine)
    check_same(fit(change(frozen, collab={"engine": {"workers": 2}}), snapshot), alone, tmp_path)
    assert kinds == KINDS


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_two_machines_of_a_cluster_fit_the_same_bundles(
    frozen: Config,
    alone: tuple[Fitted, Fitted],
    snapshot: Snapshot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = count_tasks(monkeypatch, RayEngine)
    with start_two_nodes():
        # Each fit of all models connects to the cluster, and leaves it.
        check_same(fit(change(frozen, collab={"engine": {"kind": "ray"}}), snapshot), alone, tmp_path)
    assert kinds == KINDS
