"""Printing results to stdout."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

# A file or a pipe has no width; this one is wide enough that no cell is folded.
_FILE_WIDTH = 160


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal allows, and an empty line."""
    console = Console()
    (console if console.is_terminal else Console(width=_FILE_WIDTH)).print(table, "")


def print_lines(*lines: str) -> None:
    """Print lines of text."""
    typer.echo("\n".join(lines))


def print_json(content: object, indent: int | None = 2) -> None:
    """Print a value as JSON, in UTF-8."""
    typer.echo(json.dumps(content, indent=indent, ensure_ascii=False))
