"""The ledger: one line for every change of the champion, the newest last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from recsys.errors import RegistryError


def append_line(
    home: Path, action: Literal["promote", "rollback"], model: str, version: str, previous: str | None, reason: str
) -> None:
    """Add a line and make sure it is on the disk."""
    line = {"action": action, "model": model, "version": version, "previous": previous, "reason": reason}
    with _path(home).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(home: Path, model: str) -> list[dict[str, Any]]:
    """Return the lines of one model, oldest first."""
    if not _path(home).is_file():
        return []
    lines = [json.loads(line) for line in _path(home).read_text(encoding="utf-8").splitlines() if line]
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
        f"ledger {_path(home)}: knows no champion of '{model}' before version {champion}; nothing to roll back to"
    )


def _path(home: Path) -> Path:
    return home / "ledger.jsonl"
