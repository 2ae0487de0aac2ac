"""The identity of a home: stays when the home is moved, and differs for a copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from recsys.storage.files import read_json, replace_text
from recsys.storage.home import identity_file


def identify_home(home: Path) -> str:
    """Return the home's id, 32 hexadecimal digits; a new one is written where there is none, or it is another home's.

    The id is recorded with the folder that it was given to. Where that folder still has the id, this home is a copy.

    Raises:
        ArtifactError: the home cannot be written.
    """
    path, here = identity_file(home), home.resolve()
    recorded = _read(path)
    folder = {"path": str(here), "inode": here.stat().st_ino if here.exists() else 0}
    if recorded is not None:
        if {name: recorded[name] for name in folder} == folder:
            return str(recorded["id"])
        original = _read(identity_file(Path(recorded["path"])))
        if recorded["path"] != folder["path"] and (original is None or original["id"] != recorded["id"]):
            _write(path, recorded["id"], folder)
            return str(recorded["id"])
    identity = uuid4().hex
    _write(path, identity, folder)
    return identity


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    known = isinstance(content, dict) and content.keys() >= {"id", "path", "inode"}
    # Another type is not written by recsys, and a path with a zero byte cannot be looked up.
    texts = known and all(isinstance(content[name], str) and "\0" not in content[name] for name in ("id", "path"))
    return content if texts else None


def _write(path: Path, identity: str, folder: dict[str, Any]) -> None:
    replace_text(path, json.dumps({"id": identity, **folder}, ensure_ascii=False) + "\n")
