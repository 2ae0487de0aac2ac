"""Bad input: one message that names the next step, and the exit code."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import Trained, read_files, settings
from shell import COMMANDS, REQUIRED, WITHOUT_CONFIG, Call, expect


class TestBadConfig:
    def test_no_file(self, call: Call, tmp_path: Path) -> None:
        for command in sorted({*COMMANDS} - {*WITHOUT_CONFIG}):
            answer = call(command, "--config", tmp_path / "none.yaml", *REQUIRED.get(command, ()))
            expect(answer, "none.yaml: cannot be read (No such file")

    def test_an_unknown_key(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config(generation={"lenght": 10})
        expect(call("ingest", "-c", config), "1 invalid setting", "generation.lenght: ")

    def test_invalid_yaml(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config()
        config.write_text("name: [x\n", encoding="utf-8")
        expect(call("ingest", "-c", config), "is not valid YAML", "line 2")

    def test_a_missing_or_unknown_option_or_command(self, call: Call) -> None:
        for arguments in (["ingest"], ["ingest", "--cnofig", "x"], ["ingset"]):
            answer = call(*arguments)
            assert (answer.code, answer.out) == (2, "")
            assert "Usage: " in answer.err


class TestBadData:
    def test_no_file(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        dataset = settings()["dataset"]
        dataset["items"]["path"] = "none/*.csv"
        answer = call("ingest", "-c", write_config(dataset=dataset))
        expect(answer, "none/*.csv: no such file", "fix dataset.items.path, or set RECSYS_DATA")

    def test_no_column(self, call: Call, write_config: Callable[..., Path]) -> None:
        dataset = settings()["dataset"]
        dataset["items"]["columns"]["title"] = "titel"
        expect(call("ingest", "-c", write_config(dataset=dataset)), "no column 'titel'; found 'id', 'title'")

    def test_a_truncated_file(self, call: Call, write_config: Callable[..., Path], raw: Path, tmp_path: Path) -> None:
        whole = (raw / "interactions.csv.gz").read_bytes()
        (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
        dataset = settings()["dataset"]
        dataset["interactions"]["path"] = str(tmp_path / "cut.csv.gz")
        expect(call("ingest", "-c", write_config(dataset=dataset)), "cut.csv.gz: the compressed data is truncated")

    def test_too_many_bad_rows(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        with gzip.open(tmp_path / "bad.csv.gz", "wt", encoding="utf-8") as file:
            file.write("user_id,item_id,event,timestamp\nu,nothing,view,2025-01-01\n")
        dataset = settings()["dataset"]
        dataset["interactions"]["path"] = str(tmp_path / "bad.csv.gz")
        expect(
            call("ingest", "-c", write_config(dataset=dataset)),
            "no rows of interactions are left",
            "unknown_item 1, such as",
        )


class TestWrongOrder:
    def test_before_the_first_step(
        self, call: Call, write_config: Callable[..., Path], new_home: Callable[[], Path]
    ) -> None:
        config, home = write_config(), new_home()
        commands = ("train", "evaluate", "report", "promote", "rollback", "generate")
        before = {command: call(command, "-c", config, home=home) for command in commands}
        expect(before["train"], "snapshot of 'mini': none in", "run 'recsys ingest' with this config first")
        expect(before["evaluate"], "run of 'mini': none in", "run 'recsys train' with this config first")
        expect(before["report"], "run of 'mini': none in", "run 'recsys train' with this config first")
        expect(before["promote"], "no version has the alias 'challenger'; run 'recsys train' first")
        expect(before["rollback"], "no version has the alias 'champion', because no version was ever promoted")
        expect(before["generate"], "run 'recsys ingest' with this config first")
        locks = {".generation.lock", ".promotion.lock", ".training.lock"}
        assert set(read_files(home)) <= {"mlflow.db", *locks}

        assert call("ingest", "-c", config, home=home).code == 0
        expect(call("generate", "-c", config, home=home), "run 'recsys train' and 'recsys promote' first")
        other = write_config(dataset={**settings()["dataset"], "repeats": True})
        expect(call("train", "-c", other, home=home), "than those of this config; run 'recsys ingest'")

    def test_an_unknown_run_or_an_invalid_run_date(
        self, call: Call, write_config: Callable[..., Path], trained: Trained
    ) -> None:
        config = write_config()
        expect(
            call("evaluate", "-c", config, "--run", "none", home=trained.home), "run 'none': not in", "found mini-2025"
        )
        expect(call("evaluate", "-c", config, "--run", "", home=trained.home), "no manifest.json")
        for command in ("train", "generate"):
            answer = call(command, "-c", config, "--run-date", "2025-13-01", home=trained.home)
            expect(answer, "run date '2025-13-01': expected YYYY-MM-DD, such as 2025-01-31")

    def test_a_refusal_has_its_own_exit_code(
        self, call: Call, write_config: Callable[..., Path], trained: Trained
    ) -> None:
        config = write_config()
        answer = call("generate", "-c", config, "--run-date", "2025-02-01", home=trained.home)
        expect(answer, "was trained on events until 2025-02-03", code=3)
        again = call("promote", "-c", config, home=trained.home)
        assert (again.code, again.out) == (0, "recsys version 1 is the champion: version 1 is already the champion\n")
        expect(call("rollback", "-c", config, home=trained.home), "no champion before version 1")


class TestBadHome:
    @pytest.mark.parametrize("command", ["ingest", "train", "evaluate", "promote", "rollback", "generate", "run"])
    def test_a_file(self, command: str, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        # A file in place of the folder: root may write to a read-only folder.
        (tmp_path / "file").touch()
        expect(call(command, "-c", write_config(), home=tmp_path / "file"), str(tmp_path / "file"))
