"""A night's lists: what they depend on, the hash that identifies them, and what an output of a night promises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recsys.storage.files import hash_text
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder

# The number of the champion's entry in the promotion log: a note in the manifest, not a part of what the lists are.
PROMOTION = "promotion"
# Why somebody accepted a loss of users or rows; a note too.
ACCEPTED = "accepted"
_NOTES = (PROMOTION, ACCEPTED)


@dataclass(frozen=True)
class Night:
    """One night's lists.

    Attributes:
        run_date: YYYY-MM-DD.
        facts: everything that the bytes of the lists depend on; the manifest repeats it.
    """

    run_date: str
    facts: Mapping[str, Any]


class Output(Protocol):
    """One output that a night's lists are written to."""

    def holds(self, night: Night) -> bool:
        """Return whether the output already holds this night."""

    def fill(self, night: Night) -> None:
        """Write this night.

        Raises:
            RecsysError: it cannot be written; the output is unchanged.
        """


def hash_lists(home: Path, run_date: str, next_step: str | None = None) -> str:
    """Return the SHA-256 that identifies published lists: their facts and parquet files, whatever else was written.

    Raises:
        ArtifactError: the run date is not published.
    """
    manifest = read_night_manifest(home, run_date, next_step)
    parts = {name: digest for name, digest in manifest["files"].items() if _is_part(name)}
    facts = {name: value for name, value in manifest.items() if name not in _NOTES}
    return hash_text(json.dumps({**facts, "files": parts}, sort_keys=True, ensure_ascii=False))


def read_night_manifest(home: Path, run_date: str, next_step: str | None = None) -> dict[str, Any]:
    """Return the manifest of published lists.

    Raises:
        ArtifactError: the run date is not published.
    """
    return read_manifest(list_folder(home, run_date), next_step or f"run 'recsys generate --run-date {run_date}'")


def _is_part(name: str) -> bool:
    return name.startswith("part-")
