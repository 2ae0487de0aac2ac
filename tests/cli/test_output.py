"""Wrapped text: by terminal cells, with paths kept whole, and next steps that --quiet leaves out."""

from pathlib import Path

import pytest
from rich.cells import cell_len

from recsys.cli.output import find_width, name_command, print_facts, print_next, print_text, wrap
from recsys.progress import console

TITLES = "一本关于太空船员迷失方向的长篇小说，" * 4


@pytest.mark.parametrize("text", ["word " * 60, TITLES, f"mixed {TITLES} text", "宽 w" * 40])
@pytest.mark.parametrize("width", [20, 80])
def test_no_line_is_wider_than_the_terminal(text: str, width: int) -> None:
    lines = wrap(text, width, "- ", "  ")
    assert max(map(cell_len, lines)) <= width
    # Nothing is lost or added.
    assert "".join("".join(lines).removeprefix("- ").split()) == "".join(text.split())


def test_a_long_path_is_kept_whole() -> None:
    path = "/" + "folder/" * 20 + "file.html"
    assert wrap(f"written to {path} just now", 80) == ["written to", f"  {path}", "  just now"]


def test_columns_in_a_line_are_kept() -> None:
    assert wrap("   1  2025-03-01  promoted       none -> 1", 80) == ["   1  2025-03-01  promoted       none -> 1"]
    assert wrap("", 80) == [""]


def test_control_characters_do_not_reach_the_terminal() -> None:
    (line,) = wrap("a\x1b[31mb\x07c\u202ed\ne", 80)
    assert line == "a [31mb c d e"


def test_facts_are_two_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_facts({"gate": "a reason " * 8, "nothing": "", "lists": "/x"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gate   a reason")
    assert all(line.startswith("       ") for line in lines[1:-1])
    assert lines[-1] == "lists  /x"
    assert max(map(len, lines)) <= 40


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert find_width() == 160
    print_text("word " * 25)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_next_steps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_CONFIG", raising=False)
    command = name_command("train", Path("my shop.yaml"), "--run-date", "2025-03-01")
    assert command == "recsys train --config 'my shop.yaml' --run-date 2025-03-01"
    print_next(command)
    monkeypatch.setattr(console, "quiet", True)
    print_next(command)
    answer = capsys.readouterr()
    assert (answer.out, answer.err) == ("", f"next: {command}\n")
    monkeypatch.setenv("RECSYS_CONFIG", "my shop.yaml")
    assert name_command("train", Path("my shop.yaml")) == "recsys train"
