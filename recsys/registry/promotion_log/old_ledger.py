"""Taking over `ledger.jsonl`, the promotion log that older versions kept in the home."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import RegistryError
from recsys.progress import format_count
from recsys.storage.files import hash_text
from recsys.storage.home import old_ledger_file

logger = logging.getLogger(__name__)

_IMPORTED = ".imported"


@dataclass(frozen=True)
class OldEntry:
    """One line of an old ledger.

    Attributes:
        line: its number, from 1.
        action: `promote` or `rollback`.
        model: name of the registered model.
        version: the champion from then on.
        previous: the champion until then.
        reason: why.
        identity: hash of number and text; tells whether the line was taken over already.
    """

    line: int
    action: str
    model: str
    version: str
    previous: str | None
    reason: str
    identity: str


def read_old_ledger(home: Path) -> tuple[list[OldEntry], int]:
    """Return the valid lines, oldest first, and the number of the others, each of which is named in a warning.

    Raises:
        RegistryError: the file exists and cannot be read.
    """
    path = old_ledger_file(home)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RegistryError(
            f"old promotion log {path}: cannot be read ({error.strerror}); make it readable, then run again"
        ) from error
    entries, skipped = [], 0
    for number, text in enumerate(content.decode("utf-8", errors="replace").split("\n"), start=1):
        if not text.strip():
            continue
        entry = _parse_line(number, text)
        if entry is None:
            skipped += 1
            logger.warning("old promotion log %s: line %d is not a valid entry; skipped", path, number)
        else:
            entries.append(entry)
    return entries, skipped


def retire_old_ledger(home: Path, taken_over: int, skipped: int) -> None:
    """Rename the file, so that it is not read again.

    Raises:
        RegistryError: it cannot be renamed.
    """
    path = old_ledger_file(home)
    target = path.with_name(f"{path.name}{_IMPORTED}")
    try:
        path.replace(target)
    except OSError as error:
        raise RegistryError(
            f"old promotion log {path}: imported, but cannot be renamed to {target.name} ({error.strerror}); "
            "rename it by hand, then run again"
        ) from error
    logger.info(
        "promotion log: imported %s from %s, skipped %d; the file is now %s",
        format_count(taken_over, "line"),
        path,
        skipped,
        target.name,
    )


def _parse_line(number: int, text: str) -> OldEntry | None:
    with suppress(ValueError, RecursionError):
        content = json.loads(text)
        if isinstance(content, dict) and _is_valid(content):
            identity = hash_text(f"{number} {text}")[:16]
            reason = str(content.get("reason") or "")
            version, previous = content["version"], content["previous"]
            return OldEntry(number, content["action"], content["model"], version, previous, reason, identity)
    return None


def _is_valid(content: Mapping[str, Any]) -> bool:
    version, previous, model = (content.get(name) for name in ("version", "previous", "model"))
    return (
        content.get("action") in ("promote", "rollback")
        and isinstance(version, str)
        and (previous is None or isinstance(previous, str))
        and isinstance(model, str)
    )
