"""The PostgreSQL table as an output of a night, with the companion table that identifies its lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from recsys.artifacts.night import Night, hash_lists
from recsys.artifacts.postgres import find_database, upsert_lists
from recsys.artifacts.recommendations import find_followed, find_parts
from recsys.errors import ArtifactError
from recsys.progress import format_count, log_stage, logger
from recsys.storage.addresses import CONNECTION_LIMITS, Address
from recsys.storage.folders import MANIFEST
from recsys.storage.home import list_folder

# PostgreSQL cuts off longer names without an error.
_NAME_BYTES = 63


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
                        logger.info("table %s: contains the later run date %s", self.name, run_date)
                        return True
                    logger.warning(
                        "table %s: contains run date %s, but readers follow %s; its rows are replaced",
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
            done(f"{format_count(rows, 'row')}")

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


def _explain(table: str, error: Exception, next_step: str) -> ArtifactError:
    # The driver repeats parts of an address that it cannot read, such as a password with a slash.
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    message = Address.parse(find_database(table)).clean(reason)
    return ArtifactError(f"table {table}: {message}; fix the database or RECSYS_LISTS_URL, then {next_step}")


def _name_record(table: str) -> str:
    """Return the name of the table that identifies the lists of a table."""
    name = f"{table}_night"
    if len(name.rpartition(".")[2].encode()) > _NAME_BYTES:
        raise ArtifactError(
            f"table {table}: the name of its companion table, {name}, is longer than the {_NAME_BYTES} bytes that "
            "PostgreSQL allows; give "
            "generation.postgres_table a shorter name"
        )
    return name


def _is_there(cursor: Any, table: str) -> bool:
    from psycopg import sql

    name = sql.Identifier(*table.split("."))
    (known,) = cursor.execute("SELECT to_regclass(%s)", [name.as_string(cursor)]).fetchone()
    return known is not None


def _look_up(cursor: Any, table: str, columns: str) -> tuple[Any, ...] | None:
    """Return the first row of a table; None where there is no such table or no row."""
    from psycopg import sql

    name = sql.Identifier(*table.split("."))
    if not _is_there(cursor, table):
        return None
    row: tuple[Any, ...] | None = cursor.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(columns), name)).fetchone()
    return row


def count_users(table: str, ids: Sequence[str]) -> int:
    """Return how many rows of a table are of some users.

    Raises:
        ArtifactError: psycopg or the database's address is missing, or the database cannot be reached.
    """
    url = find_database(table)
    import psycopg
    from psycopg import sql

    query = sql.SQL("SELECT count(*) FROM {} WHERE user_id = ANY(%s)").format(sql.Identifier(*table.split(".")))
    try:
        with psycopg.connect(url, **CONNECTION_LIMITS) as connection, connection.cursor() as cursor:
            if not _is_there(cursor, table):
                return 0
            (rows,) = cursor.execute(query, [list(ids)]).fetchone() or (0,)
            return int(rows)
    except psycopg.Error as error:
        raise _explain(table, error, "run again") from error


def remove_users(home: Path, table: str, ids: Sequence[str]) -> int:
    """Delete users' rows from a table, record the lists as they are now, and return how many rows were deleted.

    Args:
        home: has the lists of the table's run date, already without the users.
        table: its name.
        ids: of the users.

    Raises:
        ArtifactError: psycopg or the database's address is missing, or the database cannot be reached or refuses; the
            table is unchanged.
    """
    url = find_database(table)
    import psycopg
    from psycopg import sql

    name, record = (sql.Identifier(*each.split(".")) for each in (table, _name_record(table)))
    try:
        with psycopg.connect(url, **CONNECTION_LIMITS) as connection, connection.cursor() as cursor:
            if not _is_there(cursor, table):
                return 0
            deleted = cursor.execute(sql.SQL("DELETE FROM {} WHERE user_id = ANY(%s)").format(name), [list(ids)])
            rows = int(deleted.rowcount)
            held = _look_up(cursor, _name_record(table), "run_date")
            if held is not None and (list_folder(home, held[0].isoformat()) / MANIFEST).is_file():
                cursor.execute(
                    sql.SQL("UPDATE {} SET lists = %s, rows = (SELECT count(*) FROM {})").format(record, name),
                    [hash_lists(home, held[0].isoformat())],
                )
            return rows
    except psycopg.Error as error:
        raise _explain(table, error, "run again") from error
