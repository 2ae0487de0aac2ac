"""The outputs of a night: each one that does not hold the night yet is filled.

    lists     the folder of parquet files, with `lists.jsonl` and `lists.csv` where they are configured
    files     those two files, where the lists were published without them
    pointer   `CURRENT`, which readers follow
    table     the PostgreSQL table, where one is configured
    store     the object store or shared folder, where one is configured

The steps run in this order. Each is idempotent: after a failure the next run fills what is missing, and a run that
finds everything in place does no work. A night is identified by everything that its lists depend on, not by its date
alone: another champion, snapshot or setting for the same date fills every output again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recsys.artifacts.night import Night, Output, read_night_manifest
from recsys.artifacts.night_samples import link_samples
from recsys.artifacts.recommendations import (
    find_followed,
    find_parts,
    is_published,
    move_readers,
    open_shards,
    publish,
    write_outputs,
)
from recsys.artifacts.shards import ShardFolder
from recsys.artifacts.store_output import Store
from recsys.artifacts.table_output import Table
from recsys.config.serving import GenerationConfig
from recsys.progress import log_stage, logger
from recsys.storage.access import let_readers_in
from recsys.storage.folders import write_folder
from recsys.storage.home import list_folder


@dataclass(frozen=True)
class ListFolder:
    """The published folder of the run date.

    Attributes:
        home: the folder that everything is written to.
        name: of the config.
        kinds: `jsonl`, `csv`: written in the same step, so readers never see the lists without them.
        make: makes the night's shards and returns them with further facts for the manifest, such as their counts; it
            refuses lists that are unfit.
        follow: False leaves readers on the lists that they follow.
        latest: the last plausible run date of the pointer, YYYY-MM-DD; None: any.
    """

    home: Path
    name: str
    kinds: Sequence[str]
    make: Callable[[Night], tuple[ShardFolder, Mapping[str, Any]]]
    follow: bool = True
    latest: str | None = None

    def holds(self, night: Night) -> bool:
        """Return whether the run date is published with these facts, and every file has its hash."""
        return is_published(self.home, night.run_date, night.facts) is not None

    def fill(self, night: Night) -> None:
        """Make the lists, publish them and move the pointer."""
        shards, facts = self.make(night)

        def write(folder: Path) -> Mapping[str, Any]:
            shards.link_into(folder)
            write_outputs(folder, self.kinds)
            return facts

        publish(self.home, self.name, night.run_date, write, night.facts, follow=self.follow, latest=self.latest)
        shards.remove()


@dataclass(frozen=True)
class ListFiles:
    """`lists.jsonl` and `lists.csv` of the published folder: exactly those that are configured.

    Attributes:
        home: the folder that everything is written to.
        kinds: `jsonl`, `csv`.
    """

    home: Path
    kinds: Sequence[str]

    def holds(self, night: Night) -> bool:
        """Return whether the manifest lists these files and no others; its hashes were checked with the lists."""
        files = read_night_manifest(self.home, night.run_date)["files"]
        return {name for name in files if name.startswith("lists.")} == {f"lists.{kind}" for kind in self.kinds}

    def fill(self, night: Night) -> None:
        """Replace the folder by one with the same parquet files and these files."""
        folder, parts = list_folder(self.home, night.run_date), find_parts(self.home, night.run_date)
        facts = {
            name: value for name, value in read_night_manifest(self.home, night.run_date).items() if name != "files"
        }

        def write(staging: Path) -> None:
            for part in parts:
                os.link(part, staging / part.name)
            link_samples(folder, staging)
            write_outputs(staging, self.kinds)

        with log_stage(f"files of {night.run_date}") as done:
            write_folder(folder, write, facts, partial(let_readers_in, self.home))
            done(", ".join(self.kinds) or "removed")


@dataclass(frozen=True)
class Pointer:
    """The pointer that readers follow; it moves back in time only where it is not trusted.

    Attributes:
        home: the folder that everything is written to.
        latest: the last plausible run date, YYYY-MM-DD; None: any.
    """

    home: Path
    latest: str | None = None

    def holds(self, night: Night) -> bool:
        """Return whether readers follow this run date or a later one, whose lists are whole."""
        current = find_followed(self.home, self.latest).run_date
        return current is not None and current >= night.run_date

    def fill(self, night: Night) -> None:
        """Point readers at this run date."""
        if move_readers(self.home, night.run_date, self.latest):
            logger.info("readers now follow %s", night.run_date)


def list_outputs(lists: ListFolder, settings: GenerationConfig) -> list[Output]:
    """Return a night's outputs in the order in which they are filled."""
    others = list_other_outputs(lists.home, settings, lists.latest)
    # Readers of the pointer, of the table and of the store move together or not at all.
    return [lists, *(others if lists.follow else others[:1])]


def list_other_outputs(home: Path, settings: GenerationConfig, latest: str | None = None) -> list[Output]:
    """Return the outputs that are filled from published lists, in order: files, pointer, table, store."""
    outputs: list[Output] = [ListFiles(home, settings.outputs), Pointer(home, latest)]
    if settings.postgres_table is not None:
        outputs.append(Table(home, settings.postgres_table))
    if settings.publish_to is not None:
        outputs.append(Store(home, settings.publish_to, settings.keep_run_dates))
    return outputs


def fill_outputs(outputs: Sequence[Output], night: Night) -> list[Output]:
    """Fill every output that does not hold the night, in order, and return those that were filled.

    Raises:
        RecsysError: an output cannot be read or filled; those before it hold the night, those after it are unchanged.
    """
    filled = []
    for output in outputs:
        if not output.holds(night):
            output.fill(night)
            filled.append(output)
    return filled


def clear_shards(home: Path, night: Night) -> None:
    """Delete the shards of a night that was killed right after it was published."""
    open_shards(home, night.run_date, night.facts).remove()
