"""Rows of numbers on disk, looked up by a hash of what they were computed from instead of being computed again."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError
from recsys.storage.files import hash_file, replace_file

_MODEL = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r".+-[0-9a-f]{64}\.npy")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Index:
    """Where the row of each key is, sorted by the first word of the key.

    Attributes:
        files: rows of each file, (n_rows) of `key` and `value`, left on disk.
        keys: (n_known, words) uint64.
        positions: (n_known, 2) int64, number of the file and of the row in it.
    """

    files: list[NDArray[np.void]]
    keys: NDArray[np.uint64]
    positions: NDArray[np.int64]


class ArrayCache:
    """float32 rows by key, computed with one model and kept from one run to the next.

    Files are `ROOT/MODEL/NAME-HASH.npy`, or `ROOT/MODEL/RUN/NAME-HASH.npy`, where HASH is the SHA-256 of the file. A
    file is therefore complete or known not to be, several processes may write at the same time, and a process that is
    killed keeps the files that it finished. A damaged file is reported and deleted. It is only a cache: a file that
    cannot be read or written costs time, never a run, and no result depends on it.

    Args:
        root: created when the first file is written.
        model: SHA-256 of whatever computes the values, hexadecimal; values of another model are not looked at.
        words: 64-bit words in a key.
        size: numbers in a row.
        run: subfolder that this process writes to; files of all runs are read.
    """

    def __init__(self, root: Path, model: str, words: int, size: int, run: str = "") -> None:
        self.root, self.run = root, run
        self._folder = root / model
        self._row = np.dtype([("key", np.uint64, words), ("value", np.float32, size)])
        # Blocks of users are looked up from several threads.
        self._lock = Lock()
        self._index: _Index | None = None
        self._writable = True

    def look_up(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (n_keys, size) float32 values and (n_keys) bool, which of them are known; the others are 0.

        Files are read at the first call; `reload` makes later files known.

        Args:
            keys: (n_keys, words) uint64.
        """
        values = np.zeros((len(keys), *self._row["value"].shape), dtype=np.float32)
        with self._lock:
            if self._index is None:
                self._index = self._read()
            index = self._index
        if not len(index.keys):
            return values, np.zeros(len(keys), dtype=bool)
        nearest = np.searchsorted(index.keys[:, 0], keys[:, 0]).clip(max=len(index.keys) - 1)
        known = (index.keys[nearest] == keys).all(axis=1)
        for number in np.unique(index.positions[nearest[known], 0]):
            here = known & (index.positions[nearest, 0] == number)
            values[here] = index.files[number]["value"][index.positions[nearest[here], 1]]
        return values, known

    def reload(self) -> None:
        """Read the files again at the next `look_up`, and mark the model as used now."""
        with suppress(OSError):
            os.utime(self._folder)
        with self._lock:
            self._index = None

    def write(self, keys: NDArray[np.uint64], values: NDArray[np.float32], name: str) -> bool:
        """Add a file in one step; after a failure nothing more is written.

        Equal keys must have equal values. Rows are sorted and kept once, so the file does not depend on their order.

        Args:
            keys: (n_rows, words) uint64.
            values: (n_rows, size) float32.
            name: start of the file's name.

        Returns:
            True if this is the model's first file.
        """
        if not self._writable or not len(keys):
            return False
        rows = np.empty(len(keys), dtype=self._row)
        rows["key"], rows["value"] = keys, values
        rows = rows[np.lexsort(keys.T[::-1])]
        rows = rows[np.concatenate([[True], (rows["key"][1:] != rows["key"][:-1]).any(axis=1)])]
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        is_first = not self._folder.exists()
        path = self._folder / self.run / f"{name}-{hashlib.sha256(content.getbuffer()).hexdigest()}.npy"
        try:
            with replace_file(path, "free some space or choose another RECSYS_HOME") as staging:
                staging.write_bytes(content.getbuffer())
        except ArtifactError as error:
            self._writable = False
            _logger.warning("cache: %s; the next run computes these rows again", error)
            return False
        return is_first

    def forget_models(self, kept: int) -> None:
        """Delete the values of other models, except the `kept - 1` models used last."""
        with suppress(OSError):
            # Only what is named like a model: a folder given by mistake must not lose its own.
            others = [path for path in self.root.iterdir() if _MODEL.fullmatch(path.name) and path != self._folder]
            others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
            for path in others[kept - 1 :]:
                shutil.rmtree(path, ignore_errors=True)

    def forget_runs(self) -> None:
        """Delete what other runs wrote for this model."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.is_dir() and path.name != self.run:
                shutil.rmtree(path, ignore_errors=True)

    def _read(self) -> _Index:
        files = list(self._read_files())
        keys = np.concatenate([np.zeros((0, self._row["key"].shape[0]), np.uint64), *(rows["key"] for rows in files)])
        positions = [np.stack([np.full(len(rows), n), np.arange(len(rows))], axis=1) for n, rows in enumerate(files)]
        order = np.argsort(keys[:, 0], kind="stable")
        return _Index(files, keys[order], np.concatenate([np.zeros((0, 2), np.int64), *positions])[order])

    def _read_files(self) -> Iterator[NDArray[np.void]]:
        """Yield the rows of every file that is as it was written; delete the others and warn once."""
        damaged = []
        for path in sorted(self._folder.rglob("*.npy")):
            try:
                complete = hash_file(path) == path.stem.rpartition("-")[2]
                rows = np.load(path, mmap_mode="r", allow_pickle=False) if complete else None
            except FileNotFoundError:
                # Another process deleted it.
                continue
            except (OSError, ValueError):
                rows = None
            if rows is not None and rows.dtype == self._row and rows.ndim == 1:
                yield rows
                continue
            damaged.append(path)
            with suppress(OSError):
                path.unlink()
        if damaged:
            _logger.warning(
                "cache %s: %d damaged %s, such as %s; their rows are computed again",
                self._folder,
                len(damaged),
                "file" if len(damaged) == 1 else "files",
                damaged[0],
            )


def find_unused(root: Path, unused_since: float, max_bytes: int) -> list[tuple[Path, str]]:
    """Return what may be deleted of a cache, with the reason: models that were not used lately, then the oldest files.

    Only what is named like a model, and in it what is named like a file of a cache, is looked at.

    Args:
        root: of the cache; need not exist.
        unused_since: seconds since 1970; a model whose last use was earlier may go.
        max_bytes: size of what stays; of several files, those that were written first may go.
    """
    if root.is_symlink() or not root.is_dir():
        return []
    models = [path for path in sorted(root.iterdir()) if _MODEL.fullmatch(path.name) and not path.is_symlink()]
    unused = [path for path in models if path.stat().st_mtime < unused_since]
    found = [(path, "not used by any night since") for path in unused]
    states = [
        (path.stat(), path)
        for model in models
        if model not in unused
        for path in sorted(model.rglob("*.npy"))
        if _FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
    total = sum(state.st_size for state, _ in states)
    for state, path in sorted(states, key=lambda each: (each[0].st_mtime_ns, each[1])):
        if total <= max_bytes:
            break
        total -= state.st_size
        found.append((path, f"the cache is larger than {max_bytes / 1e6:,.0f} MB"))
    return found
