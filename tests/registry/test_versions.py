import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from miniature import CUTOFF, Trained, read_files
from mlflow_runs import log_run

from recsys.artifacts.runs import open_run
from recsys.errors import RegistryError
from recsys.evaluation.metrics import METRICS
from recsys.pipelines.compare import compare_versions
from recsys.pipelines.judgement import judge_challenger
from recsys.registry.client import StoreClient
from recsys.registry.tracking import Store, connect, open_run_folder
from recsys.registry.versions import (
    BUNDLE,
    CHALLENGER,
    CHAMPION,
    EVALUATION_MODEL,
    find_version,
    need_version,
    open_bundle,
    register,
    set_champion,
)
from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for
from recsys.storage.addresses import Address
from recsys.storage.files import sqlite_url
from recsys.storage.folders import verify_folder, write_folder

NAME = "recsys"


@pytest.fixture
def store(trained: Trained) -> Store:
    return connect(trained.home, trained.config)


@pytest.fixture
def unreachable(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A server that was reachable and is not any more."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    return Store(uri, StoreClient(Address.parse(uri)), "recsys", None)


class TestStore:
    def test_each_home_has_its_own(self, trained: Trained, new_home: Callable[[], Path]) -> None:
        before = dict(os.environ)
        here = connect(trained.home, trained.config)
        other = connect(new_home(), trained.config)
        assert here.uri != other.uri
        assert find_version(here, NAME, CHAMPION) is not None
        assert find_version(other, NAME, CHAMPION) is None
        # mlflow sets its URI there for child processes; the next home would use it as the user's choice.
        assert dict(os.environ) == before

    def test_reading_creates_no_experiment(self, trained: Trained, new_home: Callable[[], Path]) -> None:
        store = connect(new_home(), trained.config)
        assert [one.name for one in store.client.search_experiments()] == ["Default"]

    def test_the_environment_names_the_store(
        self, trained: Trained, new_home: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = sqlite_url(new_home() / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert connect(tmp_path / "home", trained.config).uri == uri
        assert os.environ["MLFLOW_TRACKING_URI"] == uri
        assert not (tmp_path / "home").exists()

    @pytest.mark.parametrize(
        "uri", ["bogus://ana:secret@host/x", "mysql+nodriver://ana:secret@127.0.0.1/x", "http://ana:secret@127.0.0.1:1"]
    )
    def test_no_answer(self, uri: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(RegistryError, match=r"does not answer .*check MLFLOW_TRACKING_URI") as caught:
            connect(tmp_path, trained.config)
        assert "secret" not in str(caught.value)
        assert "ana" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_a_store(self, trained: Trained, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_text("no database " * 100)
        with pytest.raises(RegistryError, match=r"mlflow\.db: does not answer \(.*not a database"):
            connect(tmp_path, trained.config)

    def test_a_home_that_is_a_file(self, trained: Trained, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RegistryError, match="RECSYS_HOME"):
            connect(tmp_path / "file", trained.config)


def read_metrics(store: Store, run_id: str) -> pl.DataFrame:
    with open_run_folder(store, run_id) as folder:
        return open_run(folder).metrics


class TestRun:
    def test_holds_settings_metrics_curves_and_files(self, trained: Trained, store: Store) -> None:
        version = need_version(store, NAME, CHAMPION, "")
        run = store.client.get_run(version.run_id)
        assert run.data.params["dataset.items.columns.item_id"] == "id"
        assert run.data.params["text.fine_tune.max_steps_per_epoch"] == "3"
        assert run.data.tags["snapshot"] == version.tags["snapshot"]
        metrics = read_metrics(store, version.run_id)
        row = metrics.row(by_predicate=(pl.col("model") == "ours") & (pl.col("metric") == "ndcg") & (pl.col("n") == 10))
        assert run.data.metrics["ndcg_at_10"] == row[metrics.columns.index("mean")]
        assert run.data.metrics["ci/ndcg_at_10_low"] == row[metrics.columns.index("low")]
        curve = store.client.get_metric_history(version.run_id, "training/fine_tuning_loss")
        assert [point.step for point in sorted(curve, key=lambda point: point.step)] == [0, 1, 2]
        folder = next(path for path in (trained.home / "runs").iterdir() if path.is_dir())
        assert read_files(trained.home / "mlartifacts" / version.run_id / "artifacts" / "run") == read_files(folder)

    def test_each_baseline_is_a_nested_run(self, store: Store) -> None:
        version = need_version(store, NAME, CHAMPION, "")
        metrics = read_metrics(store, version.run_id)
        parent = store.client.get_run(version.run_id)
        below = store.client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{version.run_id}'", max_results=50
        )
        assert {run.data.params["model"] for run in below} == set(metrics["model"]) - {"ours"}
        popular = next(run for run in below if run.info.run_name == "popular")
        row = metrics.row(
            by_predicate=(pl.col("model") == "popular") & (pl.col("metric") == "recall") & (pl.col("n") == 5),
            named=True,
        )
        assert popular.data.metrics["recall_at_5"] == row["mean"]
        blend = metrics.row(
            by_predicate=(pl.col("model") == "blend") & (pl.col("metric") == "ndcg") & (pl.col("n") == 10), named=True
        )
        assert parent.data.metrics["vs_blend/ndcg_at_10"] == blend["difference"]
        assert parent.data.metrics["vs_blend/ndcg_at_10_low"] == blend["difference_low"]
        of_blend = next(run for run in below if run.info.run_name == "blend").data.metrics
        assert of_blend["ours_minus_this/ndcg_at_10"] == blend["difference"]
        both = [name for name in parent.data.metrics if "/" not in name or name.startswith(("ci/", "cold/"))]
        assert popular.data.metrics.keys() >= set(both)

    def test_metrics_come_in_groups(self, store: Store) -> None:
        names = store.client.get_run(need_version(store, NAME, CHAMPION, "").run_id).data.metrics
        groups = {name.rpartition("/")[0] for name in names}
        shown = {"", "ci", "vs_blend", "lost", "cold", "lists", "candidates", "cost", "ranker", "training", "system"}
        assert groups == shown
        # What a person sees first: the accuracy of the lists, and nothing else.
        assert {name.rpartition("_at_")[0] for name in names if "/" not in name} == {*METRICS, "recall_ips"}
        assert {"lost/by_retrieval_ndcg_at_10", "lost/by_ranking_ndcg_at_10"} <= names.keys()

    def test_every_page_is_described(self, store: Store) -> None:
        version = need_version(store, NAME, CHAMPION, "")
        run = store.client.get_run(version.run_id)
        model = store.client.get_registered_model(NAME).description
        note, of_version = run.data.tags["mlflow.note.content"], store.client.get_model_version(NAME, "1").description
        for text in (note, of_version):
            assert re.match(r"\*\*.+:\*\* .*nDCG@10 0\.\d{3} vs", text), text
            assert 'mlflow.pyfunc.load_model("models:/recsys/1")' in text
            assert f"/runs/{version.run_id}" in text
        assert re.search(r"\n\| \*\*ours\*\* \| 0\.\d{3} \[", note)
        assert "models:/recsys@champion" in model

    def test_metrics_of_older_trainings_are_not_needed(self, trained_copy: Path, trained: Trained) -> None:
        """The gate and every reading command read the files of the run, so former names of metrics do not matter."""
        with sqlite3.connect(trained_copy / "mlflow.db") as database:
            for table in ("metrics", "latest_metrics"):
                database.execute(f"DELETE FROM {table}")
        store = connect(trained_copy, trained.config)
        version = need_version(store, NAME, CHAMPION, "")
        assert store.client.get_run(version.run_id).data.metrics == {}
        decision = judge_challenger(trained.config, trained_copy, store, version, None, None, spent=0, tries=0)
        assert "ndcg@10" in decision.sentence
        assert compare_versions(trained.config, trained_copy).same

    def test_a_run_without_its_folder(self, store: Store) -> None:
        made = store.client.create_run(store.client.get_experiment_by_name(store.experiment).experiment_id)
        with (
            pytest.raises(RegistryError, match=rf"run {made.info.run_id}: no folder 'run'.*train again"),
            open_run_folder(store, made.info.run_id),
        ):
            pass

    def test_a_server_that_stopped(self, unreachable: Store, trained: Trained, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="no answer"):
            log_run(unreachable, trained.config, tmp_path)


class TestVersion:
    def test_the_trained_version_is_complete(self, store: Store) -> None:
        champion = need_version(store, NAME, CHAMPION, "")
        assert find_version(store, NAME, CHALLENGER) is None
        assert champion.number == "1"
        assert champion.tags["complete"] == "true"
        assert champion.tags["end"] == CUTOFF.isoformat()
        assert champion.tags["test_end"] == CUTOFF.isoformat()
        with open_bundle(store, champion, BUNDLE) as folder:
            assert Bundle.load(folder).cutoff == CUTOFF

    def test_the_bundle_holds_no_pickle(self, store: Store) -> None:
        with open_bundle(store, need_version(store, NAME, CHAMPION, ""), BUNDLE) as inner:
            folder = inner.parents[1]
        kinds = {Path(name).suffix for name in read_files(folder) if not name.startswith("code/")}
        assert (folder / "code/recsys/serving/bundle.py").is_file()
        assert kinds == {"", ".json", ".npz", ".parquet", ".py", ".safetensors", ".txt", ".yaml"}
        npz = next(folder.rglob("item_to_item.npz"))
        assert b"pickle" not in npz.read_bytes()

    def test_an_unknown_alias_or_model(self, store: Store) -> None:
        assert find_version(store, NAME, "darling") is None
        assert find_version(store, "films", CHAMPION) is None
        with pytest.raises(RegistryError, match=r"model 'films' in sqlite.*no version has the alias 'champion'; train"):
            need_version(store, "films", CHAMPION, "train first")

    def test_no_answer_is_not_the_same_as_no_version(self, unreachable: Store) -> None:
        # Without a champion the challenger would only be compared with the popularity baseline.
        with pytest.raises(RegistryError, match="no answer"):
            find_version(unreachable, NAME, CHAMPION)

    def test_registered_versions_can_be_read_back(
        self, trained: Trained, new_home: Callable[[], Path], tmp_path: Path
    ) -> None:
        home = new_home()
        store = connect(home, trained.config)
        (tmp_path / "logged").mkdir()
        runs = [log_run(store, trained.config, tmp_path / "logged") for _ in range(2)]
        for part in (BUNDLE, EVALUATION_MODEL):
            write_folder(tmp_path / part, lambda folder: (folder / "家.txt").touch(), {"kind": "bundle"})
        first = register(
            store, "books", runs[0], tmp_path / BUNDLE, tmp_path / EVALUATION_MODEL, {"end": "", "snapshot": "abc"}
        )
        second = register(store, "books", runs[1], tmp_path / BUNDLE, tmp_path / EVALUATION_MODEL, {"end": ""})
        assert (first.number, second.number) == ("1", "2")
        assert find_version(store, "books", CHALLENGER) == second
        assert find_version(store, "books", CHAMPION) is None
        with open_bundle(store, first, BUNDLE) as folder:
            assert folder.is_relative_to(home / "mlartifacts")
        assert set(verify_folder(folder, "")["files"]) == {"家.txt"}

        set_champion(store, "books", "1")
        assert find_version(store, "books", CHAMPION) == first
        with pytest.raises(RegistryError, match="version 9 no longer exists"):
            set_champion(store, "books", "9")
        assert find_version(store, "books", CHAMPION) == first

        # An older recsys registered no folder of this name.
        with open_bundle(store, second, EVALUATION_MODEL) as folder:
            rmtree(folder)
        with (
            pytest.raises(
                RegistryError, match="version 2 was registered by an older version of recsys and has no evaluation_mod"
            ),
            open_bundle(store, second, EVALUATION_MODEL),
        ):
            pass

        # A training that died before it set the last tag.
        store.client.delete_model_version_tag("books", "1", "complete")
        with pytest.raises(RegistryError, match=r"version 1 \(champion\) is not complete; train again"):
            need_version(store, "books", CHAMPION, "train again")


PREDICT = """
import json, sys, tempfile
import mlflow, pandas as pd
# MLflow takes the path of a file for an address, so what the home's path contains would end it.
with tempfile.TemporaryDirectory() as folder:
    model = mlflow.pyfunc.load_model("models:/recsys@champion", dst_path=folder)
rows = json.load(sys.stdin)
found = model.predict(pd.DataFrame(rows, columns=["user_id", "item_id"]))
json.dump({"columns": list(found.columns), "rows": found.values.tolist()}, sys.stdout)
"""


def test_mlflow_alone_serves_the_champion(trained: Trained, store: Store, tmp_path: Path) -> None:
    with open_bundle(store, need_version(store, NAME, CHAMPION, ""), BUNDLE) as folder:
        bundle = Bundle.load(folder)
    known = bundle.items["item_id"].to_list()
    taken = {"new user": known[:3], "用户": known[-2:], "stranger": ["no such item"]}
    rows = [(user, item) for user, items in taken.items() for item in items]
    expected = recommend_for(bundle, pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"))
    assert expected.group_by("user_id").len().sort("user_id").rows() == [
        ("new user", 10),
        ("stranger", 10),
        ("用户", 10),
    ]

    # The model comes with a copy of the code. Compiling it again takes half a minute, so this process interprets it.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PREDICT]
    answer = subprocess.run(
        command, input=json.dumps(rows), capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["columns"] == ["user_id", "rank", "item_id", "score"] == expected.columns
    assert [row[:3] for row in found["rows"]] == [list(row[:3]) for row in expected.rows()]
    assert [row[3] for row in found["rows"]] == pytest.approx(expected["score"].to_list(), abs=1e-6)
    for user, rank, item, _ in found["rows"]:
        assert item not in taken[user]
        assert 1 <= rank <= 10
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def server(new_home: Callable[[], Path], tmp_path: Path) -> Iterator[str]:
    """A real MLflow server that stores the artifacts itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--port", port, "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    # Its queue of jobs is two more processes that import everything.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=environment, start_new_session=True
        )
    try:
        for _ in range(600):
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", int(port))) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_a_real_server(
    trained: Trained,
    store: Store,
    server: str,
    new_home: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    home = new_home()
    with open_bundle(store, need_version(store, NAME, CHAMPION, ""), BUNDLE) as local:
        remote = connect(home, trained.config)
        assert find_version(remote, NAME, CHAMPION) is None
        run_id = log_run(remote, trained.config, local / "encoder" / "1_Pooling")
        # Only the bundle is fetched again below.
        write_folder(tmp_path / "small", lambda folder: (folder / "家.txt").touch(), {"kind": "bundle"})
        version = register(remote, NAME, run_id, local, tmp_path / "small", {})
    assert find_version(remote, NAME, CHALLENGER) == version
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with open_bundle(remote, version, BUNDLE) as folder:
        assert folder.is_relative_to(scratch)
        assert verify_folder(folder, "") == verify_folder(local, "")
        bundle = Bundle.load(folder)
    # The download is deleted, and the bundle still works.
    assert list(scratch.iterdir()) == []
    history = pl.DataFrame({"user_id": ["u"], "item_id": [bundle.items["item_id"][0]]})
    assert recommend_for(bundle, history).height == 10
    assert bundle.encoder.encode(["a text"]).shape == (1, bundle.embeddings.shape[1])
    assert not (home / "mlartifacts").exists()
