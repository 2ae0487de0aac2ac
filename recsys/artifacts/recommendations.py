"""Published lists: one folder per run date, and the pointer that readers follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.replaced_lists import CANARY, keep_replaced, prune_replaced
from recsys.artifacts.shards import ShardFolder
from recsys.errors import ArtifactError
from recsys.storage.files import read_table, replace_text, scan_parquet
from recsys.storage.folders import MANIFEST, read_manifest, sweep, verify_folder, write_folder
from recsys.storage.home import (
    all_list_folders,
    all_shards_folders,
    list_folder,
    pointer_file,
    recommendations_folder,
    shards_folder,
)
from recsys.tables import Recommendations


def publish(
    home: Path, name: str, run_date: str, fill: Callable[[Path], Mapping[str, Any]], facts: Mapping[str, Any]
) -> bool:
    """Write the lists of a run date, then point readers at them; the pointer moves last and never back in time.

    Lists that another version published for the run date are kept (`replaced_lists`). The caller holds the generation
    lock.

    Args:
        home: the home that publishes.
        name: of the config; a home publishes the lists of one config.
        run_date: YYYY-MM-DD.
        fill: writes the parquet files and returns further facts for the manifest.
        facts: for the manifest.

    Returns:
        True if readers see these lists now, False if they follow a later run date.

    Raises:
        ArtifactError: the home publishes the lists of another config, or cannot be written.
    """
    current = read_pointer(home)
    check_owner(home, name)
    sweep(recommendations_folder(home), "run_date=")
    manifest = {"kind": "recommendations", "name": name, "run_date": run_date, **facts}
    keep_replaced(home, run_date, facts)
    write_folder(list_folder(home, run_date), fill, manifest)
    if current is not None and run_date < current:
        return False
    point_at(home, run_date)
    return True


def check_owner(home: Path, name: str) -> None:
    """Refuse a home that publishes the lists of another config; if there are no current lists, any config may publish.

    Raises:
        ArtifactError: the home is another config's.
    """
    current = read_pointer(home)
    try:
        owner = read_manifest(list_folder(home, current), "").get("name", name) if current else name
    except ArtifactError:
        return
    if owner != name:
        raise ArtifactError(
            f"lists of '{name}': {recommendations_folder(home)} holds those of '{owner}'; choose another RECSYS_HOME"
        )


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
    replace_text(pointer_file(home), f"run_date={run_date}\n")


def find_published(home: Path) -> list[str]:
    """Return the published run dates, oldest first."""
    return [run_date for run_date, folder in all_list_folders(home).items() if (folder / MANIFEST).is_file()]


def read_pointer(home: Path) -> str | None:
    """Return the run date that readers follow, None before the first night."""
    pointer = pointer_file(home)
    return pointer.read_text(encoding="utf-8").strip().removeprefix("run_date=") if pointer.is_file() else None


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

    In CSV the names of the sources share a cell, separated by `|`.
    """
    lists = scan_parquet(_find_parts(folder))
    if "jsonl" in kinds:
        lists.sink_ndjson(folder / "lists.jsonl")
    if "csv" in kinds:
        lists.with_columns(pl.col("sources").list.join("|")).sink_csv(folder / "lists.csv")


def _find_parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _next_step(run_date: str) -> str:
    return f"run 'recsys generate --run-date {run_date}'"
