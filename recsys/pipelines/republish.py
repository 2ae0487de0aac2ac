"""After a rollback: the lists of the version that serves again, in every output."""

from __future__ import annotations

from pathlib import Path

from recsys.config import Config


def republish_lists(config: Config, home: Path, version: str) -> str | None:
    """Publish a version's kept lists for the run date that readers see, and fill every output with them.

    Returns:
        The run date; None where nothing is published or no lists of the version are kept for it: then nothing changed.
    """
    return None
