"""A training that is fitted and waits for its registration, with bundles of one small file; no model is fitted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow_runs import DATA, HOME_ID, make_results

from recsys.config import Config
from recsys.pipelines.registration import find_kept, finish_training, keep_training
from recsys.registry.tracking import Store, connect, open_run_folder
from recsys.registry.training_run import open_training
from recsys.registry.versions import BUNDLE, CHALLENGER, find_version, open_bundle
from recsys.storage.home import kept_training_folder


def keep(config: Config, home: Path, run: str, store: Store, *, finish: bool) -> str:
    """Do what a training does once it is fitted, and return its MLflow run."""
    bundle: Any = SimpleNamespace(save=lambda folder: (folder / "家.txt").touch())
    results = make_results({"popular": {"ndcg_at_10": 0.1}}, {"run": run, "end": ""})
    with open_training(store, run, config, {"run": run}, DATA, HOME_ID, find_kept(home).values()) as run_id:
        keep_training(home, run, run_id, store, bundle, bundle, results)
        if finish:
            finish_training(config, home, store, run)
    return run_id


def check_registered(config: Config, home: Path, run: str, run_id: str) -> None:
    """Fail unless the store has the training once, complete, and nothing waits for its registration."""
    store, name = connect(home, config), config.model_name
    versions = store.client.search_model_versions(f"name = '{name}'")
    assert [(str(version.version), version.run_id) for version in versions] == [("1", run_id)]
    version = find_version(store, name, CHALLENGER)
    assert version is not None
    assert version.tags["complete"] == "true"
    with open_bundle(store, version, BUNDLE) as folder:
        assert (folder / "家.txt").is_file()
    with open_run_folder(store, run_id) as folder:
        assert (folder / "metrics.parquet").is_file()
    experiment = store.client.get_run(run_id).info.experiment_id
    states = {made.info.run_name: made.info.status for made in store.client.search_runs([experiment])}
    assert states == {run: "FINISHED", "popular": "FINISHED"}
    models = store.client.search_logged_models([experiment])
    assert [model.status for model in models] == ["READY"]
    assert not kept_training_folder(home, run).exists()
    assert find_kept(home) == {}
