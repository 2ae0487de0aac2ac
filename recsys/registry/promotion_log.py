"""The ledger: one line for every change of the champion, the newest last."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

from recsys.errors import RegistryError
from recsys.storage.home import promotion_log_file

logger = logging.getLogger(__name__)


def append_line(
    home: Path, action: Literal["promote", "rollback"], model: str, version: str, previous: str | None, reason: str
) -> None:
    """Add a line and make sure it is on the disk.

    Raises:
        RegistryError: it cannot be written.
    """
    line = {"action": action, "model": model, "version": version, "previous": previous, "reason": reason}
    path = promotion_log_file(home)
    try:
        with path.open("a+b") as file:
            # A line that a crash or a full disk cut off must not swallow this one.
            torn = file.tell() > 0 and path.read_bytes()[-1:] != b"\n"
            file.write(b"\n" * torn + json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RegistryError(
            f"ledger {path}: cannot be written ({error.strerror}); mend that, then run again"
        ) from error


def read_lines(home: Path, model: str) -> list[dict[str, Any]]:
    """Return the lines of one model, oldest first; a line that was cut off is skipped with a warning."""
    if not promotion_log_file(home).is_file():
        return []
    lines = []
    for number, text in enumerate(promotion_log_file(home).read_bytes().split(b"\n"), start=1):
        try:
            lines += [json.loads(text)] if text else []
        except ValueError:
            logger.warning("ledger %s: line %d was cut off and is skipped", promotion_log_file(home), number)
    return [line for line in lines if line["model"] == model]


def find_previous(home: Path, model: str, champion: str) -> str:
    """Return the version that was champion before the current one.

    Raises:
        RegistryError: the ledger knows of none.
    """
    for line in reversed(read_lines(home, model)):
        if line["action"] == "promote" and line["version"] == champion and line["previous"] is not None:
            return str(line["previous"])
    raise RegistryError(
        f"ledger {promotion_log_file(home)}: knows no champion of '{model}' before version {champion}; "
        "nothing to roll back to"
    )
