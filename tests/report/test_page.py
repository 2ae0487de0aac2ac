"""The page as a file: its content, its safety, and where it is written."""

import base64
import hashlib
import json
import logging
import os
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from handmade import HOSTILE, MODELS, RUN, make_config, make_home
from miniature import RUN_DATE, Trained
from typer.testing import CliRunner

from recsys.artifacts.recommendations import publish
from recsys.artifacts.runs import read_run
from recsys.cli.app import app
from recsys.errors import ArtifactError
from recsys.evaluation.drift import compare_lists
from recsys.evaluation.formatting import write_number
from recsys.progress import format_count
from recsys.registry.tracking import connect, find_run_id
from recsys.report.grids import write_p, write_spread
from recsys.report.nights import find_nights
from recsys.report.page import write_report
from recsys.visuals.palette import DARK, LIGHT

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


class Reader(HTMLParser):
    """Parses a page: tags with their attributes, text, and the content of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.get_starttag_text() is not None and self.cdata_elem:
            if self.scripts and self.scripts[-1][0] is self.tags[-1][1]:
                self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
            else:
                self.scripts.append((self.tags[-1][1], data))
        elif data.strip():
            self.words.append(" ".join(data.split()))

    def json(self, name: str) -> Any:
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name)


@pytest.fixture(scope="module")
def read(handmade_page: Path) -> Reader:
    return Reader(handmade_page.read_text("utf-8"))


def test_the_default_path_is_in_the_home_and_the_same_input_gives_the_same_bytes(
    handmade_home: Path, tmp_path: Path
) -> None:
    first = write_report(make_config(), handmade_home)
    second = write_report(make_config(), handmade_home, out=tmp_path / "deep" / "two.html")
    assert first == handmade_home / "reports" / f"{RUN}.html"
    assert second.read_bytes() == first.read_bytes()


def test_nothing_on_the_page_refers_to_another_resource(read: Reader) -> None:
    for tag, attributes in read.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "style-src"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]


def test_only_the_two_scripts_of_the_page_may_run(read: Reader) -> None:
    policy = next(one["content"] for tag, one in read.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert {"connect-src", "img-src"}.isdisjoint(parts)
    code = [text for attributes, text in read.scripts if attributes.get("type") is None]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert parts["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert len(code) == 2


def test_untrusted_titles_are_escaped_data(read: Reader, handmade_page: Path) -> None:
    assert HOSTILE in read.json("browser")["titles"]
    assert HOSTILE not in handmade_page.read_text("utf-8")
    assert f"event: {HOSTILE}" in read.words


def test_every_panel_states_its_question(read: Reader) -> None:
    for title, question in {
        "Metrics against baselines": "Is it better than simpler models",
        "Segments": "For whom",
        "The candidate ledger": "Where were the test positives lost",
        "Limits": "Did the model and its lists keep every limit",
        "Trainings over time": "Is it getting better",
        "Exposure": "Which items do the lists show",
        "Data": "What was read and left out",
        "Items": "What is known about an item",
        "Learning curves and features": "Did each part learn",
        "Drift": "How much have the lists changed",
        "Beyond accuracy": "How much of the catalogue",
        "Users": "What is each user recommended",
    }.items():
        indexes = [index for index, words in enumerate(read.words) if words == title]
        assert any(read.words[index + 1].startswith(question) for index in indexes), title


def test_the_numbers_of_the_head(read: Reader) -> None:
    text = " ".join(read.words)
    assert "Data up to 2025-02-03" in text
    assert "Test window 2025-01-27 to 2025-02-03" in text
    assert "measured; 3 more left out (no history)" in text
    assert (
        "Better than the best baseline (text_zero_shot)? Cannot tell: 2% better, within chance nDCG@10 0.161 vs 0.157, "
        "difference +0.004 (95% CI −0.009 to +0.016), p = 0.310, measured on 60 users."
    ) in text


def test_the_page_defines_every_colour_that_it_uses(handmade_page: Path) -> None:
    page = handmade_page.read_text("utf-8")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", page))
    assert {"accent", "outcome-1", "line-1"} <= used
    assert used - {"box"} <= set(LIGHT) == set(DARK)
    light, dark = (set(re.findall(r"--([a-z0-9-]+):", part)) for part in page.split("@media screen", 1))
    assert set(LIGHT) <= light
    assert set(LIGHT) <= dark


def test_two_nights_are_compared(read: Reader, handmade_home: Path) -> None:
    now, before = find_nights(handmade_home, "mini", None)
    assert (now.run_date, before.run_date) == ("2025-02-04", "2025-02-03")
    churn = compare_lists(now.lists, before.lists, 10).churn
    assert churn is not None
    assert f"{churn:.1%}" in read.words[read.words.index("list items replaced since last night") + 1]
    assert read.words[read.words.index("list items replaced since the run before") + 1] == "31.0%"


def test_with_one_night_the_page_names_the_next_step(handmade_home: Path, tmp_path: Path) -> None:
    page = write_report(make_config(), handmade_home, run_date="2025-02-03", out=tmp_path / "page.html")
    words = Reader(page.read_text("utf-8")).words
    assert any(
        one.startswith("Only one run date, 2025-02-03, is published. To compare two, run 'recsys generate'")
        for one in words
    )
    assert any(one.startswith("Lists published for 2025-02-03 by model version 1: all 61 users") for one in words)


def test_a_night_with_a_canary_names_both_versions(tmp_path: Path) -> None:
    config, day = make_home(tmp_path / "home"), "2025-02-05"
    (now, _) = find_nights(tmp_path / "home", "mini", None)
    users = now.lists["user_id"].unique().sort()[:20]
    challenger = pl.col("user_id").is_in(users.implode())
    lists = now.lists.with_columns(
        variant=pl.when(challenger).then(pl.lit("challenger")).otherwise(pl.lit("champion")),
        model_version=pl.when(challenger).then(pl.lit("9")).otherwise(pl.lit("2")),
    )

    def write(folder: Path) -> None:
        lists.filter(~challenger).write_parquet(folder / "part-00000.parquet")
        lists.filter(challenger).write_parquet(folder / "part-00001.parquet")

    facts = {"snapshot": now.facts["snapshot"], "end": f"{day}T00:00:00+00:00", "model_version": "2"}
    publish(tmp_path / "home", "mini", day, write, {**facts, "canary": {"model_version": "9"}})
    words = Reader(write_report(config, tmp_path / "home").read_text("utf-8")).words
    whose = f"Lists published for {day} by model version 2 and, for the users of a canary, by version 9: "
    assert any(text.startswith(whose) for text in words)


def test_a_run_date_that_is_not_published(handmade_home: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not published.*found 2025-02-03, 2025-02-04; choose one of those"):
        write_report(make_config(), handmade_home, run_date="2025-01-01")


def test_lists_of_another_config_are_not_shown(handmade_home: Path) -> None:
    assert find_nights(handmade_home, "other", None) == []


def test_before_the_first_night_it_shows_what_the_run_measured(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = make_home(home, nights=0)
    read = Reader(write_report(config, home, users=7).read_text("utf-8"))
    words, data = read.words, read.json("browser")
    assert any(one.startswith("No lists are published yet. To compare two, run 'recsys generate'") for one in words)
    assert any(
        one.startswith("No lists are published yet, so these are the run's lists for its test window: 7 of")
        for one in words
    )
    assert len(data["users"]) == 7
    assert data["reasons"] == data["sources"] == []
    run = read_run(home, "mini")
    user = next(one for one in data["users"] if one["held"])
    held = run.positives.filter(pl.col("user_id") == user["id"]).sort("rank", "item_id", nulls_last=True)
    assert [data["outcomes"][outcome] for _, outcome, _ in user["held"]] == held["outcome"].to_list()
    assert [rank for _, _, rank in user["held"]] == held["rank"].to_list()
    # The history ends where the test window starts.
    assert max(day for _, day in user["history"]) < datetime(2025, 1, 27, tzinfo=UTC).timestamp() / 86400


def test_how_numbers_are_written() -> None:
    row = {"mean": -0.12345, "low": -0.2, "high": 0.1}
    assert write_spread(row, ("mean", "low", "high"), signed=True) == "−0.1235 [−0.2000, +0.1000]"
    assert write_spread({"mean": None, "low": None, "high": None}, ("mean", "low", "high")) == "–"
    assert write_number(None) == "–"
    assert [write_p(value) for value in (None, 0.0009, 0.001, 0.0014, 1.0)] == [
        "–",
        "≤ 0.001",
        "≤ 0.001",
        "0.002",
        "1.000",
    ]
    assert [format_count(count, "item") for count in (0, 1, 1200)] == ["0 items", "1 item", "1,200 items"]


def test_without_its_mlflow_run_the_page_is_written_nevertheless(
    handmade_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        page = write_report(make_config(), handmade_home, out=tmp_path / "page.html")
    assert page.is_file()
    assert f"report of {RUN}: not logged with its run: MLflow store " in caplog.text


def test_the_command_writes_prints_and_logs(
    trained: Trained,
    reported_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other_homes_forgotten: None,
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(reported_home))
    for name in THREADS:
        # The command line sets them; monkeypatch restores them after the test.
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    file = tmp_path / "mini.yaml"
    file.write_text(yaml.safe_dump(trained.config.resolved()), "utf-8")
    out = tmp_path / "报告 one.html"
    level = logging.getLogger("recsys").level
    answer = CliRunner().invoke(app, ["report", "--config", str(file), "--users", "5", "--out", str(out)])
    logging.getLogger("recsys").setLevel(level)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.strip() == str(out)
    read = Reader(out.read_text("utf-8"))
    assert len(read.json("browser")["users"]) == 5
    assert any(RUN_DATE in words and "Lists published" in words for words in read.words)
    store = connect(reported_home, trained.config)
    run = read_run(reported_home, trained.config.name)
    run_id = find_run_id(store, run.name)
    assert run_id is not None
    assert out.name in [file.path for file in store.client.list_artifacts(run_id)]
    assert find_run_id(store, "no such run") is None
    assert re.search(rf"Report of run {run.name}", " ".join(read.words))


def test_every_model_is_in_the_table(read: Reader) -> None:
    for model in MODELS:
        assert model in read.words
