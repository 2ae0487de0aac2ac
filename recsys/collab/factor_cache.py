"""Users' factors on disk: a history that was folded in last night is not folded in again."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from recsys.storage.array_cache import ArrayCache
from recsys.storage.compilation import compiled

_KEY_WORDS = 2


class FactorCache:
    """Factors by the hash of the history they were solved from, for one model, from one night to the next.

    A night writes one file per shard, `FOLDER/MODEL/RUN/SHARD-HASH.npy`, with all users of the shard, so the files of
    one night are all that the next night needs. `ArrayCache` describes what happens to files that cannot be read or
    written.

    Attributes:
        known: number of users whose factors were looked up.
        solved: number of users whose factors had to be solved for.
    """

    def __init__(self, folder: Path, model: str, size: int, run: str) -> None:
        """Open a cache.

        Args:
            folder: created when the first file is written.
            model: `AlsModel.digest`.
            size: numbers in a user's factors.
            run: names what this night writes, such as its run date.
        """
        self.folder, self.run = folder, run
        self._cache = ArrayCache(folder, model, _KEY_WORDS, size, run)
        # Blocks of one shard come from several threads.
        self._lock = Lock()
        self._kept: list[tuple[NDArray[np.uint64], NDArray[np.float32]]] = []
        self.known = self.solved = 0

    def look_up(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (n_users, size) float32 factors and (n_users) bool, whose are known; the others are 0.

        Args:
            keys: (n_users, 2) from `hash_histories`.
        """
        return self._cache.look_up(keys)

    def keep(self, keys: NDArray[np.uint64], factors: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
        """Hold the factors of a block of users until `write`, and count how many were known."""
        with self._lock:
            self._kept.append((keys, factors.copy()))
            self.known += int(known.sum())
            self.solved += int((~known).sum())

    def write(self, shard: int) -> None:
        """Write what was kept since the last call as the file of a shard."""
        with self._lock:
            kept, self._kept = self._kept, []
        if kept:
            keys, factors = (np.concatenate(blocks) for blocks in zip(*kept, strict=True))
            self._cache.write(keys, factors, f"{shard:05d}")

    def forget_others(self, models: int = 1) -> None:
        """Delete what this night did not write: files of other nights and of other models.

        Args:
            models: number of models that make tonight's lists; of the others' files, those used last stay.
        """
        self._cache.forget_models(models)
        self._cache.forget_runs()


def hash_histories(
    starts: NDArray[np.int64], items: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.uint64]:
    """Return (n_users, 2) uint64, a 128-bit hash of each history, entry by entry.

    Args:
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32; an entry below 0 does not count.
        weights: (n_entries) float32.
    """
    keys = np.empty((len(starts) - 1, _KEY_WORDS), dtype=np.uint64)
    _hash_entries(starts, items, np.ascontiguousarray(weights).view(np.uint32), keys)
    return keys


@compiled()
def _mix(value):  # type: ignore[no-untyped-def]
    """Spread each bit over all others (the finaliser of SplitMix64: Steele, Lea, Flood 2014, OOPSLA)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled()
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
