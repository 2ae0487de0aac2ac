"""Snapshots: an ingested state of the data, named by the hash of its content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from recsys.dataset.ingestion.summary import Summary
from recsys.errors import ArtifactError
from recsys.progress import logger
from recsys.storage.files import (
    hash_text,
    read_json,
    read_name,
    read_table,
    replace_text,
    scan_parquet,
    write_blocks,
    write_json,
    write_table,
)
from recsys.storage.folders import swap_in, sweep, verify_folder, write_folder
from recsys.storage.home import current_snapshot_file, new_snapshot_folder, snapshot_folder, snapshots_folder
from recsys.tables import Interactions, Items, Rejected

SUMMARY = "summary.json"
_NEXT_STEP = "run 'recsys ingest' with this config"
_TABLES: dict[str, type[dy.Schema]] = {"items": Items, "interactions": Interactions, "rejected": Rejected}


@dataclass(frozen=True)
class Snapshot:
    """An ingested state of the data.

    Attributes:
        id: hash of the tables and the dataset settings: the same input is the same snapshot.
        items: `Items`.
        interactions: `Interactions`.
        dataset: the resolved dataset section of the config that ingested it.
    """

    id: str
    items: pl.DataFrame
    interactions: pl.DataFrame
    dataset: dict[str, Any]


@dataclass(frozen=True)
class OpenSnapshot:
    """A snapshot whose interactions may not fit in memory.

    Attributes:
        id: as for `Snapshot`.
        items: `Items`.
        interactions: `Interactions`, not read yet; sorted by user.
    """

    id: str
    items: pl.DataFrame
    interactions: pl.LazyFrame


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot on disk, of which nothing but the manifest was read.

    Attributes:
        id: as for `Snapshot`; of one that is not current yet, the name of its folder.
        folder: of its files.
        manifest: facts and hashes.
    """

    id: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def summary(self) -> Summary | None:
        """What ingest read into it; None if it was made without a summary."""
        return _read_summary(self.folder)

    def scan(self, table: str) -> pl.LazyFrame:
        """Return the rows of `items` or `interactions`, not read yet."""
        return scan_parquet(self.folder / f"{table}.parquet")


def write_snapshot(
    home: Path,
    name: str,
    tables: Mapping[str, pl.DataFrame | Iterable[pl.DataFrame]],
    dataset: Mapping[str, Any],
    summarize: Callable[[], Summary] | None = None,
    *,
    check: Callable[[StoredSnapshot], None] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> str:
    """Write a snapshot, make it the config's current snapshot, and return its id.

    The caller holds a lock on the ingestion of this config.

    Args:
        home: the home to write to.
        name: of the config.
        tables: `items`, `interactions` and `rejected`; a table in blocks is written while they are made.
        dataset: the resolved dataset section; other settings make another snapshot.
        summarize: returns what was read, once the tables are written; saved as `summary.json`.
        check: looks at the written snapshot before it is current; if it raises, the snapshot stays in
            `snapshots/new-NAME` until the next ingest, and the one before stays current.
        notes: further facts for the manifest, which do not make another snapshot.

    Raises:
        ArtifactError: the home cannot be written; existing snapshots are unchanged.
        DataError: a table breaks its schema.
        Refused: what `check` raises.
    """
    folder = new_snapshot_folder(home, name)
    sweep(snapshots_folder(home), f"{folder.name}.")

    def fill(staging: Path) -> Mapping[str, Any]:
        counts = {}
        for table, schema in _TABLES.items():
            content, path, what = tables[table], staging / f"{table}.parquet", f"snapshot table '{table}'"
            if table == "items" and isinstance(content, pl.DataFrame):
                # Its attributes are not in the schema.
                write_table(content, schema, path, what)
                counts[table] = content.height
            else:
                blocks = [content] if isinstance(content, pl.DataFrame) else content
                counts[table] = write_blocks(blocks, schema, path, what)
        if summarize is not None:
            write_json(staging / SUMMARY, summarize().as_dict(), sort_keys=False)
        return {"counts": counts}

    manifest = write_folder(folder, fill, {"kind": "snapshot", "dataset": dict(dataset), **(notes or {})})
    if check is not None:
        check(StoredSnapshot(folder.name, folder, manifest))
    tables_hashes = {file: digest for file, digest in manifest["files"].items() if file != SUMMARY}
    text = json.dumps([tables_hashes, select_meaning(dataset)], sort_keys=True)
    identity = hash_text(text)[:12]
    # An equal snapshot keeps its notes, unless it was damaged since.
    if notes or find_stored(home, identity) is None:
        swap_in(folder, snapshot_folder(home, identity))
    shutil.rmtree(folder, ignore_errors=True)
    replace_text(current_snapshot_file(home, name), identity + "\n")
    return identity


def read_snapshot(home: Path, name: str, dataset: Mapping[str, Any], identity: str | None = None) -> Snapshot:
    """Read the snapshot that a config ingested last, or an earlier snapshot by its id.

    Raises:
        ArtifactError: there is none, its files were changed, or the config's dataset section has changed since.
    """
    identity, folder = _find_folder(home, name, dataset, identity)
    interactions = read_table(
        folder / "interactions.parquet", Interactions, f"interactions of snapshot {identity}", _NEXT_STEP
    )
    return Snapshot(identity, _read_items(identity, folder), interactions, dict(dataset))


def open_snapshot(home: Path, name: str, dataset: Mapping[str, Any], identity: str | None = None) -> OpenSnapshot:
    """Open the snapshot that a config ingested last, or one by its id: items are read, interactions are not.

    Raises:
        ArtifactError: as for `read_snapshot`.
    """
    identity, folder = _find_folder(home, name, dataset, identity)
    return OpenSnapshot(identity, _read_items(identity, folder), scan_parquet(folder / "interactions.parquet"))


def read_summary(home: Path, identity: str) -> Summary | None:
    """Return what ingest read into a snapshot; None if it was made without a summary, or that is damaged."""
    return _read_summary(snapshot_folder(home, identity))


def find_current(home: Path, name: str) -> StoredSnapshot | None:
    """Return the snapshot that a config ingested last; None: there is none.

    Raises:
        ArtifactError: the pointer or the snapshot is damaged.
    """
    identity = read_name(current_snapshot_file(home, name), _NEXT_STEP)
    if identity is None:
        return None
    folder = snapshot_folder(home, identity)
    return StoredSnapshot(identity, folder, verify_folder(folder, _NEXT_STEP))


def find_stored(home: Path, identity: str) -> StoredSnapshot | None:
    """Return a snapshot by its id; None if it does not exist or is damaged."""
    folder = snapshot_folder(home, identity)
    try:
        return StoredSnapshot(identity, folder, verify_folder(folder, "")) if identity else None
    except ArtifactError:
        return None


def select_meaning(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset settings that decide what a snapshot holds: all but the limits that may refuse it."""
    # Snapshots of versions without pseudonyms lack that setting.
    unset = {"pseudonyms"} if not dataset.get("pseudonyms") else set()
    meant = {name: value for name, value in dataset.items() if name != "sanity" and name not in unset}
    return {name: _drop_limits(value) if isinstance(value, Mapping) else value for name, value in meant.items()}


def _drop_limits(files: Mapping[str, Any]) -> dict[str, Any]:
    meant = {name: value for name, value in files.items() if name != "max_unpacked_gb"}
    # Snapshots of versions without vectors lack that setting.
    vectors = meant.pop("vectors", None)
    if vectors:
        limit = "max_unknown_share"
        meant["vectors"] = {
            name: {setting: value for setting, value in own.items() if setting != limit}
            for name, own in vectors.items()
        }
    return meant


def _read_summary(folder: Path) -> Summary | None:
    path = folder / SUMMARY
    try:
        return Summary.from_dict(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("summary %s: cannot be read (%s); shown without it; %s", path, error, _NEXT_STEP)
        return None


def _read_items(identity: str, folder: Path) -> pl.DataFrame:
    return read_table(folder / "items.parquet", Items, f"items of snapshot {identity}", _NEXT_STEP)


def _find_folder(home: Path, name: str, dataset: Mapping[str, Any], identity: str | None) -> tuple[str, Path]:
    """Return the id and the folder of a snapshot whose files are undamaged."""
    if identity is None:
        identity = read_name(current_snapshot_file(home, name), _NEXT_STEP)
        if identity is None:
            raise ArtifactError(f"snapshot of '{name}': none in {home}; {_NEXT_STEP} first")
    folder = snapshot_folder(home, identity)
    written = verify_folder(folder, _NEXT_STEP).get("dataset")
    if not isinstance(written, dict) or select_meaning(written) != select_meaning(dataset):
        raise ArtifactError(
            f"snapshot {identity} of '{name}': was ingested with other dataset settings than those of this config; "
            f"{_NEXT_STEP}"
        )
    return identity, folder
