"""A home that was moved or copied: its own MLflow store must name its own folders.

MLflow records where artifacts are as absolute addresses. In a copied home these are the folders of the original, which
would be read, and written to, from then on. The store is therefore corrected before it is first used in a new place.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from recsys.errors import RegistryError
from recsys.storage.home import mlflow_artifacts_folder, mlflow_database

logger = logging.getLogger(__name__)

# Columns of MLflow's tables that hold addresses of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def correct_places(home: Path) -> None:
    """Let the home's MLflow store name the home's own folders, all in one transaction.

    Raises:
        RegistryError: the home was moved or copied, and its store cannot be written.
    """
    database = mlflow_database(home)
    if not database.is_file():
        return
    folder = mlflow_artifacts_folder(home.resolve()).as_uri()
    try:
        with closing(sqlite3.connect(database, timeout=20, isolation_level=None)) as store:
            if not _find_others(store, folder):
                return
            store.execute("BEGIN IMMEDIATE")
            # Another process may have done it meanwhile.
            others = _find_others(store, folder)
            for other in others:
                _rename(store, other, folder)
            store.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return
        raise RegistryError(
            f"home {home}: was moved or copied, so its MLflow store refers to the old folder, and {database} cannot "
            f"be updated ({error}); make it writable"
        ) from error
    except sqlite3.DatabaseError:
        # Not a database: opening the store gives the reason.
        return
    for other in others:
        logger.info("home %s: was moved or copied from %s; its MLflow store now refers to the new folder", home, other)


def _find_others(store: sqlite3.Connection, folder: str) -> list[str]:
    """Return the folders of artifacts, as named for a home of another place, that experiments are stored in."""
    ours = "/" + folder.rpartition("/")[2]
    rows = store.execute(
        "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE 'file:%'"
    ).fetchall()
    return [location for (location,) in rows if location.endswith(ours) and location != folder]


def _rename(store: sqlite3.Connection, old: str, new: str) -> None:
    known = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column in _PLACES:
        if table in known:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, old + "/"),
            )
