"""`--json` prints one document, with the keys that docs/reference/commands.md lists for each command."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, read_lists
from shell import COMMANDS, Answer, Call

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE))
READING = [
    ("evaluate",),
    ("runs",),
    ("history",),
    ("lists",),
    ("show", "USER"),
    ("canary",),
    ("doctor",),
    ("freshness", "--run-date", LAST_DAY),
    ("promote",),
    ("search", "a crew lost in space"),
    ("embed", "--text", "a crew"),
]
WRITING = [
    ("ingest",),
    ("generate", "--run-date", LAST_DAY),
    ("monitor",),
    ("prune", "--dry-run"),
    ("report",),
    ("forget", "--user", "USER", "--dry-run"),
]


def check(arguments: tuple[str, ...], ask: Callable[..., Answer], home: Path) -> None:
    user = read_lists(home, RUN_DATE)["user_id"][0]
    answer = ask(*(user if part == "USER" else part for part in arguments), "--json", home=home)
    assert answer.code == 0, answer
    assert "next: " not in answer.err
    content = json.loads(answer.out)
    row = ROWS[arguments[0]].split("; ")[0]
    assert isinstance(content, list) == row.startswith("[ ]")
    (document, *_) = content if isinstance(content, list) else (content,)
    assert set(document) == set(re.findall(r"`(\w+)`", row))


def test_every_command_has_a_row() -> None:
    assert set(ROWS) == set(COMMANDS)


@pytest.fixture
def ask(call: Call, write_config: Callable[..., Path]) -> Callable[..., Answer]:
    config = write_config(monitoring={"mlflow": False})
    return lambda *arguments, home: call(*arguments, "-c", config, home=home)


@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: arguments[0])
def test_commands_that_read(arguments: tuple[str, ...], ask: Callable[..., Answer], trained: Trained) -> None:
    check(arguments, ask, trained.home)


def test_commands_that_write(ask: Callable[..., Answer], trained_copy: Path) -> None:
    for arguments in WRITING:
        check(arguments, ask, trained_copy)
