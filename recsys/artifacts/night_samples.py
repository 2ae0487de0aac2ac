"""What a night's lists carry for the monitor: a few parquet files in a folder of their own below the lists.

The folder is `_sample`, so that readers of `*.parquet` do not see it, and neither do Spark and pyarrow, which skip
names that start with an underscore. The manifest of the lists covers its files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import dataframely as dy
import polars as pl

from recsys.errors import DataError
from recsys.storage.files import replace_file, scan_parquet
from recsys.storage.home import list_folder
from recsys.tables import BaselineLists, ItemVectors, SampledFeatures, check

BASELINES, FEATURES, VECTORS = "baselines", "features", "vectors"
_FOLDER = "_sample"
_TABLES: dict[str, type[dy.Schema]] = {BASELINES: BaselineLists, FEATURES: SampledFeatures, VECTORS: ItemVectors}


def write_samples(folder: Path, number: int, samples: Mapping[str, pl.DataFrame], next_step: str) -> None:
    """Write the samples of a shard; each file appears completely or not at all.

    Args:
        folder: of the shards.
        number: of the shard.
        samples: tables by name.
        next_step: for the message of a full disk.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    for name, table in samples.items():
        what = f"sample '{name}' of shard {number}"
        checked = check(_TABLES[name], table, what, "internal error in the stage that wrote it; please report it")
        path = folder / _FOLDER / f"{name}-{number:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        with replace_file(path, next_step) as staging:
            checked.rechunk().write_parquet(staging)


def link_samples(folder: Path, target: Path) -> None:
    """Link all samples of a folder of lists or shards into another folder of the same file system."""
    files = sorted((folder / _FOLDER).glob("*.parquet"))
    if files:
        (target / _FOLDER).mkdir()
    for file in files:
        os.link(file, target / _FOLDER / file.name)


def read_sample(home: Path, run_date: str, name: str) -> pl.DataFrame | None:
    """Return a sample of published lists; None for lists without it, such as those of an earlier version of recsys.

    Args:
        home: the home that published.
        run_date: YYYY-MM-DD; the caller checked the folder against its manifest.
        name: `BASELINES`, `FEATURES` or `VECTORS`.
    """
    files = sorted((list_folder(home, run_date) / _FOLDER).glob(f"{name}-*.parquet"))
    if not files:
        return None
    table = scan_parquet(files).collect()
    try:
        return check(_TABLES[name], table, f"sample '{name}' of {run_date}", "")
    except DataError:
        return None
