import gzip
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from miniature import LAST_DAY, RUN_DATE, Trained, change, read_files, read_lists, settings
from rich.console import Console
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.snapshots import write_snapshot
from recsys.cli import app as cli
from recsys.config import Config
from recsys.storage.files import write_table
from recsys.tables import Recommendations, Rejected, empty

COMMANDS = [
    "demo-data",
    "ingest",
    "train",
    "evaluate",
    "report",
    "promote",
    "rollback",
    "generate",
    "tune",
    "run",
    "doctor",
    "embed",
    "search",
]
# What a command needs beside its config.
REQUIRED = {
    "tune": ("--space", Path(__file__).parents[1] / "configs" / "spaces" / "demo.yaml"),
    "search": ("a crew lost in space",),
}
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raw_in_place: Path, tmp_path: Path
) -> Call:
    """Run a command as the shell would; the home is an empty one unless given."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in THREADS:
        # The command line sets them; what they were comes back after the test.
        monkeypatch.setenv(name, os.environ.get(name, "1"))

    def run(*arguments: object, home: Path = tmp_path / "new home") -> Answer:
        monkeypatch.setenv("RECSYS_HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["recsys", *map(str, arguments)])
        level = logging.getLogger("recsys").level
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            logging.getLogger("recsys").setLevel(level)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Write a miniature's settings with some of them replaced, and return the file."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "mini.yaml"
        path.write_text(yaml.safe_dump({**settings(), **sections}, allow_unicode=True), encoding="utf-8")
        return path

    return write


def expect(answer: Answer, *parts: str, code: int = 2) -> None:
    """An error is one message on stderr that says all parts, without a traceback, and nothing on stdout."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.count("error: " if code == 2 else "refused: ") == 1
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err, answer.err


class TestBadConfig:
    def test_no_file(self, call: Call, tmp_path: Path) -> None:
        for command in COMMANDS[1:]:
            answer = call(command, "--config", tmp_path / "none.yaml", *REQUIRED.get(command, ()))
            expect(answer, "none.yaml: cannot be read (No such file")

    def test_a_key_too_many(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config(generation={"lenght": 10})
        expect(call("ingest", "-c", config), "1 setting not as expected", "generation.lenght: ")

    def test_yaml_that_is_none(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config()
        config.write_text("name: [x\n", encoding="utf-8")
        expect(call("ingest", "-c", config), "is not valid YAML", "line 2")

    def test_an_option_that_is_missing_or_unknown(self, call: Call) -> None:
        for arguments in (["ingest"], ["ingest", "--cnofig", "x"], ["ingset"]):
            answer = call(*arguments)
            assert (answer.code, answer.out) == (2, "")
            assert "Usage: " in answer.err


class TestBadData:
    def test_no_file(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        dataset = settings()["dataset"]
        dataset["items"]["path"] = "none/*.csv"
        answer = call("ingest", "-c", write_config(dataset=dataset))
        expect(answer, "none/*.csv: no such file", "mend dataset.items.path, or set RECSYS_DATA")

    def test_no_column(self, call: Call, write_config: Callable[..., Path]) -> None:
        dataset = settings()["dataset"]
        dataset["items"]["columns"]["title"] = "titel"
        expect(call("ingest", "-c", write_config(dataset=dataset)), "no column 'titel'; found 'id', 'title'")

    def test_a_truncated_file(self, call: Call, write_config: Callable[..., Path], raw: Path, tmp_path: Path) -> None:
        whole = (raw / "interactions.csv.gz").read_bytes()
        (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
        dataset = settings()["dataset"]
        dataset["interactions"]["path"] = str(tmp_path / "cut.csv.gz")
        expect(call("ingest", "-c", write_config(dataset=dataset)), "cut.csv.gz: the compressed data is cut short")

    def test_too_many_bad_rows(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        with gzip.open(tmp_path / "bad.csv.gz", "wt", encoding="utf-8") as file:
            file.write("user_id,item_id,event,timestamp\nu,nothing,view,2025-01-01\n")
        dataset = settings()["dataset"]
        dataset["interactions"]["path"] = str(tmp_path / "bad.csv.gz")
        expect(call("ingest", "-c", write_config(dataset=dataset)), "1 of 1 rows rejected", "unknown_item 1 (as in")


class TestWrongOrder:
    def test_before_the_first_step(
        self, call: Call, write_config: Callable[..., Path], new_home: Callable[[], Path]
    ) -> None:
        config, home = write_config(), new_home()
        before = {command: call(command, "-c", config, home=home) for command in COMMANDS[2:8]}
        expect(before["train"], "snapshot of 'mini': none in", "run 'recsys ingest' with this config first")
        expect(before["evaluate"], "run of 'mini': none in", "run 'recsys train' with this config first")
        expect(before["report"], "run of 'mini': none in", "run 'recsys train' with this config first")
        expect(before["promote"], "no version has the alias 'challenger'; run 'recsys train' first")
        expect(before["rollback"], "no version has the alias 'champion'; nothing was ever promoted")
        expect(before["generate"], "run 'recsys ingest' with this config first")
        locks = {".generation.lock", ".promotion.lock", ".training.lock"}
        assert set(read_files(home)) <= {"mlflow.db", *locks}

        assert call("ingest", "-c", config, home=home).code == 0
        expect(call("generate", "-c", config, home=home), "run 'recsys train' and 'recsys promote' first")
        other = write_config(dataset={**settings()["dataset"], "repeats": True})
        expect(call("train", "-c", other, home=home), "that differ from this config's; run 'recsys ingest'")

    def test_what_is_not_there(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        config = write_config()
        expect(
            call("evaluate", "-c", config, "--run", "none", home=trained.home), "run 'none': not in", "found mini-2025"
        )
        expect(call("evaluate", "-c", config, "--run", "", home=trained.home), "no manifest.json")
        for command in ("train", "generate"):
            answer = call(command, "-c", config, "--run-date", "2025-13-01", home=trained.home)
            expect(answer, "run date '2025-13-01': expected YYYY-MM-DD, such as 2025-01-31")

    def test_a_refusal_has_a_code_of_its_own(
        self, call: Call, write_config: Callable[..., Path], trained: Trained
    ) -> None:
        config = write_config()
        answer = call("generate", "-c", config, "--run-date", "2025-02-01", home=trained.home)
        expect(answer, "learned from events until 2025-02-03", code=3)
        again = call("promote", "-c", config, home=trained.home)
        assert (again.code, again.out) == (0, "recsys version 1 is champion: version 1 is champion already\n")
        expect(call("rollback", "-c", config, home=trained.home), "knows no champion of 'recsys' before version 1")


class TestBadHome:
    @pytest.mark.parametrize("command", ["ingest", "train", "evaluate", "promote", "rollback", "generate", "run"])
    def test_a_file(self, command: str, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        # Root may write anywhere, so no folder can be made unwritable for every tester.
        (tmp_path / "file").touch()
        expect(call(command, "-c", write_config(), home=tmp_path / "file"), str(tmp_path / "file"))

    def test_doctor_sees_it(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        answer = call("doctor", "-c", write_config(), "--json", home=tmp_path / "file")
        assert answer.code == 2
        (found,) = (one for one in json.loads(answer.out) if one["name"] == "home")
        assert found == {
            "name": "home",
            "state": "problem",
            "found": f"{tmp_path}/file is a file; choose another RECSYS_HOME",
        }


class TestDoctor:
    def states(self, answer: Answer) -> dict[str, str]:
        return {one["name"]: one["state"] for one in json.loads(answer.out)}

    def test_before_the_first_run(self, call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
        answer = call("doctor", "-c", write_config(), "--json")
        states = self.states(answer)
        assert (answer.code, answer.err) == (0, "")
        later = {"snapshot", "registry", "lists"}
        assert {name for name, state in states.items() if state == "note"} == later
        assert {state for name, state in states.items() if name not in later} == {"ok"}
        # It looks, and leaves no trace.
        assert not (tmp_path / "new home").exists()

    def test_a_store_elsewhere_is_left_as_it_is(
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
        for part in ("120 items", "champion version 1, challenger version 1", f"readers see {RUN_DATE}"):
            assert part in answer.out
        assert "note" not in answer.out
        assert read_files(trained.home) == before

    def test_what_is_broken_is_a_problem(
        self, call: Call, write_config: Callable[..., Path], trained_copy: Path
    ) -> None:
        next(trained_copy.glob("snapshots/*/items.parquet")).write_bytes(b"PAR1")
        next(trained_copy.glob("recommendations/run_date=*/part-00000.parquet")).unlink()
        (trained_copy / "mlflow.db").write_text("no database " * 100)
        dataset = settings()["dataset"]
        answer = call("doctor", "-c", write_config(), "--json", home=trained_copy)
        assert answer.code == 2
        problems = {one["name"]: one["found"] for one in json.loads(answer.out) if one["state"] == "problem"}
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


class TestResults:
    def test_ingest(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config()
        answer = call("ingest", "-c", config, "--json")
        found = json.loads(answer.out)
        assert found["counts"]["items"] == {"read": 120, "kept": 120, "rejected": {}}
        again = call("ingest", "-c", config)
        assert again.out.splitlines()[:2] == [
            f"snapshot {found['snapshot']}",
            "items: 120 of 120 rows kept; rejected: none",
        ]

    def test_evaluate(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        before = read_files(trained.home)
        found = json.loads(call("evaluate", "-c", write_config(), "--json", home=trained.home).out)
        rows = pl.DataFrame(found["metrics"], infer_schema_length=None)
        (run,) = (path for path in (trained.home / "runs").iterdir() if path.is_dir())
        assert found["run"] == run.name
        metrics = pl.read_parquet(run / "metrics.parquet")
        assert rows.cast(dict(metrics.schema)).equals(metrics)
        assert 0 < found["measured"]["union_recall"] <= 1
        assert {row["source"] for row in found["ledger"]} >= {"als", "text", "popular"}
        table = call("evaluate", "-c", write_config(), "--run", run.name, home=trained.home).out
        for part in (
            "ours",
            "popular",
            "item_to_item",
            "95% intervals",
            "candidate ledger",
            "ndcg@10 by segment",
            "what the lists of 10 show",
            f"run {run.name}\nof ",
            "ndcg@10 lost by retrieval",
        ):
            assert part in table
        assert read_files(trained.home) == before

    def test_evaluate_a_length_that_was_not_measured(
        self, call: Call, write_config: Callable[..., Path], trained: Trained
    ) -> None:
        config = write_config(evaluation={"n": 3, "n_values": [3]})
        expect(call("evaluate", "-c", config, home=trained.home), "n = 3", "[5, 10, 20]")

    def test_generate(self, call: Call, write_config: Callable[..., Path], trained_copy: Path) -> None:
        config = write_config()
        found = json.loads(call("generate", "-c", config, "--json", home=trained_copy).out)
        lists = read_lists(trained_copy, LAST_DAY)
        assert found == {
            "folder": f"{trained_copy}/recommendations/run_date={LAST_DAY}",
            "run_date": LAST_DAY,
            "counts": {"users": 150, "rows": lists.height, "fallback_rows": 0, "short_lists": 0, "empty_lists": 0},
        }
        answer = call("generate", "-c", config, "--run-date", RUN_DATE, home=trained_copy)
        assert re.fullmatch(r".*run_date=2025-02-03: 1,320 recommendations for 132 users\n", answer.out)

    def test_demo_data(self, call: Call, tmp_path: Path, raw: Path) -> None:
        arguments = ["--users", 150, "--items", 120, "--days", 40]
        answer = call("demo-data", "--out", tmp_path / "演示", *arguments)
        assert (answer.code, answer.out) == (0, f"{tmp_path}/演示\n")
        assert read_files(tmp_path / "演示") == read_files(raw)
        (tmp_path / "file").touch()
        expect(call("demo-data", "--out", tmp_path / "file"), "cannot be written")
        expect(call("demo-data", "--out", tmp_path / "x", "--users", 0), "users is 0, expected 1 or more")


class TestTexts:
    """`embed` and `search` as the shell sees them; what they find is tested with their pipeline."""

    @pytest.fixture
    def pipe(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
        """Put bytes on stdin."""
        return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    def test_embed(
        self, call: Call, write_config: Callable[..., Path], trained: Trained, pipe: Callable[[bytes], None]
    ) -> None:
        before = read_files(trained.home)
        config = write_config()
        texts = ["bread & butter", "", "שלום [b] 🎬\u2028\x0c\0", " two  spaces "]
        pipe("\n".join(texts).encode())
        plain = call("embed", "-c", config, home=trained.home)
        rows = [[np.float32(number) for number in line.split("\t")] for line in plain.out.splitlines()]
        assert (len(rows), {len(row) for row in rows}) == (4, {384})
        # Windows' line ends and its mark at the start, and a last line that is ended, are the same texts.
        pipe(b"\xef\xbb\xbf" + "".join(text + "\r\n" for text in texts).encode())
        found = json.loads(call("embed", "-c", config, "--json", home=trained.home).out)
        assert [one["text"] for one in found] == texts
        # Digits enough to read back the same float32, in either shape.
        assert [np.float32(one["vector"]).tobytes() for one in found] == [np.array(row).tobytes() for row in rows]
        given = call(
            "embed", "-c", config, "--text", texts[0], "-t", texts[0], "--alias", "challenger", home=trained.home
        )
        assert len(set(given.out.splitlines())) == 1
        np.testing.assert_allclose(np.float32(given.out.splitlines()[0].split("\t")), rows[0], atol=1e-3)
        assert read_files(trained.home) == before

    def test_search(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        before = read_files(trained.home)
        config = write_config()
        answer = call("search", "-c", config, "a crew lost in space", "--n", 500, "--all", "--json", home=trained.home)
        found = json.loads(answer.out)
        assert [set(row) for row in found] == [{"rank", "item_id", "title", "cosine"}] * 120
        table = call("search", "-c", config, "a crew lost in space", "-n", 500, home=trained.home).out
        shown = [row for row in found if re.search(rf" {row['item_id']} .* {row['cosine']:.4f} ", table)]
        assert 60 < len(shown) < 120
        assert shown[0]["title"] in table
        assert read_files(trained.home) == before

    def test_nothing_to_encode(
        self, call: Call, write_config: Callable[..., Path], trained: Trained, pipe: Callable[[bytes], None]
    ) -> None:
        config = write_config()
        pipe(b"")
        expect(call("embed", "-c", config, home=trained.home), "embed: no text; give one or more with --text")
        pipe("fine\ncafé".encode("latin-1"))
        expect(call("embed", "-c", config, home=trained.home), "text 2 of 2: letter 4 is not valid Unicode")
        expect(call("embed", "-c", config, "-t", "\udcff", home=trained.home), "text 1 of 1: letter 1 is not valid")
        expect(call("search", "-c", config, " ", home=trained.home), "search: the text is empty")
        expect(
            call("search", "-c", config, "x", "--alias", "nobody", home=trained.home), "no version has the alias 'no"
        )
        for n in ("0", "-1", "x"):
            answer = call("search", "-c", config, "x", "--n", n, home=trained.home)
            assert (answer.code, answer.out) == (2, "")
            assert "--n" in answer.err

    def test_before_the_first_step(
        self, call: Call, write_config: Callable[..., Path], tmp_path: Path, pipe: Callable[[bytes], None]
    ) -> None:
        config = write_config()
        pipe(b"x")
        expect(call("embed", "-c", config), "model 'recsys': no MLflow store in", "run 'recsys train' first")
        expect(call("search", "-c", config, "x"), "snapshot of 'mini': none in", "run 'recsys ingest'")
        assert not (tmp_path / "new home").exists()


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_says_what_a_command_does(self, command: str, call: Call) -> None:
        answer = call(command, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert f"recsys {command} [OPTIONS]" in answer.out
        assert ("--config" in answer.out) == (command != "demo-data")
        assert ("--run-date" in answer.out) == (command in ("train", "report", "generate", "tune", "run"))
        assert ("--json" in answer.out) == (
            command in ("ingest", "evaluate", "generate", "tune", "doctor", "embed", "search")
        )

    def test_lists_the_commands(self, call: Call) -> None:
        answer = call("--help")
        assert answer.code == 0
        for command in COMMANDS:
            assert f" {command} " in answer.out
        assert all(code in answer.out for code in ("0 done", "2 error", "3 refused"))


class TestUntrustedText:
    TITLES = ("[bold]x[/bold]", "[/no such tag]", "书 😀 [link=https://evil]y[/link]")

    @pytest.fixture
    def shown(self, trained: Trained, tmp_path: Path) -> str:
        from recsys.pipelines.show import show_users

        config: Config = change(trained.config, name="texts")
        items = make_items(*({"item_id": f"i{n}", "title": title} for n, title in enumerate((*self.TITLES, "z" * 90))))
        interactions = make_interactions(("[red]u", "i0", 1), ("\x1b[31mu\x07\u202e", "i2", 1))
        tables = {"items": items, "interactions": interactions, "rejected": empty(Rejected)}
        write_snapshot(tmp_path, "texts", tables, config.dataset.model_dump(mode="json"), {})
        row = {"score": 1.0, "sources": ["als"], "reason": "[i]because[/i]", "variant": "v", "model_version": "1"}
        users = interactions["user_id"].to_list()
        lists = pl.DataFrame(
            [
                {"user_id": user, "rank": rank, "item_id": item, **row}
                for user in users
                for rank, item in ((1, "i1"), (2, "i3"))
            ]
        ).cast({"rank": pl.UInt16, "score": pl.Float32})
        publish(
            tmp_path,
            config.name,
            RUN_DATE,
            lambda folder: write_table(lists, Recommendations, folder / "part-00000.parquet", "lists"),
            {},
        )
        console = Console(width=160, force_terminal=True, record=True, file=StringIO())
        for table in show_users(config, tmp_path, RUN_DATE):
            console.print(table)
        return console.export_text()

    def test_is_shown_as_it_is(self, shown: str) -> None:
        for text in (*self.TITLES, "user [red]u: 1 items", "[i]because[/i]", "z" * 47 + "…"):
            assert text in shown

    def test_commands_nothing(self, shown: str) -> None:
        assert "user \N{REPLACEMENT CHARACTER}[31mu" in shown
        for command in ("\x1b", "\x07", "\u202e"):
            assert command not in shown


def test_a_process_of_its_own(
    trained: Trained, trained_copy: Path, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """Results on stdout, the rest on stderr, and not a file outside the home."""
    places = {name: tmp_path / name for name in ("cwd", "HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    environment = {
        **os.environ,
        **{name: str(place) for name, place in places.items() if name != "cwd"},
        "RECSYS_HOME": str(trained_copy),
    }
    command = [sys.executable, "-m", "recsys.cli", "generate", "--config", str(write_config()), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=places["cwd"], check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_date"] == LAST_DAY
    lines = done.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d INFO ", line)] == []
    assert any("lists: 150 users, 1,500 rows" in line for line in lines)
    assert {name: read_files(place) for name, place in places.items()} == {"cwd": {}, "HOME": {}, "TMPDIR": {}}


def test_a_whole_run_writes_nothing_where_it_stands(trained: Trained) -> None:
    assert read_files(trained.bystander) == {}
