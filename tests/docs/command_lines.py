"""The command lines of `recsys` in README and docs/, and whether the command line interface accepts them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pages import BLOCK, ROOT, read_blocks, split_commands
from typer.core import TyperGroup
from typer.main import get_command

from recsys.cli.reference import app

_INLINE = re.compile(r"`(recsys [a-z][^`]*)`")
_START = re.compile(r"(?:^|[|;&]|&&) *(?:\$ )?(?:[A-Z_]+=\S+ )*(?:[^\s=]*/)?recsys (?P<rest>[a-z][a-z-]*(?: .*)?)$")
# What follows a command in a shell, and comments.
_END = re.compile(r"\s(?:#|\||>|<|2>|&&|\|\||;|\).*).*$")


@dataclass(frozen=True)
class CommandLine:
    """A call of `recsys` in a page: the page, the words after `recsys`, and whether it is in running text."""

    page: str
    words: tuple[str, ...]
    inline: bool

    def __str__(self) -> str:
        return f"{self.page}: recsys {' '.join(self.words)}"


def find_command_lines(path: Path) -> Iterator[CommandLine]:
    """Yield the calls of a page, those of blocks first."""
    text = path.read_text("utf-8")
    page = path.relative_to(ROOT).as_posix()
    for block in read_blocks(page):
        for command in split_commands(block):
            if match := _START.search(command.replace("\\\n", " ").strip()):
                yield CommandLine(page, _split(match["rest"]), inline=False)
    for call in _INLINE.findall(re.sub(r"\s+", " ", BLOCK.sub("", text))):
        yield CommandLine(page, _split(call.removeprefix("recsys ")), inline=True)


def _split(rest: str) -> tuple[str, ...]:
    return tuple(shlex.split(_END.sub("", rest.strip())))


@cache
def _make_root() -> TyperGroup:
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    return root


def find_fault(line: CommandLine) -> str | None:
    """Return why the command line interface would refuse a call; None if it accepts command and options.

    In running text required arguments may be missing, and `…` stands for what is left out.
    """
    root = _make_root()
    name, *words = line.words
    context = root.context_class(root, info_name="recsys")
    command = root.get_command(context, name)
    if command is None:
        return f"no command '{name}'"
    words = [word for word in words if word not in {"…", "..."}]
    try:
        command.make_parser(command.context_class(command, info_name=name, parent=context)).parse_args(words)
    except Exception as error:  # typer has its own copy of click's exceptions
        message = error.format_message() if hasattr(error, "format_message") else repr(error)
        return None if line.inline and "requires an argument" in message else message
    return None
