"""Frames that are written to a scratch folder when they become many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

# Rows that stay in memory.
_ROWS = 100_000


class SpilledFrames:
    """Frames with the same columns, in the order in which they were added, most of them on disk.

    Args:
        folder: an existing scratch folder.
        name: of the frames; no others in the folder have it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._files: list[Path] = []
        self._recent: list[pl.DataFrame] = []
        self._recent_rows = 0
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Add a frame."""
        self._recent.append(frame)
        self._recent_rows += frame.height
        self.rows += frame.height
        if self._recent_rows >= _ROWS:
            path = self._folder / f"{self._name}-{len(self._files):05}.arrow"
            pl.concat(self._recent).write_ipc(path)
            self._files.append(path)
            self._recent, self._recent_rows = [], 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the frames, joined to larger ones."""
        for path in self._files:
            yield pl.read_ipc(path.read_bytes())
        if self._recent:
            yield pl.concat(self._recent)
