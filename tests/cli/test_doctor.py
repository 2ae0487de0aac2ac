import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import RUN_DATE, Trained, read_files, settings
from shell import Answer, Call


class TestDoctor:
    def states(self, answer: Answer) -> dict[str, str]:
        return {finding["name"]: finding["state"] for finding in json.loads(answer.out)}

    def test_before_the_first_run(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        answer = call("doctor", "-c", write_config(), "--json")
        states = self.states(answer)
        assert (answer.code, answer.err) == (0, "")
        later = {"access", "snapshot", "registry", "lists"}
        assert {name for name, state in states.items() if state == "note"} == later
        assert {state for name, state in states.items() if name not in later} == {"ok"}
        # Doctor writes nothing.
        assert not (tmp_path / "new home").exists()

    def test_a_store_elsewhere_is_unchanged(
        self,
        call: Call,
        write_config: Callable[..., Path],
        new_home: Callable[[], Path],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        home = new_home()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        before = read_files(home)
        assert self.states(call("doctor", "-c", write_config(), "--json"))["registry"] == "ok"
        assert read_files(home) == before
        assert not (tmp_path / "new home").exists()

    def test_after_everything(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        before = read_files(trained.home)
        answer = call("doctor", "-c", write_config(), home=trained.home)
        assert (answer.code, answer.err) == (0, "")
        for part in (
            "120 items",
            "champion version 1, challenger none",
            "promotion log: 1 entry",
            f"readers see {RUN_DATE}",
        ):
            # Wherever a cell is folded.
            assert part in " ".join(answer.out.split())
        # Its modes are those of the process that made it.
        assert answer.out.count(" note ") == answer.out.count("other accounts can reach")
        assert read_files(trained.home) == before

    def test_damaged_files_are_problems(
        self, call: Call, write_config: Callable[..., Path], trained_copy: Path
    ) -> None:
        next(trained_copy.glob("snapshots/*/items.parquet")).write_bytes(b"PAR1")
        next(trained_copy.glob("recommendations/run_date=*/part-00000.parquet")).unlink()
        (trained_copy / "mlflow.db").write_text("no database " * 100)
        dataset = settings()["dataset"]
        answer = call("doctor", "-c", write_config(), "--json", home=trained_copy)
        assert answer.code == 2
        problems = {
            finding["name"]: finding["found"] for finding in json.loads(answer.out) if finding["state"] == "problem"
        }
        assert set(problems) == {"snapshot", "registry", "lists"}
        assert "items.parquet is changed" in problems["snapshot"]
        assert "part-00000.parquet is missing" in problems["lists"]
        dataset["items"]["path"] = "none.csv"
        config = write_config(dataset=dataset, text={"checkpoint": "no/such-checkpoint"})
        answer = call("doctor", "-c", config, "--json", home=trained_copy.parent / "new")
        assert answer.code == 2
        assert {name for name, state in self.states(answer).items() if state == "problem"} == {
            "raw items",
            "checkpoint",
        }

    def test_a_home_that_is_a_file(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        answer = call("doctor", "-c", write_config(), "--json", home=tmp_path / "file")
        assert answer.code == 2
        (finding,) = (finding for finding in json.loads(answer.out) if finding["name"] == "home")
        assert finding == {
            "name": "home",
            "state": "problem",
            "found": f"{tmp_path}/file is a file; choose another RECSYS_HOME",
        }
