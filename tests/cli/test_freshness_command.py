import json
from collections.abc import Callable
from pathlib import Path

from miniature import LAST_DAY, RUN_DATE, Trained, read_files
from shell import Call


def test_fresh_data(call: Call, write_config: Callable[..., Path], trained: Trained) -> None:
    before = read_files(trained.home)
    answer = call("freshness", "-c", write_config(), "--run-date", LAST_DAY, "--json", home=trained.home)
    facts = json.loads(answer.out)
    assert answer.code == 0
    assert (facts["fresh"], facts["run_date"], facts["lists"]) == (True, LAST_DAY, RUN_DATE)
    assert facts["newest"].startswith("2025-02-09T")
    assert read_files(trained.home) == before


def test_data_that_has_not_arrived_yet(call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
    arguments = ("freshness", "-c", write_config(), "--run-date", "2025-02-12", "--tolerance-hours", "12")
    answer = call(*arguments)
    assert (answer.code, answer.out) == (3, "")
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("refused: data for 2025-02-12: the newest event is from 2025-02-09T")
    assert "expected an event at or after 2025-02-11T12:00:00+00:00; wait for the data" in last
    # The facts of `--json` are there whatever the answer is.
    answer = call(*arguments, "--json")
    assert (answer.code, json.loads(answer.out)["fresh"]) == (3, False)
    assert not (tmp_path / "new home").exists()
