"""A version copied from one store to another."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_versions import CONFIG, NAME, FakeGate, challenger, champion, open_log
from miniature import Trained, read_files
from mlflow.entities import Metric

from recsys.errors import ArtifactError, ConfigError, RegistryError
from recsys.pipelines.copy_version import copy_version
from recsys.pipelines.promote import load_champion, promote
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import find_number, open_bundle
from recsys.storage.folders import write_folder


def make_bundle_version(store: Store, folder: Path) -> str:
    """Register a version with two small bundles, a run with numbers and files, and return its number."""
    client = store.client
    parts = folder / "model" / "artifacts"
    manifest = write_folder(parts / "bundle", lambda path: (path / "trees.txt").write_text("tree") and None, {})
    write_folder(parts / "evaluation_model", lambda path: (path / "trees.txt").write_text("evaluated") and None, {})
    (folder / "model" / "MLmodel").write_text("flavors: {}\n")
    digest = hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()[:12]
    experiment = client.create_experiment("source", store.artifacts)
    run_id = client.create_run(experiment, tags={"kind": "run", "snapshot": "abc"}, run_name="mini-1").info.run_id
    client.log_param(run_id, "seed", "0")
    client.log_batch(run_id, metrics=[Metric("loss", 1.0 / (step + 1), step, step) for step in range(250)])
    client.log_metric(run_id, "ndcg_at_10", 0.1234567890123)
    client.log_artifacts(run_id, str(folder / "model"), "model")
    client.log_text(run_id, "seed: 0\n", "run/config.yaml")
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    location = f"{client.get_run(run_id).info.artifact_uri}/model"
    number = str(client.create_model_version(NAME, location, run_id).version)
    for key, value in {"snapshot": "abc", "bundle": digest, "test_start": "2025-01-01", "complete": "true"}.items():
        client.set_model_version_tag(NAME, number, key, value)
    client.set_registered_model_alias(NAME, "challenger", number)
    return number


@pytest.fixture
def staging(new_home: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose version 1 was promoted."""
    FakeGate.install(monkeypatch)
    monkeypatch.setattr("recsys.pipelines.copy_version.Bundle.load", lambda _: None)
    home = new_home()
    make_bundle_version(connect(home, CONFIG), tmp_path)
    promote(CONFIG, home)
    return home


def read_bundles(home: Path, number: str) -> list[dict[str, bytes]]:
    store = connect(home, CONFIG)
    version = find_number(store, NAME, number)
    assert version
    bundles = []
    for part in ("bundle", "evaluation_model"):
        with open_bundle(store, version, part) as folder:
            bundles.append(read_files(folder))
    return bundles


def test_everything_arrives(staging: Path, new_home: Callable[[], Path]) -> None:
    production = new_home()
    copied = copy_version(CONFIG, staging, None, production)
    assert (copied.version, copied.copy, copied.existed) == ("1", "1", False)
    assert read_bundles(production, "1") == read_bundles(staging, "1")
    here, there = connect(staging, CONFIG), connect(production, CONFIG)
    source, copy = find_number(here, NAME, "1"), find_number(there, NAME, "1")
    assert source
    assert copy
    assert {key: copy.tags[key] for key in source.tags} == source.tags
    assert copy.tags["origin_version"] == "1"
    runs = [store.client.get_run(version.run_id) for store, version in ((here, source), (there, copy))]
    assert runs[0].data.params == runs[1].data.params
    assert runs[0].data.metrics == runs[1].data.metrics
    assert runs[1].data.tags["kind"] == "run"
    histories = [
        sorted(
            (point.step, point.value, point.timestamp)
            for point in store.client.get_metric_history(version.run_id, "loss")
        )
        for store, version in ((here, source), (there, copy))
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 250
    files = there.client.list_artifacts(copy.run_id, "run")
    assert [file.path for file in files] == ["run/config.yaml"]

    (entry,) = open_log(production).entries
    origin = entry.details["origin"]
    promoted = open_log(staging).entries[0]
    assert (entry.action, entry.from_version, entry.to_version) == ("copy", None, "1")
    assert (origin["version"], origin["bundle"], origin["run"]) == ("1", copied.bundle, source.run_id)
    assert (origin["entry"]["hash"], origin["entry"]["number"]) == (promoted.hash, 1)
    # It waits for the gate there.
    assert (champion(there), challenger(there)) == (None, "1")
    promote(CONFIG, production)
    assert champion(there) == "1"
    assert champion(connect(staging, CONFIG)) == "1"


def test_again_copies_nothing(staging: Path, new_home: Callable[[], Path]) -> None:
    production = new_home()
    copy_version(CONFIG, staging, "1", production)
    again = copy_version(CONFIG, staging, "1", production)
    assert (again.copy, again.existed) == ("1", True)
    assert len(open_log(production).entries) == 1


def test_the_target_of_the_environment(
    staging: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    production = new_home()
    monkeypatch.setenv("RECSYS_TARGET_TRACKING_URI", f"sqlite:///{production}/mlflow.db")
    copied = copy_version(CONFIG, staging, None, None)
    assert copied.target.endswith("mlflow.db")
    assert challenger(connect(production, CONFIG)) == "1"
    monkeypatch.setenv("RECSYS_TARGET_TRACKING_URI", f"sqlite:///{staging}/mlflow.db")
    with pytest.raises(ConfigError, match="is both the source and the target"):
        copy_version(CONFIG, staging, None, None)


def test_a_copy_that_was_interrupted_is_made_again(
    staging: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    production = new_home()
    with monkeypatch.context() as patch:
        patch.setattr(
            "recsys.registry.copying.open_bundle", lambda *_: (_ for _ in ()).throw(RegistryError("no answer"))
        )
        with pytest.raises(RegistryError, match="no answer"):
            copy_version(CONFIG, staging, "1", production)
    assert challenger(connect(production, CONFIG)) is None
    copied = copy_version(CONFIG, staging, "1", production)
    assert (copied.copy, copied.existed) == ("2", False)
    assert challenger(connect(production, CONFIG)) == "2"


def test_what_was_tampered_with_is_not_copied(staging: Path, new_home: Callable[[], Path]) -> None:
    production = new_home()
    (trees,) = staging.glob("mlartifacts/**/bundle/trees.txt")
    trees.write_text("another tree")
    with pytest.raises(ArtifactError, match=r"trees\.txt is changed; the version was tampered with and is not copied"):
        copy_version(CONFIG, staging, None, production)
    # With a manifest that fits: the version's tag does not.
    write_folder(trees.parent, lambda path: (path / "trees.txt").write_text("another tree") and None, {})
    with pytest.raises(ArtifactError, match=r"its bundle has hash [0-9a-f]{12}, but [0-9a-f]{12} was registered"):
        copy_version(CONFIG, staging, None, production)
    assert open_log(production).entries == ()


def test_a_bundle_of_another_recsys_says_what_reads_it(
    staging: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise ArtifactError("no plugins.json; another version of recsys wrote it")

    monkeypatch.setattr("recsys.pipelines.copy_version.Bundle.load", fail)
    reader = r"no plugins\.json.*mlflow\.pyfunc\.load_model\('models:/recsys/1'\) reads it, with the code"
    with pytest.raises(ArtifactError, match=reader):
        copy_version(CONFIG, staging, None, new_home())


def test_a_real_bundle(trained: Trained, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    production = new_home()
    copied = copy_version(trained.config, trained.home, None, production)
    assert copied.copy == "1"
    # The run came along: the gate holds the copy against the baselines of its own run.
    promote(trained.config, production)
    version, bundle = load_champion(trained.config, production)
    assert version.tags["bundle"] == copied.bundle[:12]
    assert bundle.items.height == 120
