import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, change, read_files, read_lists
from rich.console import Console
from shell import Call, expect
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import publish
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.storage.files import write_table
from recsys.tables import Recommendations, Rejected, empty


class TestResults:
    def test_ingest(self, call: Call, write_config: Callable[..., Path]) -> None:
        config = write_config()
        answer = call("ingest", "-c", config, "--json")
        facts = json.loads(answer.out)
        assert facts["counts"]["items"] == {"read": 120, "kept": 120, "rejected": {}}
        again = call("ingest", "-c", config)
        lines = again.out.splitlines()
        assert lines[0] == f"snapshot {facts['snapshot']}"
        assert "items: 120 of 120 rows kept; rejected: none" in lines

    def test_evaluate(self, call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
        before = read_files(trained.home)
        facts = json.loads(call("evaluate", "-c", write_config(), "--json", home=trained.home).out)
        rows = pl.DataFrame(facts["metrics"], infer_schema_length=None)
        (run,) = (path for path in (trained.home / "runs").iterdir() if path.is_dir())
        assert facts["run"] == run.name
        metrics = pl.read_parquet(run / "metrics.parquet", glob=False)
        assert rows.cast(dict(metrics.schema)).equals(metrics)
        assert 0 < facts["measured"]["union_recall"] <= 1
        assert {row["source"] for row in facts["ledger"]} >= {"als", "text", "popular"}
        short = call("evaluate", "-c", write_config(), home=trained.home)
        assert short.out.startswith("Better than the best baseline (")
        assert "segment" not in short.out
        assert "next: recsys evaluate --config " in short.err
        table = call("evaluate", "-c", write_config(), "--run", run.name, "--full", home=trained.home).out
        for part in (
            "ours",
            "popular",
            "item_to_item",
            "95% intervals",
            f"run {run.name}\n",
            "nDCG@10 by segment",
            "Other metrics at 10",
            "Lists of 10 beyond accuracy",
            "Candidate sources",
            "because no source proposed the item",
        ):
            assert part in table or part in " ".join(table.split())
        assert read_files(trained.home) == before

    def test_evaluate_a_length_that_was_not_measured(
        self, call: Call, write_config: Callable[..., Path], trained: Trained
    ) -> None:
        config = write_config(evaluation={"n": 3, "n_values": [3]})
        expect(call("evaluate", "-c", config, home=trained.home), "n = 3", "[5, 10, 20]")

    def test_generate(self, call: Call, write_config: Callable[..., Path], trained_copy: Path) -> None:
        config = write_config()
        facts = json.loads(call("generate", "-c", config, "--json", home=trained_copy).out)
        lists = read_lists(trained_copy, LAST_DAY)
        assert facts == {
            "folder": f"{trained_copy}/recommendations/run_date={LAST_DAY}",
            "run_date": LAST_DAY,
            "counts": {"users": 150, "rows": lists.height, "fallback_rows": 0, "short_lists": 0, "empty_lists": 0},
            "readers": LAST_DAY,
        }
        answer = call("generate", "-c", config, "--run-date", RUN_DATE, home=trained_copy)
        assert re.search(r"run_date=2025-02-03: 1,320 recommendations for 132 users$", " ".join(answer.out.split()))
        assert (answer.code, f"'recsys lists --point {RUN_DATE}'" in answer.err) == (3, True)

    def test_demo_data(self, call: Call, tmp_path: Path, raw: Path) -> None:
        arguments = ["--users", 150, "--items", 120, "--days", 40]
        answer = call("demo-data", "--out", tmp_path / "演示", *arguments)
        assert (answer.code, answer.out) == (0, f"{tmp_path}/演示\n")
        assert read_files(tmp_path / "演示") == read_files(raw)
        again = call("demo-data", "--out", tmp_path / "演示", *arguments, "--json")
        assert json.loads(again.out)["folder"] == f"{tmp_path}/演示"
        (tmp_path / "file").touch()
        expect(call("demo-data", "--out", tmp_path / "file"), "cannot be written")
        expect(call("demo-data", "--out", tmp_path / "x", "--users", 0), "users is 0, expected 1 or more")

    def test_promote_and_report_as_json(
        self, call: Call, write_config: Callable[..., Path], trained_copy: Path, tmp_path: Path
    ) -> None:
        facts = json.loads(call("promote", "-c", write_config(), "--json", home=trained_copy).out)
        assert (facts["model"], facts["champion"]) == ("recsys", "1")
        page = tmp_path / "page.html"
        answer = call("report", "-c", write_config(), "--out", page, "--json", home=trained_copy)
        assert json.loads(answer.out) == {"file": str(page)}
        assert page.is_file()


class TestUntrustedText:
    TITLES = ("[bold]x[/bold]", "[/no such tag]", "书 😀 [link=https://evil]y[/link]")

    @pytest.fixture
    def shown(self, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
        from recsys.cli.output import print_text
        from recsys.cli.user_lists import history_table, list_table, name_user
        from recsys.pipelines.show import show_users

        config: Config = change(trained.config, name="texts")
        items = make_items(*({"item_id": f"i{n}", "title": title} for n, title in enumerate((*self.TITLES, "z" * 90))))
        interactions = make_interactions(("[red]u", "i0", 1), ("\x1b[31mu\x07\u202e", "i2", 1))
        tables = {"items": items, "interactions": interactions, "rejected": empty(Rejected)}
        write_snapshot(tmp_path, "texts", tables, config.dataset.model_dump(mode="json"))
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
        for user in show_users(config, tmp_path, RUN_DATE):
            print_text(name_user(user))
            console.print(history_table(user, None), list_table(user.rows))
        return capsys.readouterr().out + console.export_text()

    def test_is_shown_unchanged(self, shown: str) -> None:
        for text in (*self.TITLES, "user [red]u: 1 item", "[i]because[/i]", "z" * 90):
            assert text in shown

    def test_control_characters_are_replaced(self, shown: str) -> None:
        assert "user \N{REPLACEMENT CHARACTER}[31mu" in shown
        for command in ("\x1b", "\x07", "\u202e"):
            assert command not in shown


def test_a_separate_process(
    trained: Trained, trained_copy: Path, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    """Results go to stdout, the rest to stderr, and no file is written outside the home."""
    folders = {name: tmp_path / name for name in ("cwd", "HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    environment = {
        **os.environ,
        **{name: str(folder) for name, folder in folders.items() if name != "cwd"},
        "RECSYS_HOME": str(trained_copy),
    }
    command = [sys.executable, "-m", "recsys.cli", "generate", "--config", str(write_config()), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folders["cwd"], check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_date"] == LAST_DAY
    lines = done.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d INFO ", line)] == []
    assert any("lists: 150 users, 1,500 rows" in line for line in lines)
    assert {name: read_files(folder) for name, folder in folders.items()} == {"cwd": {}, "HOME": {}, "TMPDIR": {}}


def test_a_whole_run_writes_nothing_to_the_working_directory(trained: Trained) -> None:
    assert read_files(trained.bystander) == {}
