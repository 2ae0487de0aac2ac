"""Paths that a pattern means in an archive or an object store, by the rules that hold for folders."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The folder that makes the folder above it a Delta table.
DELTA_LOG = "_delta_log"


def match_paths(paths: Sequence[str], pattern: str) -> tuple[list[str], bool]:
    """Return the paths that a pattern means, sorted, and whether it is exactly one of them.

    A path of exactly that name comes first, then a folder of that name, then what `*`, `?`, `[...]` and `**` match;
    a folder stands for all below it.
    """
    pattern = pattern.strip("/")
    if pattern in paths:
        return [pattern], True
    below = [path for path in paths if not pattern or path.startswith(f"{pattern}/")]
    if not below:
        matches = re.compile(_translate(pattern)).match
        below = [path for path in paths if matches(path)]
    return sorted(below), False


def literal_part(pattern: str) -> str:
    """Return the folders at the start of a pattern that have no special character."""
    parts = pattern.split("/")
    count = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return "/".join(parts[:count])


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of the data: Spark writes `_SUCCESS`, Excel `~$book.xlsx` beside it."""
    return name.startswith((".", "_", "~$"))


def _translate(pattern: str) -> str:
    """Return a regular expression for a pattern and all below what it matches."""
    parts = [r"(?:[^/]+/)*" if part == "**" else _translate_part(part) + "/" for part in pattern.split("/")]
    if pattern.endswith("**"):
        return "".join(parts)
    return "".join(parts)[:-1] + r"(?:/|\Z)"


def _translate_part(part: str) -> str:
    """Return a regular expression for the pattern of one name."""
    tokens = re.findall(r"\[[!^]?\]?[^\]]*\]|.", part, re.DOTALL)
    meanings = {"*": "[^/]*", "?": "[^/]"}
    texts = []
    for token in tokens:
        if len(token) > 2 and token[0] == "[":
            inside = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
            texts.append(f"[^/{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
        else:
            texts.append(meanings.get(token) or re.escape(token))
    # As in a shell, a leading * or ? is no hidden name.
    return (r"(?!\.)" if tokens and tokens[0] in ("*", "?") else "") + "".join(texts)
