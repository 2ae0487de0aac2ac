"""`recsys lists`: the published nights and who follows what; and readers moved to another night by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from recsys.artifacts.night import ACCEPTED, Night
from recsys.artifacts.outputs import fill_outputs, list_other_outputs
from recsys.artifacts.pointer_moves import Move, append_move, read_moves
from recsys.artifacts.recommendations import check_owner, find_followed, point_at
from recsys.artifacts.replaced_lists import CANARY, find_kept
from recsys.artifacts.store_output import find_store_run_date
from recsys.artifacts.table_output import check_table, find_table_run_date
from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.progress import logger
from recsys.storage.folders import read_manifest, verify_folder
from recsys.storage.home import all_list_folders
from recsys.storage.locks import lock


@dataclass(frozen=True)
class PublishedNight:
    """One published night.

    Attributes:
        run_date: YYYY-MM-DD.
        age_days: whole days from the run date until now; negative for a run date in the future.
        state: `whole`, or `damaged`.
        fault: what is damaged; empty if whole.
        version: of the model that made the lists; None where the manifest does not say.
        canary: version of the challenger that some users got; None without a canary.
        users: with lists.
        rows: of all lists.
        followers: who reads this night: `readers` (the pointer), `table NAME`, `store ADDRESS`.
        kept_versions: versions whose replaced lists are kept.
        accepted: why a loss of users or rows was accepted; empty if none was.
    """

    run_date: str
    age_days: int
    state: str
    fault: str
    version: str | None
    canary: str | None
    users: int | None
    rows: int | None
    followers: tuple[str, ...]
    kept_versions: tuple[str, ...]
    accepted: str


@dataclass(frozen=True)
class PublishedLists:
    """What `recsys lists` shows.

    Attributes:
        nights: newest first.
        readers: run date that readers follow; None: the pointer is missing or damaged.
        fault: why readers cannot follow the pointer; empty: they can, or nothing is published.
        table: what the PostgreSQL table holds: a run date, or why that is unknown; None: none is configured.
        store: the same of the object store or shared folder.
        moves: of the pointer by hand, oldest first.
    """

    nights: tuple[PublishedNight, ...]
    readers: str | None
    fault: str
    table: str | None
    store: str | None
    moves: tuple[Move, ...]


def list_published(config: Config, home: Path, now: datetime) -> PublishedLists:
    """Return the published nights and who follows what. Read-only; every file is checked against its hash.

    Args:
        config: names the PostgreSQL table and the store.
        home: the folder of the lists.
        now: the time of the clock, for the nights' ages.
    """
    followed, settings = find_followed(home), config.generation
    table, in_table = _describe("table", settings.postgres_table, find_table_run_date)
    store, in_store = _describe("store", settings.publish_to, find_store_run_date)
    nights = []
    for run_date, folder in sorted(all_list_folders(home).items(), reverse=True):
        followers = ["readers"] if run_date == followed.run_date else []
        followers += [f"table {settings.postgres_table}"] if run_date == in_table else []
        followers += [f"store {settings.publish_to}"] if run_date == in_store else []
        nights.append(_describe_night(home, run_date, folder, tuple(followers), now))
    return PublishedLists(tuple(nights), followed.run_date, followed.fault, table, store, tuple(read_moves(home)))


def move_pointer(config: Config, home: Path, run_date: str, now: datetime) -> Move:
    """Move readers to a published night by hand, in the pointer and every other output, and log the move.

    Args:
        config: names the outputs.
        home: the folder of the lists.
        run_date: YYYY-MM-DD.
        now: the time of the clock, for the log.

    Raises:
        ArtifactError: the night is not published whole, the home publishes the lists of another config, lists are being
            made, or an output cannot be written.
    """
    # Not at the top: it imports mlflow, which takes seconds.
    from recsys.registry.promotion_log.entry import find_host, find_user

    outputs = config.generation
    check_table(outputs.postgres_table)
    with lock(home, "generation"):
        check_owner(home, config.name)
        before = find_followed(home).run_date
        point_at(home, run_date)
        move = Move(
            now.astimezone(UTC).isoformat(timespec="seconds"), f"{find_user()}@{find_host()}", before or "", run_date
        )
        if before != run_date:
            append_move(home, move)
        logger.info("readers now follow %s", run_date)
        fill_outputs(list_other_outputs(home, outputs), Night(run_date, {}))
    return move


def _describe_night(
    home: Path, run_date: str, folder: Path, followers: tuple[str, ...], now: datetime
) -> PublishedNight:
    manifest: dict[str, Any] = {}
    fault = ""
    try:
        manifest = read_manifest(folder, next_step := f"run 'recsys generate --run-date {run_date}'")
        verify_folder(folder, next_step)
    except ArtifactError as error:
        fault = str(error)
    counts, canary = (_as_mapping(manifest.get(name)) for name in ("counts", CANARY))
    return PublishedNight(
        run_date=run_date,
        age_days=(now.astimezone(UTC).date() - date.fromisoformat(run_date)).days,
        state="damaged" if fault else "whole",
        fault=fault,
        version=_as_text(manifest.get("model_version")),
        canary=_as_text(canary.get("model_version")),
        users=_as_number(counts.get("users")),
        rows=_as_number(counts.get("rows")),
        followers=followers,
        kept_versions=tuple(find_kept(home, run_date)),
        accepted=_as_text(manifest.get(ACCEPTED)) or "",
    )


def _describe(kind: str, name: str | None, find: Callable[[str], str | None]) -> tuple[str | None, str | None]:
    """Return a description of a configured table or store, and the run date of its lists."""
    if name is None:
        return None, None
    try:
        held = find(name)
    except ArtifactError as error:
        return str(error), None
    return f"{kind} {name}: {held or 'empty'}", held


def _as_mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _as_number(value: object) -> int | None:
    return value if isinstance(value, int) else None
