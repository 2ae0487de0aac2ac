"""Finished shards of an unfinished night, kept on disk so that a night that was killed can continue."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.night_samples import link_samples, write_samples
from recsys.storage.files import (
    encode_json,
    hash_file,
    read_json,
    replace_file,
    replace_text,
    scan_parquet,
    write_table,
)
from recsys.tables import Recommendations

_KEY = "key.json"
_NEXT_STEP = (
    "free some space or choose another RECSYS_HOME, then run again: finished shards are kept, and the current lists "
    "remain published"
)


@dataclass(frozen=True)
class ShardFolder:
    """A night's finished shards: `part-NNNNN.parquet` and, for each, a note of its hash and counts.

    A shard whose note is missing or does not match is not finished. Shards and notes appear completely or not at all,
    the note last, so a writer may be killed at any moment.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any]) -> ShardFolder:
        """Open the folder for a night; shards of other inputs are deleted.

        Args:
            folder: created where it does not exist.
            key: everything that the shards' bytes depend on.
        """
        if not (shards := cls(folder)).belongs_to(key):
            # A file in place of the folder is no shard either.
            if folder.is_file():
                folder.unlink()
            shutil.rmtree(folder, ignore_errors=True)
            replace_text(folder / _KEY, encode_json(dict(key)))
        return shards

    def belongs_to(self, key: Mapping[str, Any]) -> bool:
        """Return whether the folder was opened for a night with this key."""
        written = self.folder / _KEY
        return written.is_file() and written.read_bytes() == encode_json(dict(key)).encode()

    def find_finished(self) -> dict[int, dict[str, int]]:
        """Return the counts of each finished shard by its number; the other shards have to be made."""
        finished = {}
        for path in sorted(self.folder.glob("part-*.json")):
            try:
                number, note = int(path.stem.removeprefix("part-")), read_json(path)
                counts = dict(note["counts"])
                complete = hash_file(path.with_suffix(".parquet")) == note["hash"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if complete:
                finished[number] = counts
        return finished

    def write(
        self,
        number: int,
        lists: pl.DataFrame,
        counts: Mapping[str, int],
        what: str,
        samples: Mapping[str, pl.DataFrame] | None = None,
    ) -> None:
        """Write a shard's `Recommendations`, what the monitor samples of it, and then the note that it is finished.

        Args:
            number: of the shard.
            lists: `Recommendations`.
            counts: what `find_finished` returns for it.
            what: names the shard in messages.
            samples: tables of `night_samples`, by name.

        Raises:
            ArtifactError: the disk is full or the folder cannot be written; shards finished before are kept.
        """
        shard = self.folder / f"part-{number:05d}.parquet"
        with replace_file(shard, _NEXT_STEP) as staging:
            write_table(lists, Recommendations, staging, what)
            digest = hash_file(staging)
        write_samples(self.folder, number, samples or {}, _NEXT_STEP)
        with replace_file(shard.with_suffix(".json"), _NEXT_STEP) as staging:
            staging.write_text(encode_json({"hash": digest, "counts": dict(counts)}), encoding="utf-8")

    def scan(self) -> pl.LazyFrame:
        """Return the `Recommendations` of all shards, in order, not read yet."""
        return scan_parquet(self._shards())

    def link_into(self, folder: Path) -> None:
        """Link all shards into another folder of the same file system; they stay here too."""
        for shard in self._shards():
            os.link(shard, folder / shard.name)
        link_samples(self.folder, folder)

    def remove(self) -> None:
        """Delete the shards."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))
