"""Compiled loops: the one decorator for numba functions, and the folder that keeps their machine code.

The folder is the first of these that works:

1. `NUMBA_CACHE_DIR`, where it is set;
2. `__pycache__` of the installation, where the installation can be written;
3. `RECSYS_HOME/compiled`, where RECSYS_HOME exists;
4. `recsys-compiled-UID` in the folder for temporary files.

If none works, functions are compiled in each process and not kept. numba keeps machine code in pickle files, so whoever
can write to the folder can run code as the user who reads it: folders 3 and 4 must belong to the current user, be
closed to everyone else (0700), and be in a folder where not everybody can exchange them, or they are not used.
`NUMBA_CACHE_DIR` and the installation are trusted as the code is.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba
from numba.core import event

from recsys.config import home
from recsys.progress import format_count

logger = logging.getLogger(__name__)

Function = Callable[..., Any]
# Its settings are set at run time, and so unknown to type checkers.
_numba_config: Any = numba.config
_PACKAGE = Path(__file__).parents[1]
# In-tree caching of numba: without a folder of its own.
_IN_TREE = ""


def compiled(*, fastmath: bool | set[str] = False) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function at its first call, without the GIL, and keeps the machine code.

    Args:
        fastmath: as numba takes it; False keeps IEEE rules.
    """

    def decorate(function: Function) -> Function:
        dispatcher: Any = numba.njit(nogil=True, fastmath=fastmath)(function)
        folder = find_folder()
        # With NUMBA_DISABLE_JIT the dispatcher is the function itself.
        if folder is not None and not _numba_config.DISABLE_JIT:
            _enable(dispatcher, folder)
        return cast("Function", dispatcher)

    return decorate


@cache
def find_folder() -> str | None:
    """Return the folder for machine code; empty for the installation's `__pycache__`, None where none works."""
    chosen = _numba_config.CACHE_DIR
    if chosen and _can_write(Path(chosen)):
        return str(chosen)
    if _can_write(_PACKAGE, create=False):
        return _IN_TREE
    for folder in _list_private_folders():
        if _is_private(folder):
            return str(folder)
    return None


def describe_folder() -> str:
    """Return where machine code is kept and of how many functions.

    Raises:
        FileNotFoundError: it is not kept anywhere, or there is none yet.
    """
    folder = find_folder()
    if folder is None:
        raise FileNotFoundError(
            "not cached: no private folder can be created in the installation, RECSYS_HOME or the folder for "
            "temporary files, so every run compiles again; set NUMBA_CACHE_DIR to a folder of your own"
        )
    place = Path(folder) if folder else _PACKAGE
    # The index of a function; its machine code is in files of its own.
    functions = sum(1 for _ in place.rglob("*.nbi"))
    if not functions:
        raise FileNotFoundError(f"{place}: empty; the first run compiles them, which takes some seconds")
    return f"{place}: {format_count(functions, 'function')}"


def log_compilations() -> None:
    """Log how many functions this process compiled and how long that took; nothing if it compiled none."""
    if _watch.functions:
        kept = f"kept in {find_folder() or _PACKAGE} for the next run" if find_folder() is not None else "not kept"
        logger.info(
            "compiled loops: %s in %.1f s, %s", format_count(_watch.functions, "function"), _watch.seconds, kept
        )
        _watch.functions, _watch.seconds = 0, 0.0


class _Watch(event.Listener):
    """Counts the functions that numba compiles instead of loading them, and announces the first."""

    def __init__(self) -> None:
        self.functions, self.seconds = 0, 0.0
        self._announced, self._depth, self._start = False, 0, 0.0

    def on_start(self, _event: Any) -> None:
        """Start the clock; a function that another one calls is compiled within the other's time."""
        if not self._announced:
            logger.info("compiled loops: not compiled for this machine yet; compiling, which takes some seconds")
            self._announced = True
        if self._depth == 0:
            self._start = time.perf_counter()
        self._depth += 1

    def on_end(self, _event: Any) -> None:
        """Stop the clock."""
        self._depth -= 1
        self.functions += 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._start


# numba compiles under one lock, so that calls from several threads arrive one after the other.
_watch = _Watch()
event.register("numba:compile", _watch)  # type: ignore[no-untyped-call]


def _enable(dispatcher: Any, folder: str) -> None:
    """Give a function its cache; numba reads the setting now and not again."""
    before = _numba_config.CACHE_DIR
    _numba_config.CACHE_DIR = folder
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        logger.debug("compiled loops: %s is not cached", dispatcher.py_func.__name__, exc_info=True)
    finally:
        _numba_config.CACHE_DIR = before


def _list_private_folders() -> Iterable[Path]:
    if home().is_dir():
        yield home() / "compiled"
    yield Path(tempfile.gettempdir()) / f"recsys-compiled-{os.geteuid()}"


def _is_private(folder: Path) -> bool:
    """Make the folder if it is missing; return whether only the current user can enter and change it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Of a link, not of what it points to.
        found, parent = folder.lstat(), folder.parent.stat()
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    # In a sticky folder such as /tmp, only the owner can rename.
    fixed = not parent.st_mode & stat.S_IWOTH or bool(parent.st_mode & stat.S_ISVTX)
    return mine and fixed and not found.st_mode & 0o077 and _can_write(folder, create=False)


def _can_write(folder: Path, *, create: bool = True) -> bool:
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
