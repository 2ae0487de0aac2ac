"""What a backup takes from the MLflow store: its database as of one instant, and the files of versions in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse

from mlflow.utils.file_utils import local_file_uri_to_path

from recsys.errors import RegistryError
from recsys.registry.pruned import PRUNED
from recsys.registry.tracking import Store, asking
from recsys.registry.versions import Version, find_address


def copy_database(database: Path, target: Path) -> None:
    """Copy a SQLite database as of one instant, while others write to it.

    Raises:
        RegistryError: it cannot be read, or is damaged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", timeout=20, uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            (state,) = copy.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        raise RegistryError(f"MLflow store {database}: cannot be copied ({error}); nothing was backed up") from error
    if state != "ok":
        raise RegistryError(f"MLflow store {database}: is damaged ({state:.200}); nothing was backed up")


def find_folders(store: Store, version: Version, artifacts: Path) -> tuple[Path, list[Path]]:
    """Return the folder of a version's model, and all folders of its files on this machine, none inside another.

    Args:
        store: from `connect`, a file.
        version: that has its files.
        artifacts: the folder of the home that all have to be in.

    Raises:
        RegistryError: the files are elsewhere.
    """
    with asking(store, f"cannot list the files of version {version.number} of '{version.name}'"):
        address = find_address(store, version)
        places = [address, *([store.client.get_run(version.run_id).info.artifact_uri] if version.run_id else [])]
    folders = []
    for place in places:
        path = Path(local_file_uri_to_path(place)) if urlparse(place).scheme in ("", "file") else None
        if path is None or not path.is_relative_to(artifacts.resolve()):
            raise RegistryError(
                f"model '{version.name}' version {version.number}: its files are not in {artifacts}, so a backup of "
                "the home would not contain them; copy the version with 'recsys copy-version' first"
            )
        folders.append(path)
    outer = [path for path in folders if not any(path != other and path.is_relative_to(other) for other in folders)]
    return folders[0], list(dict.fromkeys(outer))


def mark_left_out(database: Path, model: str, numbers: Iterable[str], date: str) -> None:
    """Tag versions in a copied database whose files the backup does not hold as pruned.

    Args:
        database: the copy.
        model: name of the registered model.
        numbers: of the versions.
        date: YYYY-MM-DD.
    """
    rows: Sequence[tuple[str, str, str, int]] = [(PRUNED, date, model, int(number)) for number in numbers]
    with closing(sqlite3.connect(database)) as store, store:
        store.executemany(
            "INSERT OR REPLACE INTO model_version_tags (key, value, name, version) VALUES (?, ?, ?, ?)", rows
        )
