"""`recsys lists`, and how `generate` ends where readers do not follow its night."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, read_files
from shell import Call, expect

DAY = "2025-02-05"


def test_nothing_is_published_yet(call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
    answer = call("lists", "-c", write_config())
    assert (answer.code, answer.out) == (0, "no lists are published yet; run 'recsys generate'\n")
    expect(call("lists", "-c", write_config(), "--point", DAY), "no manifest.json", f"generate --run-date {DAY}'")


def test_a_night_that_is_not_followed_is_moved_to(
    trained_copy: Path, call: Call, write_config: Callable[..., Path]
) -> None:
    config, home = write_config(), trained_copy
    assert call("generate", "-c", config, "--run-date", LAST_DAY, home=home).code == 0
    answer = call("generate", "-c", config, "--run-date", DAY, "--json", home=home)
    assert answer.code == 3
    assert json.loads(answer.out)["readers"] == LAST_DAY
    last = answer.err.splitlines()[-1]
    assert last.startswith(
        f"refused: lists for {DAY}: published, but readers still follow the later run date {LAST_DAY}"
    )
    assert f"'recsys lists --point {DAY}'" in last
    assert call("generate", "-c", config, "--run-date", DAY, "--keep-pointer", home=home).code == 0
    # A range whose last night is followed is fine.
    assert call("generate", "-c", config, "--run-date", DAY, "--until", LAST_DAY, home=home).code == 0

    moved = call("lists", "-c", config, "--point", DAY, home=home)
    assert (moved.code, moved.out) == (0, f"readers now follow {DAY} (before: {LAST_DAY})\n")
    shown = call("lists", "-c", config, home=home)
    assert shown.code == 0
    assert f"readers follow {DAY}\n" in shown.out
    assert f"moved readers from {LAST_DAY} to {DAY}\n" in shown.out
    facts = json.loads(call("lists", "-c", config, "--json", home=home).out)
    assert facts["nights"][0]["run_date"] == LAST_DAY
    assert {night["run_date"]: night["followers"] for night in facts["nights"]}[DAY] == ["readers"]
    assert (facts["readers"], facts["table"], len(facts["moves"])) == (DAY, None, 1)
    # The next later night moves readers on.
    assert call("generate", "-c", config, "--run-date", LAST_DAY, home=home).code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("generate",),
        ("generate", "--shards", "1/2"),
        ("train",),
        ("tune", "--space", "configs/spaces/demo.yaml"),
        ("monitor",),
    ],
    ids=" ".join,
)
def test_a_mistyped_run_date_is_refused(
    command: tuple[str, ...], trained: Trained, call: Call, write_config: Callable[..., Path]
) -> None:
    before = read_files(trained.home / "recommendations")
    answer = call(*command, "-c", write_config(), "--run-date", "2052-02-05", home=trained.home)
    advice = "--allow-future for a simulation" if command[0] == "generate" else "choose another --run-date"
    expect(answer, f"{command[0]} for 2052-02-05: the run date is in the future", advice, code=3)
    assert read_files(trained.home / "recommendations") == before


def test_a_simulated_part_may_be_in_the_future(
    trained_copy: Path, call: Call, write_config: Callable[..., Path]
) -> None:
    night = ("--run-date", "2052-02-05", "--shards", "1/2", "--allow-future")
    assert call("generate", "-c", write_config(), *night, home=trained_copy).code == 0


@pytest.mark.parametrize("command", ["lists"])
def test_damaged_nights_are_named(
    command: str, trained_copy: Path, call: Call, write_config: Callable[..., Path]
) -> None:
    (trained_copy / "recommendations" / f"run_date={RUN_DATE}" / "part-00000.parquet").write_bytes(b"x")
    answer = call(command, "-c", write_config(), home=trained_copy)
    assert answer.code == 0
    assert "damaged" in answer.out
    assert "part-00000.parquet is changed" in answer.out
    assert "the pointer is invalid" in answer.out
