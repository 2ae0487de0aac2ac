"""`recsys pseudonyms`: the file that maps ids to pseudonyms, and checks that the key is the snapshot's."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from recsys.config import Config
from recsys.dataset.ingestion.text_numbers import UserNumbers
from recsys.dataset.pseudonyms import KEY, Pseudonyms
from recsys.dataset.raw.reading import read_batches
from recsys.errors import ArtifactError, ConfigError, Refused
from recsys.pipelines.last_good import find_last_good_snapshot
from recsys.storage.files import replace_file
from recsys.storage.folders import read_manifest
from recsys.storage.home import snapshot_folder

# The fact of a snapshot's manifest that identifies the key.
FINGERPRINT = "pseudonym_key"


def write_mapping(config: Config, home: Path, path: Path) -> int:
    """Write `user_id` and `pseudonym` of every user of the raw interactions as CSV, and return how many there are.

    Args:
        config: whose raw files are read; its dataset uses pseudonyms.
        home: must not hold the file.
        path: the file, readable by its owner alone.

    Raises:
        ConfigError: the dataset uses no pseudonyms, the file is inside the home, or the key is missing.
        ArtifactError: the file cannot be written.
    """
    if not config.dataset.pseudonyms:
        raise ConfigError("dataset.pseudonyms: is false, so there are no pseudonyms; set it to true to use them")
    target = path.expanduser().resolve()
    if target.is_relative_to(home.resolve()):
        raise ConfigError(
            f"file {path}: is inside RECSYS_HOME, which must not contain the mapping of pseudonyms; choose another "
            "folder"
        )
    pseudonyms, files = Pseudonyms.from_environment(), config.dataset.interactions
    users = UserNumbers(files.missing.get("user_id", ()))
    for batch in read_batches("interactions", files, {"user_id": files.columns.user_id}):
        users.read(batch.values["user_id"])
    ids = users.ids.alias("user_id").sort()
    with replace_file(target, "choose another file") as staging:
        os.close(os.open(staging, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        pl.DataFrame([ids, pseudonyms.replace(ids).alias("pseudonym")]).write_csv(staging)
    if target.stat().st_mode & 0o077:
        raise ArtifactError(f"file {path}: other accounts can read it; choose a file on a file system with permissions")
    return len(ids)


def refuse_new_key(config: Config, home: Path, *, accepted: bool) -> str:
    """Return the fingerprint of the key; empty: the dataset uses no pseudonyms.

    Raises:
        ConfigError: the key is missing.
        Refused: it is not the key of the last good snapshot, and that is not accepted.
    """
    if not config.dataset.pseudonyms:
        return ""
    fingerprint = Pseudonyms.from_environment().fingerprint
    before = find_last_good_snapshot(home, config.name)
    used = before.manifest.get(FINGERPRINT) if before else None
    if used and used != fingerprint and not accepted:
        raise Refused(
            f"ingest of '{config.name}': {KEY} has the fingerprint {fingerprint}, but the current snapshot was made "
            f"with {used}: every user would get a new pseudonym; restore the key, or, to rotate it, run "
            "'recsys ingest --accept-loss REASON', then train, promote and generate again"
        )
    return fingerprint


def check_key(config: Config, home: Path, snapshot: str) -> None:
    """Refuse lists of users with a key that is not the snapshot's: they would name nobody.

    Raises:
        ConfigError: the key is missing or another one.
    """
    if not config.dataset.pseudonyms:
        return
    fingerprint = Pseudonyms.from_environment().fingerprint
    used = read_manifest(snapshot_folder(home, snapshot), "run 'recsys ingest'").get(FINGERPRINT)
    if used != fingerprint:
        raise ConfigError(
            f"{KEY}: has the fingerprint {fingerprint}, but snapshot {snapshot} was made with {used}; set the key of "
            "the snapshot, or run 'recsys ingest' with this one"
        )
