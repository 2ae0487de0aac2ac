"""`recsys init` as a shell calls it: what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from dataset.proposal.layouts import write_hive, write_us_or_eu
from shell import Call, expect

from recsys.config import load_config
from recsys.dataset.ingestion import ingest


@pytest.fixture(autouse=True)
def data(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # After `call`, which names the folder of the miniature.
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return tmp_path


def test_writes_a_config_that_reads_the_files(call: Call, data: Path) -> None:
    write_hive(data)
    config = data / "new" / "hive.yaml"
    answer = call("init", "export", "--out", config)
    assert answer.code == 0, answer
    assert answer.out.startswith(f"config  {config}\n")
    assert "\nItems as they would be read:\n" in answer.out
    assert "History of user " in answer.out
    assert "Times: 2023-03-01 09:26 to 2023-09-17 06:46 in the sample" in answer.out
    assert answer.err.endswith(f"next: recsys doctor --config {config}\nnext: recsys run --config {config}\n")
    settings = load_config(config)
    assert settings.name == "hive"
    assert "# customer_id, 120 distinct, every row" in config.read_text("utf-8")
    assert ingest(settings.dataset, now=datetime.now(UTC)).interactions.height == 2760


def test_open_questions_are_printed_and_answered(call: Call, data: Path) -> None:
    write_us_or_eu(data)
    config = data / "shop.yaml"
    answer = call("init", "export", "--out", config)
    assert "CHECK   Does '" in answer.out
    assert "--answer time_format=%m/%d/%Y" in " ".join(answer.out.split())
    answered = call(
        "init", "export", "-o", config, "--force", "-a", "time_format=%m/%d/%Y", "-a", "zero=number", "--json"
    )
    content = json.loads(answered.out)
    assert content["questions"] == []
    assert content["notes"] == ["the answer zero=number was not used"]
    assert content["config"] == yaml.safe_load(config.read_text("utf-8"))
    assert content["config"]["dataset"]["interactions"]["time_format"] == "%m/%d/%Y"
    assert len(content["preview"]["items"]) == 5


def test_every_check_is_printed(call: Call, data: Path) -> None:
    rows = "".join(f"u{n % 40};p{n % 30};第{n % 30}本好书的故事;{2020 + n % 5}-01-02\n" for n in range(600))
    (data / "log.csv").write_text("user;item;title;time\n" + rows, "utf-8")
    answer = call("init", "log.csv", "--out", data / "shop.yaml")
    assert "CHECK   The language of the texts seems to be Chinese" in answer.out
    assert "1 open question in" in answer.err
    assert json.loads(call("init", "log.csv", "-o", data / "b.yaml", "--json").out)["checks"][0].startswith("The lang")


def test_an_existing_file_stays(call: Call, data: Path) -> None:
    write_hive(data)
    config = data / "shop.yaml"
    config.write_text("name: mine\n")
    expect(call("init", "export", "--out", config), "shop.yaml: already exists", "--force")
    assert config.read_text() == "name: mine\n"


def test_nothing_is_written_where_nothing_is_found(call: Call, data: Path) -> None:
    (data / "x.csv").write_text("colour,size\nred,1\nblue,2\n")
    config = data / "shop.yaml"
    expect(call("init", "x.csv", "--out", config), "no items and interactions found in x.csv (colour, size)")
    expect(call("init", "nowhere", "--out", config), "nowhere: no such file or folder")
    expect(call("init", "x.csv", "--out", config, "--answer", "who=me"), "--answer who=me: expected key=value")
    assert not config.exists()
