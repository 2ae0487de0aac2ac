"""The promotion log: one JSON entry per line for every change of the champion, the newest last."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

from recsys.errors import RegistryError

logger = logging.getLogger(__name__)


def append_entry(
    home: Path, action: Literal["promote", "rollback"], model: str, version: str, previous: str | None, reason: str
) -> None:
    """Append an entry and flush it to the disk.

    Args:
        home: the folder that everything is written to.
        action: what changed the champion.
        model: name of the registered model.
        version: the champion from now on.
        previous: the champion until now; None: there was none.
        reason: why, in one sentence.

    Raises:
        RegistryError: it cannot be written.
    """
    entry = {"action": action, "model": model, "version": version, "previous": previous, "reason": reason}
    path = _path(home)
    try:
        with path.open("a+b") as file:
            # After a crash or a full disk the last line may be incomplete; this entry must not be joined to it.
            incomplete = file.tell() > 0 and path.read_bytes()[-1:] != b"\n"
            file.write(b"\n" * incomplete + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RegistryError(
            f"promotion log {path}: cannot be written ({error.strerror}); fix that, then run again"
        ) from error


def read_entries(home: Path, model: str) -> list[dict[str, Any]]:
    """Return the entries of one model, oldest first; an incomplete line is skipped with a warning."""
    path = _path(home)
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            entries += [json.loads(line)] if line else []
        except ValueError:
            logger.warning("promotion log %s: line %d is incomplete and is skipped", path, number)
    return [entry for entry in entries if entry["model"] == model]


def find_previous_champion(home: Path, model: str, champion: str) -> str:
    """Return the version that was champion before the current one was promoted.

    Raises:
        RegistryError: the log has no such version.
    """
    for entry in reversed(read_entries(home, model)):
        if entry["action"] == "promote" and entry["version"] == champion and entry["previous"] is not None:
            return str(entry["previous"])
    raise RegistryError(
        f"promotion log {_path(home)}: no champion of '{model}' before version {champion}; nothing to roll back to"
    )


def _path(home: Path) -> Path:
    return home / "ledger.jsonl"
