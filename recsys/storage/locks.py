"""Locks of a home: one writer at a time, or several that share a work."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from recsys.errors import ArtifactError
from recsys.storage.access import make_home
from recsys.storage.home import lock_file

_POLL_SECONDS = 0.2


class LockedError(ArtifactError):
    """Another process holds the lock."""


@contextmanager
def lock(home: Path, name: str, *, shared: bool = False, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock of this home while the block runs; the system releases it when the process ends, even if killed.

    Args:
        home: created where it does not exist.
        name: of the work that only one process may do, such as `generation`.
        shared: hold it together with other processes that share it; nobody can hold it alone meanwhile.
        wait_seconds: how long to wait for another process.

    Raises:
        LockedError: another process still holds the lock.
        ArtifactError: the home cannot be written.
    """
    path = lock_file(home, name)
    try:
        make_home(home)
        # Private whatever the umask, like the home itself.
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(
            f"home {home}: cannot be written ({error.strerror}); make it writable or choose another RECSYS_HOME"
        ) from error
    with opened as file:
        if not _acquire(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_seconds):
            raise LockedError(
                f"{name} in {home}: another process holds the lock {path}; wait for it to end, then run again"
            )
        yield


def _acquire(file: TextIO, kind: int, wait_seconds: float) -> bool:
    end = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
