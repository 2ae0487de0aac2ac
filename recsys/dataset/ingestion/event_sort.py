"""Events on disk, read by user in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Events that are read at a time, and events that are moved at a time.
_RANGE_EVENTS, _CHUNK_EVENTS = 2_000_000, 1_000_000


class EventFile:
    """Events in the order of the raw files.

    Each is a record with the field `user`, the number of its user, and others that stay as they are.

    Args:
        folder: an existing scratch folder, for this object alone.
        fields: of a record, as numpy types.
    """

    def __init__(self, folder: Path, fields: list[tuple[str, str]]) -> None:
        self._folder, self._dtype = folder, np.dtype(fields)
        self._path = folder / "events"
        self._path.touch()
        self._counts = np.zeros(0, dtype=np.int64)

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Type of a record."""
        return self._dtype

    @property
    def counts(self) -> NDArray[np.int64]:
        """Events of each user number, as far as there are events."""
        return self._counts

    def append(self, records: NDArray[np.void]) -> None:
        """Add events."""
        with self._path.open("ab") as file:
            records.tofile(file)
        counts = np.bincount(records["user"], minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts

    def read_by_user(self, users: NDArray[np.uint32]) -> Iterator[NDArray[np.void]]:
        """Yield blocks of consecutive users in the given order, the events of a block in the order of the raw files.

        In the blocks `user` is the user's index in that order. Nothing is left of the events afterwards.

        Args:
            users: user numbers in the wanted order; other users have no events.
        """
        index = np.zeros(len(self._counts), dtype=np.uint32)
        index[users] = np.arange(len(users), dtype=np.uint32)
        before = np.cumsum(self._counts[users]) - self._counts[users]
        range_of = (before // _RANGE_EVENTS).astype(np.uint16)
        ranges = np.unique(range_of)
        if len(ranges) > 1:
            self._distribute(index, range_of)
        for number in ranges:
            path = self._range_path(number) if len(ranges) > 1 else self._path
            records = np.fromfile(path, dtype=self._dtype)
            path.unlink()
            if len(ranges) == 1:
                records["user"] = index[records["user"]]
            yield records

    def _range_path(self, number: int) -> Path:
        return self._folder / f"range-{number:05}"

    def _distribute(self, index: NDArray[np.uint32], range_of: NDArray[np.uint16]) -> None:
        """Write each range of users to a file of its own."""
        with self._path.open("rb") as file:
            while len(records := np.fromfile(file, dtype=self._dtype, count=_CHUNK_EVENTS)):
                records["user"] = index[records["user"]]
                parts = range_of[records["user"]]
                records = records[np.argsort(parts, kind="stable")]
                ends = np.cumsum(np.bincount(parts))
                for number in np.unique(parts):
                    start = ends[number - 1] if number else 0
                    with self._range_path(number).open("ab") as target:
                        records[start : ends[number]].tofile(target)
        self._path.unlink()
