"""What every command prints on a home fits 80 columns, and no word is cut."""

from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, read_lists
from rich.cells import cell_len
from shell import Answer, Call

READING = [
    ("evaluate",),
    ("evaluate", "--full"),
    ("runs",),
    ("history",),
    ("history", "--full"),
    ("history", "--entry", "1"),
    ("history", "--on", LAST_DAY),
    ("lists",),
    ("lists", "--full"),
    ("show", "USER"),
    ("show", "USER", "--full"),
    ("show", "USER", "--features"),
    ("show", "USER", "--features", "--full"),
    ("canary",),
    ("doctor",),
    ("freshness", "--run-date", LAST_DAY),
    ("promote", "--dry-run"),
    ("search", "a crew lost in space"),
]
WRITING = [
    ("ingest",),
    ("generate", "--run-date", LAST_DAY),
    ("monitor",),
    ("monitor", "--full"),
    ("prune", "--dry-run"),
    ("prune",),
]


def check(narrow: Answer, wide: Answer, home: Path) -> None:
    """Check one answer at 80 columns against the same at 400."""
    assert narrow.code == wide.code == 0, narrow
    for line in narrow.out.splitlines():
        # A path may be longer than a line; it is never broken.
        assert cell_len(line.rstrip()) <= 80 or str(home)[:20] in line, line
    # A word that is cut would be two other words.
    new = set(narrow.out.replace("─", "").split()) - set(wide.out.replace("─", "").split())
    # Parts of a path that is longer than its column.
    assert not {word for word in new if "/" not in word and word not in str(home)}
    assert "…" not in narrow.out


@pytest.fixture
def ask(call: Call, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    config = write_config(monitoring={"mlflow": False})

    def run(arguments: tuple[str, ...], width: int, home: Path) -> Answer:
        monkeypatch.setenv("COLUMNS", str(width))
        user = read_lists(home, RUN_DATE)["user_id"][0]
        return call(*(user if part == "USER" else part for part in arguments), "-c", config, home=home)

    return run


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_commands_that_read(arguments: tuple[str, ...], ask: Callable[..., Answer], trained: Trained) -> None:
    check(ask(arguments, 80, trained.home), ask(arguments, 400, trained.home), trained.home)


def test_commands_that_write(ask: Callable[..., Answer], trained_copy: Path) -> None:
    for arguments in WRITING:
        check(ask(arguments, 80, trained_copy), ask(arguments, 400, trained_copy), trained_copy)
