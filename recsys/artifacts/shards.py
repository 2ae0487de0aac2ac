"""Shards that are finished before the night is: kept on disk, so that a night that was killed goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import ArtifactError
from recsys.storage.files import hash_file, replace_text, write_table
from recsys.tables import Recommendations

_KEY = "key.json"


@dataclass(frozen=True)
class ShardFolder:
    """A night's finished shards: `part-NNNNN.parquet` with a note of its hash and counts beside each.

    A part whose note is missing or does not fit is not finished. Notes and parts appear whole or not at all, the note
    last, so a writer may be killed at any moment.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, Any]) -> ShardFolder:
        """Open the folder for a night; shards of other inputs are thrown away.

        Args:
            folder: need not be there.
            key: everything that the shards' bytes depend on.
        """
        text = json.dumps(dict(key), sort_keys=True, ensure_ascii=False)
        written = folder / _KEY
        if not written.is_file() or written.read_text(encoding="utf-8") != text:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            replace_text(written, text)
        return cls(folder)

    def find_finished(self) -> dict[int, dict[str, int]]:
        """Return what each finished shard counted, by number; the others are to be done (again)."""
        finished = {}
        for note in sorted(self.folder.glob("part-*.json")):
            part = note.with_suffix(".parquet")
            try:
                said = json.loads(note.read_text(encoding="utf-8"))
                whole = hash_file(part) == said["hash"]
            except (OSError, ValueError, KeyError):
                whole = False
            if whole:
                finished[int(note.stem.removeprefix("part-"))] = said["counts"]
        return finished

    def write(self, number: int, lists: pl.DataFrame, counts: Mapping[str, int], what: str) -> None:
        """Write a shard's `Recommendations` and then the note that it is finished.

        Raises:
            ArtifactError: the disk is full or the folder cannot be written; what was finished before stays.
        """
        part = self.folder / f"part-{number:05d}.parquet"
        staging = part.with_name(f".{part.name}.{os.getpid()}.tmp")
        try:
            write_table(lists, Recommendations, staging, what)
            with staging.open("rb") as file:
                os.fsync(file.fileno())
            digest = hash_file(staging)
            staging.replace(part)
            replace_text(part.with_suffix(".json"), json.dumps({"hash": digest, "counts": counts}, sort_keys=True))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtifactError(
                f"{what}: cannot be written to {self.folder} ({getattr(error, 'strerror', None) or error}); free some "
                "space or choose another RECSYS_HOME, then run again: finished shards are kept, and the lists in place "
                "stay"
            ) from error
        finally:
            with suppress(OSError):
                staging.unlink()

    def link_into(self, folder: Path) -> None:
        """Put all parts into another folder of the same file system; they stay here too."""
        for part in sorted(self.folder.glob("part-*.parquet")):
            os.link(part, folder / part.name)

    def remove(self) -> None:
        """Throw the shards away."""
        shutil.rmtree(self.folder, ignore_errors=True)
