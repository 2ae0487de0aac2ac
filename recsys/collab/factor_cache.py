"""Users' factors on disk: a history that was folded in last night is not folded in again."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from uuid import uuid4

import numpy as np
from numba import njit
from numpy.typing import NDArray

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """What earlier files hold, sorted by the first half of the key.

    Attributes:
        files: each (n_rows) of `key` and `factors`, left on disk.
        keys: (n_known, 2) uint64.
        places: (n_known, 2) int64, file and row.
    """

    files: list[NDArray[np.void]]
    keys: NDArray[np.uint64]
    places: NDArray[np.int64]


class FactorCache:
    """Factors by the hash of the history they were solved from, for one model, from one night to the next.

    A night writes a file for every shard, `FOLDER/MODEL/RUN/NUMBER-HASH.npy`, with all users of the shard, so that the
    files of one night are all that the next one needs. A file is whole or known not to be. It is only a cache: what
    cannot be read or written costs time, never a night, and no list depends on it.

    Args:
        folder: made when the first file is written.
        model: digest of the model; the factors of another are of no use.
        size: numbers of a user's factors.
        run: names what this night writes, such as its run date.
    """

    def __init__(self, folder: Path, model: str, size: int, run: str) -> None:
        self.folder, self.run = folder, run
        self._model = model
        self._row = np.dtype([("key", np.uint64, 2), ("factors", np.float32, size)])
        # Blocks of one shard come from several threads.
        self._lock = Lock()
        self._used: list[NDArray[np.void]] = []
        self.found = self.solved = 0

    def look_up(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (n_users, size) float32 factors and (n_users) bool, whose are known; the others are 0.

        Args:
            keys: (n_users, 2) from `hash_histories`.
        """
        factors = np.zeros((len(keys), *self._row["factors"].shape), dtype=np.float32)
        known = self._known
        if not len(known.keys):
            return factors, np.zeros(len(keys), dtype=bool)
        at = np.searchsorted(known.keys[:, 0], keys[:, 0]).clip(max=len(known.keys) - 1)
        found = (known.keys[at] == keys).all(axis=1)
        for number in np.unique(known.places[at[found], 0]):
            here = found & (known.places[at, 0] == number)
            factors[here] = known.files[number]["factors"][known.places[at[here], 1]]
        return factors, found

    def keep(self, keys: NDArray[np.uint64], factors: NDArray[np.float32], found: NDArray[np.bool_]) -> None:
        """Remember the factors of some users of the shard at hand until `write`, and how many had been found."""
        rows = np.empty(len(keys), dtype=self._row)
        rows["key"], rows["factors"] = keys, factors
        with self._lock:
            self._used.append(rows)
            self.found += int(found.sum())
            self.solved += int((~found).sum())

    def write(self, number: int) -> None:
        """Write what was kept since the last time as the file of a shard, at once or not at all."""
        with self._lock:
            used, self._used = self._used, []
        if not used:
            return
        rows = np.concatenate(used)
        # Equal histories have equal factors; sorted, the bytes do not depend on who was first.
        rows = rows[np.lexsort((rows["key"][:, 1], rows["key"][:, 0]))]
        rows = rows[np.concatenate([[True], (rows["key"][1:] != rows["key"][:-1]).any(axis=1)])]
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        name = f"{number:05d}-{hashlib.sha256(content.getbuffer()).hexdigest()}"
        folder = self.folder / self._model / self.run
        # Processes in two containers may have one number, so that does not tell them apart.
        staging = folder / f".{name}.{uuid4().hex}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            staging.write_bytes(content.getbuffer())
            staging.replace(folder / f"{name}.npy")
        except OSError as error:
            with suppress(OSError):
                staging.unlink()
            _logger.warning(
                "factors of users: %s cannot be written (%s), so the next night solves for them again; free some space "
                "or choose another RECSYS_HOME",
                folder,
                error.strerror,
            )

    def forget_others(self) -> None:
        """Delete what this night has not written: of other nights, and of other models."""
        for path in (*self.folder.glob("*"), *(self.folder / self._model).glob("*")):
            if path.is_dir() and path not in (self.folder / self._model, self.folder / self._model / self.run):
                shutil.rmtree(path, ignore_errors=True)

    @cached_property
    def _known(self) -> _Known:
        files = []
        for path in sorted((self.folder / self._model).glob("*/*.npy")):
            try:
                with path.open("rb") as file:
                    whole = hashlib.file_digest(file, "sha256").hexdigest() == path.stem.partition("-")[2]
                rows = np.load(path, mmap_mode="r", allow_pickle=False) if whole else None
            except (OSError, ValueError):
                rows = None
            if rows is None or rows.dtype != self._row or rows.ndim != 1:
                _logger.warning("factors of users: %s is not as it was written; its users are solved for again", path)
                continue
            files.append(rows)
        keys = np.concatenate([np.zeros((0, 2), dtype=np.uint64), *(rows["key"] for rows in files)])
        places = np.concatenate(
            [np.zeros((0, 2), dtype=np.int64)]
            + [np.stack([np.full(len(rows), place), np.arange(len(rows))], axis=1) for place, rows in enumerate(files)]
        )
        order = np.argsort(keys[:, 0], kind="stable")
        return _Known(files, keys[order], places[order])


def hash_histories(
    starts: NDArray[np.int64], items: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.uint64]:
    """Return (n_users, 2) uint64, equal where histories are (entry by entry), and for all we know only there.

    Args:
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32; an entry below 0 does not count.
        weights: (n_entries) float32.
    """
    keys = np.empty((len(starts) - 1, 2), dtype=np.uint64)
    _hash_entries(starts, items, np.ascontiguousarray(weights).view(np.uint32), keys)
    return keys


@njit(nogil=True, cache=True)
def _mix(value):  # type: ignore[no-untyped-def]
    """Spread each bit over all others (the finaliser of SplitMix64: Steele, Lea, Flood 2014, OOPSLA)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True)
def _hash_entries(starts, items, bits, keys):  # type: ignore[no-untyped-def]
    for user in range(len(starts) - 1):
        first, second = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
        for entry in range(starts[user], starts[user + 1]):
            if items[entry] < 0:
                continue
            word = (np.uint64(items[entry]) << np.uint64(32)) | np.uint64(bits[entry])
            first = _mix(first ^ word)
            second = _mix(second + _mix(word))
        keys[user, 0], keys[user, 1] = first, second
