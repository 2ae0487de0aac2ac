"""The log of the pointer's moves by hand: who moved readers to another run date, when, from where and to where.

Nightly moves are not in it: the pointer follows the newest good night, which the published folders show.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from recsys.errors import ArtifactError
from recsys.progress import logger
from recsys.storage.files import replace_text
from recsys.storage.home import pointer_moves_file


@dataclass(frozen=True)
class Move:
    """A move of the pointer by hand.

    Attributes:
        time: ISO 8601, UTC.
        who: user and machine, as in `anna@shop-2`.
        from_run_date: that readers followed before; "" if the pointer was missing or damaged.
        to_run_date: that readers follow since.
    """

    time: str
    who: str
    from_run_date: str
    to_run_date: str


def append_move(home: Path, move: Move) -> None:
    """Add a move to the log; the caller holds the generation lock.

    Raises:
        ArtifactError: the log cannot be read or written.
    """
    path = pointer_moves_file(home)
    try:
        text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise ArtifactError(f"file {path}: cannot be read ({error.strerror}); move it away, then run again") from error
    text += "\n" if text and not text.endswith("\n") else ""
    replace_text(path, text + json.dumps(asdict(move), ensure_ascii=False) + "\n")


def read_moves(home: Path) -> list[Move]:
    """Return the moves, oldest first; lines that are no move are left out with a warning."""
    path = pointer_moves_file(home)
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("log of moves %s: cannot be read (%s); skipped", path, error.strerror)
        return []
    moves = []
    for number, line in enumerate(lines, start=1):
        move = _parse(line)
        if move is not None:
            moves.append(move)
        elif line.strip():
            logger.warning("log of moves %s: line %d is not a valid entry; skipped", path, number)
    return moves


def _parse(line: str) -> Move | None:
    with suppress(ValueError, RecursionError):
        content = json.loads(line)
        names = {field.name for field in fields(Move)}
        if isinstance(content, dict) and set(content) == names and all(isinstance(it, str) for it in content.values()):
            return Move(**content)
    return None
