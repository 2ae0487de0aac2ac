"""`recsys ingest`: raw files to a snapshot."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.dataset.ingestion import Ingested, ingest
from recsys.progress import log_stage
from recsys.storage.files import lock


def run_ingest(config: Config, home: Path, now: datetime) -> tuple[str, Ingested]:
    """Ingest the config's raw files and write a snapshot.

    Args:
        config: the files and their columns are in its dataset section.
        home: the folder that the snapshot is written to.
        now: events more than a day later are rejected.

    Returns:
        The snapshot's id, and the items, interactions and rejected rows.

    Raises:
        DataError: a file is missing or unreadable, or too many rows were rejected.
        ArtifactError: the snapshot cannot be written, or another process is ingesting this config.
    """
    with lock(home, f"ingestion-{config.name}"), log_stage("ingest") as done:
        ingested = ingest(config.dataset, now=now)
        tables = {
            "items": ingested.items,
            "interactions": ingested.interactions,
            "rejected": ingested.rejected,
        }
        counts = {name: frame.height for name, frame in tables.items()}
        identity = write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"), counts)
        done(f"snapshot {identity}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    return identity, ingested
