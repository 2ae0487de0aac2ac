"""`recsys runs`: the trainings of a home."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import RUN_DATE, Trained, read_files
from shell import Call


def test_nothing_is_trained_yet(call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = write_config()
    answer = call("runs", "-c", config)
    assert (answer.code, answer.err) == (0, f"next: recsys train --config {config}\n")
    assert "no training of 'mini' in" in answer.out
    assert json.loads(call("runs", "-c", config, "--json").out) == []
    assert not (tmp_path / "new home").exists()


def test_a_training_with_its_verdict_and_version(
    call: Call, write_config: Callable[..., Path], trained: Trained
) -> None:
    before, config = read_files(trained.home), write_config()
    (row,) = json.loads(call("runs", "-c", config, "--json", home=trained.home).out)
    shown = json.loads(call("evaluate", "-c", config, "--json", home=trained.home).out)
    means = {each["model"]: each["mean"] for each in shown["metrics"] if (each["metric"], each["n"]) == ("ndcg", 10)}
    assert row["run"] == shown["run"]
    assert row["ours"] == means.pop("ours")
    assert (row["baseline"], row["best"]) == max(means.items(), key=lambda pair: pair[1])
    assert row["difference"] == pytest.approx(row["ours"] - row["best"], abs=1e-12)
    assert row["answer"] in ("Yes", "No", "Cannot tell")
    assert (row["version"], row["state"], row["run_date"], row["metric"]) == ("1", "champion", RUN_DATE, "ndcg@10")
    assert f"version 1 of {row['run']} serves" in call("runs", "-c", config, home=trained.home).out
    assert read_files(trained.home) == before


def test_a_damaged_and_a_foreign_run(call: Call, write_config: Callable[..., Path], trained_copy: Path) -> None:
    (run,) = (path for path in (trained_copy / "runs").iterdir() if path.is_dir())
    damaged = run.with_name("mini-2025-01-01-00000000")
    damaged.mkdir()
    run.with_name("other-2025-01-01-00000000").mkdir()
    (trained_copy / "runs" / ".mini-2025-01-01-1.tmp").mkdir()
    answer = call("runs", "-c", write_config(), home=trained_copy)
    assert answer.code == 0
    assert "other-" not in answer.out
    assert f"{damaged.name} is damaged: " in answer.out
    rows = json.loads(call("runs", "-c", write_config(), "--json", home=trained_copy).out)
    assert {row["run"]: row["state"] for row in rows} == {run.name: "champion", damaged.name: "not registered"}


def test_a_dead_store(
    call: Call, write_config: Callable[..., Path], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (row,) = json.loads(call("runs", "-c", write_config(), "--json", home=trained.home).out)
    assert (row["version"], row["state"]) == (None, "unknown")
