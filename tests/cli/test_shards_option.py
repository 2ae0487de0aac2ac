import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import LAST_DAY, RUN_DATE
from shell import Call, expect


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_part(call: Call, write_config: Callable[..., Path], text: str) -> None:
    expect(call("generate", "-c", write_config(), "--shards", text), f"--shards '{text}': expected I/N")


def test_a_part_is_of_one_night(call: Call, write_config: Callable[..., Path]) -> None:
    dates = ("--run-date", RUN_DATE, "--until", LAST_DAY)
    answer = call("generate", "-c", write_config(), *dates, "--shards", "1/2")
    expect(answer, "--shards and --until exclude each other")


def test_a_part_names_the_next_step(call: Call, write_config: Callable[..., Path], trained_copy: Path) -> None:
    config = write_config()
    arguments = ("generate", "-c", config, "--run-date", LAST_DAY, "--shards", "1/2")
    answer = call(*arguments, home=trained_copy)
    assert answer.code == 0
    assert answer.out.startswith(f"part 1/2 of {LAST_DAY}: lists for ")
    last = answer.err.splitlines()[-1]
    assert last == f"next: recsys generate --config {config} --run-date {LAST_DAY}, when all parts are finished"
    answer = call(*arguments, "--json", home=trained_copy)
    facts = json.loads(answer.out)
    assert (facts["run_date"], facts["shards"]) == (LAST_DAY, "1/2")
    assert facts["counts"]["users"] > 0
    # Nothing is published yet.
    assert not (trained_copy / "recommendations" / f"run_date={LAST_DAY}").exists()
