"""Locks of a home: one writer at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import ArtifactError
from recsys.storage.home import lock_file


class LockedError(ArtifactError):
    """Another process holds the lock."""


@contextmanager
def lock(home: Path, name: str) -> Iterator[None]:
    """Hold a lock of this home while the block runs; the system releases it when the process ends, even if killed.

    Args:
        home: created where it does not exist.
        name: of the work that only one process may do, such as `generation`.

    Raises:
        LockedError: another process holds the lock.
        ArtifactError: the home cannot be written.
    """
    path = lock_file(home, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(
            f"home {home}: cannot be written ({error.strerror}); make it writable or choose another RECSYS_HOME"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"{name} in {home}: another process holds the lock {path}; wait for it to end, then run again"
            ) from error
        yield
