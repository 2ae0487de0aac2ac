"""Published lists: one folder per run date, and the pointer that readers follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.replaced_lists import CANARY, keep_replaced, prune_replaced
from recsys.artifacts.shards import ShardFolder
from recsys.errors import ArtifactError
from recsys.progress import logger
from recsys.storage.access import let_readers_in
from recsys.storage.csv_text import sink_csv
from recsys.storage.files import read_name, read_table, replace_text, scan_parquet
from recsys.storage.folders import MANIFEST, read_manifest, sweep, verify_folder, write_folder
from recsys.storage.home import (
    all_list_folders,
    all_shards_folders,
    list_folder,
    pointer_file,
    recommendations_folder,
    shards_folder,
)
from recsys.storage.run_dates import is_run_date
from recsys.tables import Recommendations

_POINTER = "run_date="


@dataclass(frozen=True)
class Followed:
    """What readers follow.

    Attributes:
        run_date: of whole lists with a plausible date; None: the pointer is missing or not trusted.
        fault: why the pointer is not trusted; empty: it is, or there is none.
    """

    run_date: str | None
    fault: str = ""


def publish(
    home: Path,
    name: str,
    run_date: str,
    fill: Callable[[Path], Mapping[str, Any]],
    facts: Mapping[str, Any],
    *,
    follow: bool = True,
    latest: str | None = None,
) -> bool:
    """Write the lists of a run date, then point readers at them; the pointer moves last.

    The pointer does not move back in time, unless it is not trusted (`find_followed`): then it is repaired, which is
    logged. Lists that another version published for the run date are kept (`replaced_lists`). The caller holds the
    generation lock.

    Args:
        home: the home that publishes.
        name: of the config; a home publishes the lists of one config.
        run_date: YYYY-MM-DD.
        fill: writes the parquet files and returns further facts for the manifest.
        facts: for the manifest.
        follow: False leaves the pointer as it is.
        latest: the last plausible run date, YYYY-MM-DD; None: any.

    Returns:
        True if readers see these lists now, False if they follow a later run date.

    Raises:
        ArtifactError: the home publishes the lists of another config, or cannot be written.
    """
    check_owner(home, name)
    sweep(recommendations_folder(home), _POINTER)
    manifest = {"kind": "recommendations", "name": name, "run_date": run_date, **facts}
    keep_replaced(home, run_date, facts)
    write_folder(list_folder(home, run_date), fill, manifest, partial(let_readers_in, home))
    return follow and move_readers(home, run_date, latest)


def check_owner(home: Path, name: str) -> None:
    """Refuse a home that publishes the lists of another config; if there are no readable lists, any config may publish.

    The lists that readers follow decide or, without a pointer that can be read, the newest.

    Raises:
        ArtifactError: the home is another config's.
    """
    try:
        current = read_pointer(home)
    except ArtifactError:
        current = None
    for run_date in (current, *reversed(find_published(home))):
        owner = _read_owner(home, run_date) if run_date else None
        if owner is None:
            continue
        if owner != name:
            raise ArtifactError(
                f"lists of '{name}': {recommendations_folder(home)} already holds the lists of '{owner}'; choose "
                "another RECSYS_HOME"
            )
        return


def _read_owner(home: Path, run_date: str) -> str | None:
    try:
        owner = read_manifest(list_folder(home, run_date), "").get("name")
    except ArtifactError:
        return None
    return owner if isinstance(owner, str) else None


def open_shards(home: Path, run_date: str, facts: Mapping[str, Any]) -> ShardFolder:
    """Return the folder that collects a run date's shards until they are published; the caller holds the lock."""
    return ShardFolder.open(shards_folder(home, run_date), {"run_date": run_date, **facts})


def find_shards(home: Path, run_date: str, facts: Mapping[str, Any]) -> ShardFolder | None:
    """Return the folder that collects a run date's shards if it was opened for these facts."""
    shards = ShardFolder(shards_folder(home, run_date))
    return shards if shards.belongs_to({"run_date": run_date, **facts}) else None


def is_published(home: Path, run_date: str, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the manifest's counts if a run date is published with these facts and undamaged, otherwise None."""
    if not (list_folder(home, run_date) / MANIFEST).is_file():
        return None
    try:
        manifest = verify_folder(list_folder(home, run_date), "")
    except ArtifactError:
        return None
    counts: dict[str, int] = manifest.get("counts", {})
    # A night with a canary has every fact of the same night without one.
    expected = {CANARY: None, **facts}
    return counts if all(manifest.get(name) == value for name, value in expected.items()) else None


def scan_recommendations(home: Path, run_date: str) -> tuple[pl.LazyFrame, dict[str, Any]]:
    """Return the published `Recommendations` of a run date, not read yet, and their manifest.

    Raises:
        ArtifactError: they are missing or differ from what was written.
    """
    manifest = verify_folder(list_folder(home, run_date), _next_step(run_date))
    return scan_parquet(find_parts(home, run_date)), manifest


def find_parts(home: Path, run_date: str) -> list[Path]:
    """Return the parquet files of a run date's lists, in order."""
    return _find_parts(list_folder(home, run_date))


def point_at(home: Path, run_date: str) -> None:
    """Point readers at a run date that is already published.

    Raises:
        ArtifactError: it is missing, incomplete or damaged.
    """
    verify_folder(list_folder(home, run_date), _next_step(run_date))
    replace_text(pointer_file(home), f"{_POINTER}{run_date}\n")
    let_readers_in(home, pointer_file(home))


def move_readers(home: Path, run_date: str, latest: str | None = None) -> bool:
    """Point readers at a published run date, unless they follow a later one.

    A pointer that is not trusted (`find_followed`) is repaired, which is logged: readers follow this run date or, where
    newer lists are whole, those.

    Args:
        home: the home that publishes.
        run_date: YYYY-MM-DD.
        latest: the last plausible run date, YYYY-MM-DD; None: any.

    Returns:
        Whether readers follow this run date now.

    Raises:
        ArtifactError: the run date is not published whole, or the pointer cannot be written.
    """
    before, target = find_followed(home, latest), run_date
    if before.run_date is not None and before.run_date > run_date:
        return False
    if before.fault:
        newer = [date for date in find_published(home) if run_date < date <= (latest or date)]
        target = next((date for date in reversed(newer) if _is_whole(home, date)), run_date)
    point_at(home, target)
    if before.fault:
        logger.warning("pointer repaired; readers now follow %s: %s", target, before.fault)
    return target == run_date


def _is_whole(home: Path, run_date: str) -> bool:
    try:
        verify_folder(list_folder(home, run_date), "")
    except ArtifactError:
        return False
    return True


def find_published(home: Path) -> list[str]:
    """Return the published run dates, oldest first."""
    return [run_date for run_date, folder in all_list_folders(home).items() if (folder / MANIFEST).is_file()]


def read_pointer(home: Path) -> str | None:
    """Return the run date that the pointer names, None before the first night.

    Raises:
        ArtifactError: the pointer cannot be read or names no run date.
    """
    path = pointer_file(home)
    next_step = "the next good night of 'recsys generate' repairs it, or run 'recsys lists --point RUN_DATE'"
    name = read_name(path, next_step)
    if name is None:
        return None
    run_date = name.removeprefix(_POINTER)
    if not is_run_date(run_date):
        raise ArtifactError(f"file {path}: holds '{name[:30]}', expected run_date=YYYY-MM-DD; {next_step}")
    return run_date


def find_followed(home: Path, latest: str | None = None) -> Followed:
    """Return the run date that readers follow, if its lists are whole and its date is plausible.

    A pointer whose lists are missing or damaged, or whose date is a typing error far in the future, must not keep
    readers from newer lists.

    Args:
        home: the home that publishes.
        latest: the last plausible run date, YYYY-MM-DD; None: any.
    """
    try:
        run_date = read_pointer(home)
        if run_date is None:
            return Followed(None)
        verify_folder(list_folder(home, run_date), _next_step(run_date))
    except ArtifactError as error:
        return Followed(None, str(error))
    if latest is not None and run_date > latest:
        return Followed(None, f"readers followed run date {run_date}, which is in the future (later than {latest})")
    return Followed(run_date)


def prune_published(home: Path, keep: int) -> list[str]:
    """Delete the oldest run dates beyond `keep`, except the one that readers follow, and return them.

    Unpublished shards of run dates before the oldest that is kept are deleted too, and replaced lists of the deleted
    run dates.
    """
    current, published = read_pointer(home), find_published(home)
    old = [run_date for run_date in published[:-keep] if run_date != current]
    for run_date in old:
        shutil.rmtree(list_folder(home, run_date))
    for run_date, folder in all_shards_folders(home).items():
        if run_date < published[-keep:][0]:
            shutil.rmtree(folder)
    prune_replaced(home)
    return old


def read_recommendations(home: Path, run_date: str) -> pl.DataFrame:
    """Return the published `Recommendations` of a run date, sorted by user, then rank.

    Raises:
        ArtifactError: they are missing or differ from what was written.
    """
    next_step = _next_step(run_date)
    manifest = verify_folder(list_folder(home, run_date), next_step)
    what = f"recommendations for {run_date}"
    lists = pl.concat(read_table(part, Recommendations, what, next_step) for part in find_parts(home, run_date))
    # The files of a canary's users follow those of the champion's.
    return lists.sort("user_id", "rank") if CANARY in manifest else lists


def write_outputs(folder: Path, kinds: Sequence[str]) -> None:
    """Write the lists in a folder again as `lists.jsonl` or `lists.csv`, in the same order.

    In CSV the names of the sources share a cell, separated by `|`, and texts that a spreadsheet would take for a
    formula have an apostrophe in front.
    """
    lists = scan_parquet(_find_parts(folder))
    if "jsonl" in kinds:
        lists.sink_ndjson(folder / "lists.jsonl")
    if "csv" in kinds:
        sink_csv(lists.with_columns(pl.col("sources").list.join("|")), folder / "lists.csv")


def _find_parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _next_step(run_date: str) -> str:
    return f"run 'recsys generate --run-date {run_date}'"
