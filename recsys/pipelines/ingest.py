"""`recsys ingest`: raw files to a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl

from recsys.artifacts.night import ACCEPTED
from recsys.artifacts.snapshots import StoredSnapshot, select_meaning, write_snapshot
from recsys.config import Config
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.ingestion import IngestedBlocks, ingest_blocks
from recsys.dataset.ingestion.losses import Data, find_losses
from recsys.dataset.ingestion.summary import Summary
from recsys.errors import ArtifactError, Refused
from recsys.pipelines.last_good import find_last_good_snapshot
from recsys.pipelines.pseudonyms import FINGERPRINT, refuse_new_key
from recsys.progress import format_count, log_stage, logger
from recsys.storage.files import explain_disk_error
from recsys.storage.folders import scratch_folder
from recsys.storage.home import forgotten_file
from recsys.storage.locks import lock


def run_ingest(config: Config, home: Path, now: datetime, accept_loss: str | None = None) -> tuple[str, Summary]:
    """Ingest the config's raw files and write a snapshot.

    It becomes current if it has not lost too much of the last good snapshot (`dataset.sanity`).

    Args:
        config: the files and their columns are in its dataset section.
        home: the folder that the snapshot is written to.
        now: events more than a day later are rejected.
        accept_loss: why a loss is right, recorded in the manifest; None: losses are limited.

    Returns:
        The snapshot's id, and what was read.

    Raises:
        DataError: a file is missing or unreadable, or too many rows were rejected.
        ConfigError: the key of the pseudonyms is missing.
        Refused: too much was lost, or the key of the pseudonyms is another one; the snapshot before stays current.
        ArtifactError: the snapshot cannot be written, or another process is ingesting this config.
    """
    name = f"ingestion-{config.name}"
    with lock(home, name), scratch_folder(home, name) as scratch, log_stage("ingest") as done:
        key = refuse_new_key(config, home, accepted=accept_loss is not None)
        notes = {FINGERPRINT: key} if key else {}
        made = _read(config, home, now, scratch)
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
            check=partial(_refuse_losses, config, home) if accept_loss is None else None,
            notes=notes if accept_loss is None else {**notes, ACCEPTED: accept_loss},
        )
        summary = made.summary
        done(
            f"snapshot {identity}: {format_count(summary.items, 'item')}, "
            f"{format_count(summary.interactions, 'interaction')}"
        )
    return identity, summary


def _refuse_losses(config: Config, home: Path, made: StoredSnapshot) -> None:
    before = find_last_good_snapshot(home, config.name)
    if before is None:
        return
    if select_meaning(before.manifest.get("dataset", {})) != select_meaning(made.manifest["dataset"]):
        logger.info("the dataset settings have changed, so losses since snapshot %s are not checked", before.id)
        return
    now, last = (Data(snapshot.scan("items"), snapshot.scan("interactions")) for snapshot in (made, before))
    if losses := find_losses(now, last, config.dataset.sanity):
        raise Refused(
            f"ingest of '{config.name}', compared with snapshot {before.id}: {'; '.join(losses)}; the current snapshot "
            f"is unchanged, and the refused snapshot is kept in {made.folder} until the next ingest; check the "
            "export, or accept the loss with 'recsys ingest --accept-loss REASON'"
        )


def _read(config: Config, home: Path, now: datetime, scratch: Path) -> IngestedBlocks:
    forgotten = ForgottenUsers.read(forgotten_file(home))
    try:
        return ingest_blocks(config.dataset, now=now, scratch=scratch, forgotten=forgotten)
    except OSError as error:
        # Raw files that cannot be read are a `DataError`.
        raise ArtifactError(
            f"folder {scratch}: cannot be written ({explain_disk_error(error)}); free some space or choose another "
            "RECSYS_HOME, then run again"
        ) from error
