"""`recsys ingest`: raw files to a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.dataset.ingestion import IngestedBlocks, ingest_blocks
from recsys.dataset.ingestion.summary import Summary
from recsys.errors import ArtifactError
from recsys.progress import log_stage
from recsys.storage.files import explain_disk_error
from recsys.storage.folders import scratch_folder
from recsys.storage.locks import lock


def run_ingest(config: Config, home: Path, now: datetime) -> tuple[str, Summary]:
    """Ingest the config's raw files and write a snapshot.

    Args:
        config: the files and their columns are in its dataset section.
        home: the folder that the snapshot is written to.
        now: events more than a day later are rejected.

    Returns:
        The snapshot's id, and what was read.

    Raises:
        DataError: a file is missing or unreadable, or too many rows were rejected.
        ArtifactError: the snapshot cannot be written, or another process is ingesting this config.
    """
    name = f"ingestion-{config.name}"
    with lock(home, name), scratch_folder(home, name) as scratch, log_stage("ingest") as done:
        made = _read(config, now, scratch)
        tables: dict[str, pl.DataFrame | Iterable[pl.DataFrame]] = {
            "items": made.items,
            "interactions": made.interactions,
            "rejected": made.rejected,
        }
        identity = write_snapshot(
            home,
            config.name,
            tables,
            config.dataset.model_dump(mode="json"),
            lambda: made.summary,
        )
        summary = made.summary
        done(f"snapshot {identity}: {summary.items:,} items, {summary.interactions:,} interactions")
    return identity, summary


def _read(config: Config, now: datetime, scratch: Path) -> IngestedBlocks:
    try:
        return ingest_blocks(config.dataset, now=now, scratch=scratch)
    except OSError as error:
        # Raw files that cannot be read are a `DataError`.
        raise ArtifactError(
            f"folder {scratch}: cannot be written ({explain_disk_error(error)}); free some space or choose another "
            "RECSYS_HOME, then run again"
        ) from error
