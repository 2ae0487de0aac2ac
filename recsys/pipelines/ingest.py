"""`recsys ingest`: raw files to a snapshot."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.dataset.ingestion import Ingested, ingest
from recsys.progress import log_stage
from recsys.storage.locks import lock


def run_ingest(config: Config, home: Path, now: datetime) -> tuple[str, Ingested]:
    """Ingest the config's raw files and return the snapshot's id with what was read and rejected.

    Args:
        config: its dataset section says what to read.
        home: where the snapshot goes.
        now: events later than a day after it are rejected.
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
