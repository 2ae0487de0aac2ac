"""The outputs of a night: each one that does not hold the night yet is filled.

    lists     the folder of parquet files, with `lists.jsonl` and `lists.csv` where they are configured
    files     those two files, where the lists were published without them
    pointer   `CURRENT`, which readers follow
    table     the PostgreSQL table, where one is configured

The steps run in this order. Each is idempotent: after a failure the next run fills what is missing, and a run that
finds everything in place does no work. A night is identified by everything that its lists depend on, not by its date
alone: another champion, snapshot or setting for the same date fills every output again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from recsys.artifacts.night_samples import link_samples
from recsys.artifacts.postgres import find_database, upsert_lists
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
from recsys.errors import ArtifactError
from recsys.progress import log_stage, logger
from recsys.storage.access import let_readers_in
from recsys.storage.addresses import CONNECTION_LIMITS
from recsys.storage.files import hash_text
from recsys.storage.folders import read_manifest, write_folder
from recsys.storage.home import list_folder

# The number of the champion's entry in the promotion log: a note in the manifest, not a part of what the lists are.
PROMOTION = "promotion"
# Why somebody accepted a loss of users or rows; a note too.
ACCEPTED = "accepted"
_NOTES = (PROMOTION, ACCEPTED)
# PostgreSQL cuts off longer names without an error.
_NAME_BYTES = 63


@dataclass(frozen=True)
class Night:
    """One night's lists.

    Attributes:
        run_date: YYYY-MM-DD.
        facts: everything that the bytes of the lists depend on; the manifest repeats it.
    """

    run_date: str
    facts: Mapping[str, Any]


class Output(Protocol):
    """One output that a night's lists are written to."""

    def holds(self, night: Night) -> bool:
        """Return whether the output already holds this night."""

    def fill(self, night: Night) -> None:
        """Write this night.

        Raises:
            RecsysError: it cannot be written; the output is unchanged.
        """


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
        files = _read_manifest(self.home, night.run_date)["files"]
        return {name for name in files if name.startswith("lists.")} == {f"lists.{kind}" for kind in self.kinds}

    def fill(self, night: Night) -> None:
        """Replace the folder by one with the same parquet files and these files."""
        folder, parts = list_folder(self.home, night.run_date), find_parts(self.home, night.run_date)
        facts = {name: value for name, value in _read_manifest(self.home, night.run_date).items() if name != "files"}

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
            logger.info("readers follow %s now", night.run_date)


@dataclass(frozen=True)
class Table:
    """The lists in a PostgreSQL table, and in TABLE_night the row that identifies them.

    TABLE_night has one row: `run_date`, `lists` (the hash of `hash_lists`) and `rows`. It is written in the transaction
    that writes the lists, so the two always belong together. The table follows the pointer: a later run date that it
    holds stays only while readers do not follow the night.

    Attributes:
        home: the folder that everything is written to.
        name: of the table, or schema.table.
    """

    home: Path
    name: str

    def holds(self, night: Night) -> bool:
        """Return whether the table has all rows of this night, or lists of a later run date that may stay.

        Raises:
            ArtifactError: the database cannot be reached, or it refuses.
        """
        url, lists = find_database(self.name), hash_lists(self.home, night.run_date)
        import psycopg

        try:
            with psycopg.connect(url) as connection, connection.cursor() as cursor:
                run_date, rows = _look_up(cursor, self.name, "max(run_date), count(*)") or (None, 0)
                if run_date is not None and run_date > date.fromisoformat(night.run_date):
                    if not self._is_followed(night):
                        logger.info("table %s: holds the later run date %s", self.name, run_date)
                        return True
                    logger.warning(
                        "table %s: holds run date %s, but readers follow %s; its rows are replaced",
                        *(self.name, run_date, night.run_date),
                    )
                expected = (date.fromisoformat(night.run_date), lists, rows)
                return _look_up(cursor, _name_record(self.name), "run_date, lists, rows") == expected
        except psycopg.Error as error:
            raise _explain(self.name, error, "run the same night again; the table is unchanged") from error

    def fill(self, night: Night) -> None:
        """Replace the rows of the table by those of this night, in one transaction."""
        with log_stage(f"table {self.name}") as done:
            parts = find_parts(self.home, night.run_date)
            rows = upsert_lists(
                parts,
                night.run_date,
                self.name,
                lambda cursor: self._record(cursor, night),
                replace_later=self._is_followed(night),
            )
            done(f"{rows:,} rows")

    def _is_followed(self, night: Night) -> bool:
        return find_followed(self.home).run_date == night.run_date

    def _record(self, cursor: Any, night: Night) -> None:
        from psycopg import sql

        table, record = (sql.Identifier(*name.split(".")) for name in (self.name, _name_record(self.name)))
        cursor.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (run_date date NOT NULL, lists text NOT NULL, rows bigint NOT NULL)"
            ).format(record)
        )
        cursor.execute(sql.SQL("DELETE FROM {}").format(record))
        cursor.execute(
            sql.SQL("INSERT INTO {} SELECT %s, %s, count(*) FROM {}").format(record, table),
            [date.fromisoformat(night.run_date), hash_lists(self.home, night.run_date)],
        )


def list_outputs(lists: ListFolder, table: str | None) -> list[Output]:
    """Return a night's outputs in the order in which they are filled."""
    others = list_other_outputs(lists.home, lists.kinds, table, lists.latest)
    # Readers of the pointer and of the table move together or not at all.
    return [lists, *(others if lists.follow else others[:1])]


def list_other_outputs(home: Path, kinds: Sequence[str], table: str | None, latest: str | None = None) -> list[Output]:
    """Return the outputs that are filled from published lists, in order: files, pointer, table."""
    outputs: list[Output] = [ListFiles(home, kinds), Pointer(home, latest)]
    if table is not None:
        outputs.append(Table(home, table))
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


def check_table(table: str | None) -> None:
    """Check, before any list is made, that a table can be written to.

    Raises:
        ArtifactError: psycopg or the database's address is missing, or the name is too long.
    """
    if table is not None:
        find_database(table)
        _name_record(table)


def find_table_run_date(table: str) -> str | None:
    """Return the run date of the lists that a table holds; None: it is empty or does not exist.

    Raises:
        ArtifactError: psycopg or the database's address is missing, or the database cannot be reached.
    """
    url = find_database(table)
    import psycopg

    try:
        with psycopg.connect(url, **CONNECTION_LIMITS) as connection, connection.cursor() as cursor:
            (run_date,) = _look_up(cursor, table, "max(run_date)") or (None,)
    except psycopg.Error as error:
        raise _explain(table, error, "run again") from error
    return run_date.isoformat() if run_date else None


def clear_shards(home: Path, night: Night) -> None:
    """Delete the shards of a night that was killed right after it was published."""
    open_shards(home, night.run_date, night.facts).remove()


def hash_lists(home: Path, run_date: str, next_step: str | None = None) -> str:
    """Return the SHA-256 that identifies published lists: their facts and parquet files, whatever else was written.

    Raises:
        ArtifactError: the run date is not published.
    """
    manifest = _read_manifest(home, run_date, next_step)
    parts = {name: digest for name, digest in manifest["files"].items() if _is_part(name)}
    facts = {name: value for name, value in manifest.items() if name not in _NOTES}
    return hash_text(json.dumps({**facts, "files": parts}, sort_keys=True, ensure_ascii=False))


def _read_manifest(home: Path, run_date: str, next_step: str | None = None) -> dict[str, Any]:
    return read_manifest(list_folder(home, run_date), next_step or f"run 'recsys generate --run-date {run_date}'")


def _is_part(name: str) -> bool:
    return name.startswith("part-")


def _explain(table: str, error: Exception, next_step: str) -> ArtifactError:
    message = str(error).strip().partition("\n")[0] or type(error).__name__
    return ArtifactError(f"table {table}: {message}; fix the database or RECSYS_LISTS_URL, then {next_step}")


def _name_record(table: str) -> str:
    """Return the name of the table that identifies the lists of a table."""
    name = f"{table}_night"
    if len(name.rpartition(".")[2].encode()) > _NAME_BYTES:
        raise ArtifactError(
            f"table {table}: its companion {name} is longer than the {_NAME_BYTES} bytes that PostgreSQL allows; give "
            "generation.postgres_table a shorter name"
        )
    return name


def _look_up(cursor: Any, table: str, columns: str) -> tuple[Any, ...] | None:
    """Return the first row of a table; None where there is no such table or no row."""
    from psycopg import sql

    name = sql.Identifier(*table.split("."))
    (known,) = cursor.execute("SELECT to_regclass(%s)", [name.as_string(cursor)]).fetchone()
    if known is None:
        return None
    row: tuple[Any, ...] | None = cursor.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(columns), name)).fetchone()
    return row
