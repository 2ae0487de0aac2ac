"""Snapshots: one ingested state of the data, named by the hash of its content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from recsys.errors import ArtifactError
from recsys.storage.files import (
    hash_text,
    read_table,
    replace_text,
    swap_in,
    sweep,
    verify_folder,
    write_folder,
    write_table,
)
from recsys.tables import Interactions, Items, Rejected

_NEXT_STEP = "run 'recsys ingest' with this config"
_TABLES: dict[str, type[dy.Schema]] = {"items": Items, "interactions": Interactions, "rejected": Rejected}


@dataclass(frozen=True)
class Snapshot:
    """One ingested state of the data.

    Attributes:
        id: hash of the content: the same input is the same snapshot.
        items: `Items`.
        interactions: `Interactions`.
        dataset: the dataset section it was ingested with, resolved.
    """

    id: str
    items: pl.DataFrame
    interactions: pl.DataFrame
    dataset: dict[str, Any]


@dataclass(frozen=True)
class OpenSnapshot:
    """A snapshot whose interactions may be more than fit in memory.

    Attributes:
        id: hash of the content.
        items: `Items`.
        interactions: `Interactions`, not read yet; sorted by user.
    """

    id: str
    items: pl.DataFrame
    interactions: pl.LazyFrame


def write_snapshot(
    home: Path, name: str, tables: Mapping[str, pl.DataFrame], dataset: Mapping[str, Any], counts: Mapping[str, int]
) -> str:
    """Write items, interactions and rejected rows, point the config's name at them, and return the snapshot's id.

    The caller holds a lock on the ingestion of this config.
    """
    folder = home / "snapshots" / f"new-{name}"
    sweep(folder.parent, folder.name)

    def fill(staging: Path) -> None:
        for table, schema in _TABLES.items():
            write_table(tables[table], schema, staging / f"{table}.parquet", f"snapshot table '{table}'")

    manifest = write_folder(folder, fill, {"kind": "snapshot", "dataset": dict(dataset), "counts": dict(counts)})
    text = json.dumps([manifest["files"], manifest["dataset"]], sort_keys=True)
    identity = hash_text(text)[:12]
    final = home / "snapshots" / identity
    # The new one takes the place of an equal one too: that one may have been damaged since.
    swap_in(folder, final)
    shutil.rmtree(folder, ignore_errors=True)
    replace_text(home / "snapshots" / f"{name}.current", identity + "\n")
    return identity


def read_snapshot(home: Path, name: str, dataset: Mapping[str, Any], identity: str | None = None) -> Snapshot:
    """Read the snapshot that a config ingested last, or an earlier one by its id.

    Raises:
        ArtifactError: there is none, it was changed on disk, or the config's dataset section has changed since.
    """
    identity, folder = _find_folder(home, name, dataset, identity)
    interactions = read_table(
        folder / "interactions.parquet", Interactions, f"interactions of snapshot {identity}", _NEXT_STEP
    )
    return Snapshot(identity, _read_items(identity, folder), interactions, dict(dataset))


def open_snapshot(home: Path, name: str, dataset: Mapping[str, Any]) -> OpenSnapshot:
    """Read the items of the snapshot that a config ingested last, and leave the interactions where they are.

    Raises:
        ArtifactError: as for `read_snapshot`.
    """
    identity, folder = _find_folder(home, name, dataset, None)
    return OpenSnapshot(identity, _read_items(identity, folder), pl.scan_parquet(folder / "interactions.parquet"))


def _read_items(identity: str, folder: Path) -> pl.DataFrame:
    return read_table(folder / "items.parquet", Items, f"items of snapshot {identity}", _NEXT_STEP)


def _find_folder(home: Path, name: str, dataset: Mapping[str, Any], identity: str | None) -> tuple[str, Path]:
    """Return the id and the folder of a snapshot whose files are those that were written."""
    pointer = home / "snapshots" / f"{name}.current"
    if identity is None:
        if not pointer.is_file():
            raise ArtifactError(f"snapshot of '{name}': none in {home}; {_NEXT_STEP} first")
        identity = pointer.read_text(encoding="utf-8").strip()
    folder = home / "snapshots" / identity
    manifest = verify_folder(folder, _NEXT_STEP)
    if manifest["dataset"] != dataset:
        raise ArtifactError(
            f"snapshot {identity} of '{name}': was ingested with other dataset settings than this config's; "
            f"{_NEXT_STEP}"
        )
    return identity, folder
