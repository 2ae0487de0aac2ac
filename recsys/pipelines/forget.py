"""`recsys forget`: everything that a home, its table and its store hold of some users is removed.

The users are first added to the list of forgotten users, so that ingest rejects their rows from then on. Then each file
or folder is replaced in one step. A run that was killed is repeated: it finds what is left. All locks of the home are
held, so no command reads or writes meanwhile; readers of published lists see the old folder or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.outdated import list_configs
from recsys.artifacts.recommendations import write_outputs
from recsys.artifacts.store_output import Store
from recsys.artifacts.table_output import remove_users
from recsys.artifacts.user_rows import Rewrite, UserRows
from recsys.config import Config
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.user_items import read_ids
from recsys.errors import DataError, RecsysError
from recsys.pipelines.registration import find_kept
from recsys.progress import format_count, log_stage, logger
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.retention import decide_kept
from recsys.registry.tracking import connect
from recsys.storage.files import replace_file
from recsys.storage.folders import MANIFEST, read_manifest, rewrite_files
from recsys.storage.home import all_shards_folders, factors_folder, forgotten_file, mlflow_database
from recsys.storage.locks import lock
from recsys.storage.removal import erase, find_leftovers, set_aside

_COPIES = ("lists.jsonl", "lists.csv")
_BLOCKED_PAIRS = "blocked_pairs.parquet"
_SHOWN_HASH = 12


@dataclass(frozen=True)
class Removed:
    """A file, a folder or a table that held something of the users.

    Attributes:
        name: path below the home, `table NAME`, or address of a folder in the store.
        what: was done, or would be: `rewritten` or `deleted`.
    """

    name: str
    what: str


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
        raise DataError("forget: no user is named; give --user ID or --file FILE")
    return cleaned


def _read_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list of users {path}: cannot be read ({error}); give one id per line, in UTF-8") from error
    if lines and "user_id" in [name.strip().strip('"') for name in lines[0].split(",")]:
        found: list[str] = read_ids(path, ["user_id"], "list of users")["user_id"].to_list()
        return found
    return [line for line in lines if line.strip()]


def forget(config: Config, home: Path, ids: Sequence[str], now: float, *, dry_run: bool = False) -> Forgotten:
    """Remove users from everything below a home and from the config's table and store.

    Args:
        config: its dataset says whether ids have pseudonyms; an id may be given as it is or as its pseudonym.
        home: the folder that recsys writes to.
        ids: clean ids.
        now: seconds since 1970, for the reasons why versions are kept.
        dry_run: change nothing.

    Raises:
        LockedError: another command is running; nothing was changed.
        ConfigError: the key of the pseudonyms is missing.
        ArtifactError: a file cannot be written; run again to continue.
    """
    raw = pl.Series(list(ids), dtype=pl.String)
    everything = sorted({*ids, *name_users(config.dataset, raw).to_list()})
    with ExitStack() as stack, log_stage("forget") as done:
        for name in _list_locks(config, home) if not dry_run else ():
            stack.enter_context(lock(home, name))
        listed = ForgottenUsers.read(forgotten_file(home)).add(everything)
        hashes = [value[:_SHOWN_HASH] for value in listed.hash(raw)]
        made = Forgotten(dry_run, len(ids), hashes)
        if not dry_run:
            listed.write(forgotten_file(home))
        logger.info("forget: hashes %s", ", ".join(hashes))
        _Removal(config, home, everything, made).run()
        _describe_bundles(config, home, made, now)
        done(f"{format_count(made.users, 'user')}, {format_count(len(made.removed), 'place')}")
    return made


def _list_locks(config: Config, home: Path) -> tuple[str, ...]:
    """Return the names of all locks under which a home is written or read."""
    configs = sorted({config.name, *list_configs(home)})
    each = [f"{what}-{name}" for name in configs for what in ("ingestion", "monitoring")]
    return ("training", "tuning", "generation", "promotion", *each)


class _Removal:
    """Goes through a home once."""

    def __init__(self, config: Config, home: Path, ids: Sequence[str], made: Forgotten) -> None:
        self._config, self._home, self._ids, self._made = config, home, ids, made
        self._rows = UserRows(ids)
        self._dry_run = made.dry_run

    def run(self) -> None:
        self._delete("leftovers", find_leftovers(self._home, float("inf")))
        # No shard of an unfinished night, and no cached factor, names its users in a way that allows to take some out.
        self._delete("", all_shards_folders(self._home).values())
        factors = factors_folder(self._home)
        self._delete("", [factors] if factors.exists() else [])
        for folder in _find_folders(self._home):
            self._try(folder, self._clean_folder)
        for path in _find_files(self._home):
            self._try(path, self._clean_file)
        table = self._config.generation.postgres_table
        if table is not None and not self._dry_run:
            rows = remove_users(self._home, table, self._ids)
            if rows:
                self._made.removed.append(Removed(f"table {table}", f"{rows:,} rows deleted"))
        self._clean_store()

    def _clean_store(self) -> None:
        """Delete published lists elsewhere; the home's lists are clean by now, so readers can get those."""
        settings = self._config.generation
        if settings.publish_to is not None:
            store = Store(self._home, settings.publish_to, settings.keep_run_dates)
            for folder in store.remove_users(self._config.name, self._ids, dry_run=self._dry_run):
                self._made.removed.append(Removed(f"{store.address}/{folder}", "deleted"))

    def _try(self, path: Path, work: Any) -> None:
        """Do the work on a file or folder; what cannot be read is named, for it may hold the users."""
        try:
            work(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            name = path.relative_to(self._home).as_posix()
            self._made.left.append(f"{name}: cannot be read ({type(error).__name__}); delete it or make it again")

    def _delete(self, what: str, paths: Iterable[Path]) -> None:
        for path in paths:
            self._note(path, f"deleted {what}".strip())
            if not self._dry_run:
                erase(set_aside(path) if not what else path)

    def _note(self, path: Path, what: str) -> None:
        self._made.removed.append(Removed(path.relative_to(self._home).as_posix(), what))

    def _clean_folder(self, folder: Path) -> None:
        changes: dict[str, Rewrite] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
            name = path.relative_to(folder).as_posix()
            if name in _COPIES:
                continue
            if path.suffix == ".html":
                if self._rows.mentioned_in(path):
                    self._made.left.append(f"{folder / name}: mentions a user; make it again")
                continue
            if (write := self._rows.find_rewrite(path)) is not None:
                changes[name] = write
        if not changes:
            return
        if Path(_BLOCKED_PAIRS).name in changes:
            name = folder.relative_to(self._home).as_posix()
            self._made.left.append(
                f"{name}: a bundle of an older recsys with a blocked pair of a user; it goes with its version ('recsys "
                "prune')"
            )
            return
        self._note(folder, f"rewritten ({format_count(len(changes), 'file')})")
        if not self._dry_run:
            rewrite_files(folder, {**changes, **self._copy_lists(folder)})

    def _copy_lists(self, folder: Path) -> Mapping[str, Rewrite]:
        """Return how to write the copies of lists in other formats again, after the lists."""
        kinds = {name: name.partition(".")[2] for name in _COPIES if (folder / name).is_file()}
        return {name: _copy_kind(kind) for name, kind in kinds.items()}

    def _clean_file(self, path: Path) -> None:
        if path.suffix == ".html":
            if self._rows.mentioned_in(path):
                self._delete("", [path])
            return
        write = self._rows.find_rewrite(path)
        if write is None:
            return
        self._note(path, "rewritten")
        if not self._dry_run:
            with replace_file(path) as staging:
                write(staging)


def _copy_kind(kind: str) -> Rewrite:
    return lambda target: write_outputs(target.parent, [kind])


def _find_folders(home: Path) -> Iterator[Path]:
    """Yield the folders with a manifest, the outer ones only."""
    for name, folders, files in os.walk(home):
        if MANIFEST in files and _is_manifest(Path(name)):
            folders.clear()
            yield Path(name)


def _is_manifest(folder: Path) -> bool:
    try:
        read_manifest(folder, "")
    except RecsysError:
        return False
    return True


def _find_files(home: Path) -> Iterator[Path]:
    """Yield the files that no manifest covers."""
    for name, folders, files in os.walk(home):
        if MANIFEST in files and _is_manifest(Path(name)):
            folders.clear()
            continue
        yield from (Path(name, file) for file in sorted(files) if Path(name, file) != forgotten_file(home))


def _describe_bundles(config: Config, home: Path, made: Forgotten, now: float) -> None:
    """Say which versions learned from the users, and until when they stay."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(home).exists():
        return
    try:
        store = connect(home, config)
        log = PromotionLog.open(store, home, config.model_name, read_only=True)
        keeping = decide_kept(store, log, config.retention, list(find_kept(home).values()), now)
    except RecsysError as error:
        made.left.append(f"versions: were not looked up ({error})")
        return
    for version in keeping.kept:
        reason = keeping.reasons.get(version.number, "its files are not pruned yet")
        made.bundles.append(
            f"version {version.number} ({reason}): item factors and weights that also learned from their events; no "
            "factors or ids of users; goes with 'recsys prune' once newer versions replace it"
        )
    if os.environ.get("MLFLOW_TRACKING_URI"):
        made.left.append(
            "MLflow server: run tables and reports of earlier trainings are on the server; delete those runs there "
            "('mlflow gc') or prune their versions"
        )
