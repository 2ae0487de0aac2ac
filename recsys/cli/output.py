"""Printing results to stdout, and next steps to stderr."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from recsys.cli.options import CONFIG_VARIABLE

if TYPE_CHECKING:
    from rich.table import Table

# A file or a pipe has no width; this one is wide enough that no cell is folded.
_FILE_WIDTH = 160


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal allows, and an empty line."""
    from rich.console import Console

    Console(width=find_width()).print(table, "")


def print_lines(*lines: str) -> None:
    """Print lines as they are: values that a script reads, such as paths."""
    typer.echo("\n".join(lines))


def print_text(*paragraphs: str) -> None:
    """Print sentences, wrapped to the width of the terminal."""
    for paragraph in paragraphs:
        print_lines(*wrap(paragraph, find_width()))


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and texts in two columns, the texts wrapped; empty texts are left out."""
    shown = {name: text for name, text in facts.items() if text}
    column = max(map(len, shown), default=0) + 2
    for name, text in shown.items():
        print_lines(*wrap(text, find_width(), name.ljust(column), " " * column))


def print_json(content: object, indent: int | None = 2) -> None:
    """Print a value as JSON, in UTF-8."""
    typer.echo(json.dumps(content, indent=indent, ensure_ascii=False))


def print_next(*steps: str) -> None:
    """Print the obvious next steps on stderr, nothing with --quiet."""
    from recsys.progress import console

    if not console.quiet:
        for step in steps:
            typer.echo(f"next: {step}", err=True)


def name_command(command: str, config: Path, *arguments: str) -> str:
    """Return a command line to copy, without the config where RECSYS_CONFIG names it."""
    given = [] if os.environ.get(CONFIG_VARIABLE) == str(config) else ["--config", shlex.quote(str(config))]
    return " ".join(["recsys", command, *given, *arguments])


def find_width() -> int:
    """Return how many columns a line has: of the terminal, or COLUMNS; wide where neither says."""
    from rich.console import Console

    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    console = Console()
    return console.width if console.is_terminal else _FILE_WIDTH


def wrap(text: str, width: int, first: str = "", others: str = "  ") -> list[str]:
    """Return a text as lines of at most that many terminal cells; East Asian characters take two.

    A line is broken at a blank, or between wide characters. A longer word, such as a path, is kept whole.

    Args:
        text: control characters become blanks, since reasons and titles are not ours.
        width: cells of a line.
        first: what the first line begins with.
        others: what the other lines begin with.
    """
    from rich.cells import cell_len

    printable = "".join(character if character.isprintable() else " " for character in text)
    lines, line = [], first
    used = cell_len(first)
    begun = False
    for word, blanks in _split(printable):
        cells = cell_len(word)
        if begun and used + blanks + cells > width:
            lines.append(line.rstrip())
            line, used, blanks = others, cell_len(others), 0
        line, used, begun = line + " " * blanks + word, used + blanks + cells, True
    return [*lines, line.rstrip()]


def _split(text: str) -> Iterator[tuple[str, int]]:
    """Yield pieces that must not be broken, each with the number of blanks before it."""
    from rich.cells import cell_len

    for match in re.finditer(r"( *)([^ ]+)", text):
        blanks, piece = len(match[1]), ""
        for character in match[2]:
            if piece and (cell_len(character) > 1 or cell_len(piece[-1]) > 1):
                yield piece, blanks
                blanks, piece = 0, ""
            piece += character
        yield piece, blanks
