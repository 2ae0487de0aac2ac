"""Lists in a PostgreSQL table: readers see all of tonight's lists or all of last night's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from recsys.errors import ArtifactError
from recsys.extras import needs_extra
from recsys.storage.addresses import CONNECTION_LIMITS, Address
from recsys.storage.files import read_parquet

URL = "RECSYS_LISTS_URL"
_COLUMNS = {
    "user_id": "text NOT NULL",
    "rank": "smallint NOT NULL",
    "item_id": "text NOT NULL",
    "score": "real NOT NULL",
    "sources": "text[] NOT NULL",
    "reason": "text NOT NULL",
    "variant": "text NOT NULL",
    "model_version": "text NOT NULL",
    "run_date": "date NOT NULL",
}
_KEY = ("user_id", "rank")


def find_database(table: str) -> str:
    """Return the URL of the database for a table, without connecting to it.

    Raises:
        ArtifactError: psycopg is not installed, or `RECSYS_LISTS_URL` is not set.
    """
    _import_psycopg()
    if url := os.environ.get(URL):
        return url
    raise ArtifactError(
        f"table {table}: {URL} is not set; give it as postgresql://user:password@host:port/database, or remove "
        "generation.postgres_table"
    )


def upsert_lists(
    parts: Sequence[Path],
    run_date: str,
    table: str,
    record: Callable[[Any], None] = lambda cursor: None,
    *,
    replace_later: bool = False,
) -> int:
    """Write a run date's `Recommendations` into a table, in one transaction, and return how many rows it holds.

    The table is created if it does not exist. A user's rows are replaced, and rows of users without a list now are
    deleted, so the table holds the lists of one run date. A table that holds a later run date is left unchanged, unless
    that is asked for.

    Args:
        parts: parquet files, read one after the other.
        run_date: YYYY-MM-DD.
        table: name, or schema.name; the database is the one that `RECSYS_LISTS_URL` names.
        record: writes the identity of these lists in the same transaction; not called if the table keeps a later run
            date.
        replace_later: replace the rows of a later run date too.

    Raises:
        ArtifactError: psycopg is not installed, `RECSYS_LISTS_URL` is not set, or the database cannot be reached or
            rejects the rows; the table is unchanged.
    """
    url = find_database(table)
    psycopg, sql = _import_psycopg()
    name = sql.Identifier(*table.split("."))
    try:
        with psycopg.connect(url, **CONNECTION_LIMITS) as connection, connection.cursor() as cursor:
            key = sql.SQL(", ").join(map(sql.Identifier, _KEY))
            cursor.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(name, _define_columns(sql), key)
            )
            # Two writers would deadlock row by row; readers are not blocked.
            cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(name))
            cursor.execute(sql.SQL("SELECT max(run_date) FROM {}").format(name))
            (newest,) = cursor.fetchone()
            if newest is not None and newest > date.fromisoformat(run_date) and not replace_later:
                return _count(cursor, sql, name)
            _copy(cursor, sql, parts, run_date)
            _replace(cursor, sql, name, key)
            record(cursor)
            return _count(cursor, sql, name)
    except psycopg.Error as error:
        reason = Address.parse(url).clean((str(error).strip() or type(error).__name__).splitlines()[0])
        raise ArtifactError(
            f"table {table}: {reason}; fix the database or {URL}, then run the same night again; the table is unchanged"
        ) from error


def _define_columns(sql: Any) -> Any:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in _COLUMNS.items()
    )


def _copy(cursor: Any, sql: Any, parts: Sequence[Path], run_date: str) -> None:
    cursor.execute(sql.SQL("CREATE TEMPORARY TABLE tonight ({}) ON COMMIT DROP").format(_define_columns(sql)))
    with cursor.copy("COPY tonight FROM STDIN") as copy:
        copy.set_types([kind.split()[0] for kind in _COLUMNS.values()])
        day = date.fromisoformat(run_date)
        for part in parts:
            lists = read_parquet(part, [name for name in _COLUMNS if name != "run_date"])
            for row in lists.iter_rows():
                copy.write_row((*row, day))


def _replace(cursor: Any, sql: Any, name: Any, key: Any) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    others = [column for column in _COLUMNS if column not in _KEY]
    changes = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in others)
    cursor.execute("CREATE INDEX ON tonight (user_id, rank)")
    cursor.execute(
        sql.SQL("DELETE FROM {} AS old WHERE NOT EXISTS (SELECT FROM tonight WHERE ({}) = ({}))").format(
            name,
            sql.SQL(", ").join(sql.SQL("tonight.{}").format(sql.Identifier(column)) for column in _KEY),
            sql.SQL(", ").join(sql.SQL("old.{}").format(sql.Identifier(column)) for column in _KEY),
        )
    )
    cursor.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM tonight ON CONFLICT ({}) DO UPDATE SET {}").format(
            name, names, names, key, changes
        )
    )


def _count(cursor: Any, sql: Any, name: Any) -> int:
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
    return int(cursor.fetchone()[0])


def _import_psycopg() -> tuple[Any, Any]:
    with needs_extra("postgres", "generation.postgres_table", ArtifactError, "remove generation.postgres_table"):
        import psycopg
        from psycopg import sql
    return psycopg, sql
