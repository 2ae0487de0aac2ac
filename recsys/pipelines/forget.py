"""`recsys forget`: everything that a home, its table and its store hold of some users is removed.

The users are first added to the list of forgotten users, so that ingest rejects their rows from then on. Then each file
or folder is replaced in one step. A run that was killed is repeated: it finds what is left. All locks of the home are
held, so no command reads or writes meanwhile; readers of published lists see the old folder or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.outdated import list_configs
from recsys.artifacts.table_output import check_table
from recsys.artifacts.user_removal import Removed, UserRemoval
from recsys.config import Config
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.pseudonyms import are_pseudonyms, name_users
from recsys.dataset.user_items import read_ids
from recsys.errors import ConfigError, DataError, RecsysError
from recsys.pipelines.registration import find_kept
from recsys.progress import format_count, log_stage, logger
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.retention import decide_kept
from recsys.registry.tracking import connect
from recsys.storage.home import forgotten_file, mlflow_database
from recsys.storage.locks import lock

# Characters of a hash, and hashes, that the log shows.
_SHOWN_HASH, _SHOWN_HASHES = 12, 20


@dataclass
class Forgotten:
    """What `forget` did or, in a dry run, would do.

    Attributes:
        dry_run: nothing was changed.
        users: number of users.
        hashes: the beginning of the hash of each in the list of forgotten users, by which logs name them.
        removed: what held something of them.
        bundles: sentences: versions that learned from data of the time before, and until when they stay.
        left: sentences: what was not reached.
    """

    dry_run: bool
    users: int
    hashes: list[str]
    removed: list[Removed] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**vars(self), "removed": [vars(one) for one in self.removed]}


def read_users(ids: Sequence[str], path: Path | None) -> list[str]:
    """Return clean ids of users: those given, and those of a file, one per line or a CSV file with a column `user_id`.

    Raises:
        DataError: the file cannot be read, or no id is given.
    """
    texts = list(ids)
    if path is not None:
        texts += _read_file(path)
    cleaned: list[str] = clean_ids(pl.Series(texts, dtype=pl.String)).drop_nulls().unique(maintain_order=True).to_list()
    if not cleaned:
        raise DataError("forget: no user given; use --user ID or --file FILE")
    return cleaned


def _read_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"list of users {path}: cannot be read ({error}); expected one id per line, in UTF-8"
        ) from error
    if lines and "user_id" in [name.strip().strip('"') for name in lines[0].split(",")]:
        found: list[str] = read_ids(path, ["user_id"], "list of users")["user_id"].to_list()
        return found
    return [line for line in lines if line.strip()]


def forget(config: Config, home: Path, ids: Sequence[str], now: float, *, dry_run: bool = False) -> Forgotten:
    """Remove users from everything below a home and from the config's table.

    Args:
        config: its dataset says whether ids have pseudonyms; an id may be given as it is or as its pseudonym.
        home: the folder that recsys writes to.
        ids: clean ids.
        now: seconds since 1970, for the reasons why versions are kept.
        dry_run: change nothing.

    Raises:
        LockedError: another command is running; nothing was changed.
        ConfigError: the key of the pseudonyms is missing, and an id is not a pseudonym.
        ArtifactError: the database's address is missing, and nothing was changed; or a file, the table or the store
            cannot be written: run again to continue.
    """
    raw = pl.Series(list(ids), dtype=pl.String)
    everything = _list_names(config, raw)
    check_table(config.generation.postgres_table)
    with ExitStack() as stack, log_stage("forget") as done:
        for name in _list_locks(config, home) if not dry_run else ():
            stack.enter_context(lock(home, name))
        listed = ForgottenUsers.read(forgotten_file(home)).add(everything)
        hashes = [value[:_SHOWN_HASH] for value in listed.hash(raw)]
        made = Forgotten(dry_run, len(ids), hashes)
        if not dry_run:
            listed.write(forgotten_file(home))
        more = f" and {len(hashes) - _SHOWN_HASHES:,} more" if len(hashes) > _SHOWN_HASHES else ""
        logger.info("forget: hashes %s%s", ", ".join(hashes[:_SHOWN_HASHES]), more)
        removal = UserRemoval(home, everything, dry_run=dry_run)
        removal.clean_home()
        removal.clean_outputs(config)
        made.removed, made.left = removal.removed, removal.left
        _describe_bundles(config, home, made, now)
        done(f"{format_count(made.users, 'user')}, {format_count(len(made.removed), 'place')}")
    return made


def _list_names(config: Config, ids: pl.Series) -> list[str]:
    """Return what files may call some users: their ids, and their pseudonyms where the dataset uses them."""
    try:
        names = name_users(config.dataset, ids)
    except ConfigError:
        # Pseudonyms name their users without the key.
        if not are_pseudonyms(ids):
            raise
        names = ids
    return sorted({*ids, *names})


def _list_locks(config: Config, home: Path) -> tuple[str, ...]:
    """Return the names of all locks under which a home is written or read."""
    configs = sorted({config.name, *list_configs(home)})
    each = [f"{what}-{name}" for name in configs for what in ("ingestion", "monitoring")]
    return ("training", "tuning", "generation", "promotion", *each)


def _describe_bundles(config: Config, home: Path, made: Forgotten, now: float) -> None:
    """Say which models learned from the users, and until when they stay."""
    for run in find_kept(home):
        made.bundles.append(
            f"training {run} (waits for 'recsys register'): item factors and weights were also trained on their "
            f"events; register it and let 'recsys prune' delete it, or delete unregistered/{run}"
        )
    if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(home).exists():
        return
    try:
        store = connect(home, config)
        log = PromotionLog.open(store, home, config.model_name, read_only=True)
        keeping = decide_kept(store, log, config.retention, list(find_kept(home).values()), now)
    except RecsysError as error:
        made.left.append(f"versions: cannot be listed ({error})")
        return
    for version in keeping.kept:
        reason = keeping.reasons.get(version.number, "its files are not pruned yet")
        made.bundles.append(
            f"version {version.number} ({reason}): item factors and weights were also trained on their events; it has "
            "no factors or ids of users, and 'recsys prune' deletes it once newer versions replace it"
        )
    if os.environ.get("MLFLOW_TRACKING_URI"):
        made.left.append(
            "MLflow server: run tables and reports of earlier trainings are stored there; delete these runs "
            "('mlflow gc') or prune their versions"
        )
