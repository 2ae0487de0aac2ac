"""Published lists: one folder per run date, and the pointer that readers follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.shards import ShardFolder
from recsys.errors import ArtifactError
from recsys.storage.files import (
    MANIFEST,
    read_manifest,
    read_table,
    replace_text,
    sweep,
    verify_folder,
    write_folder,
)
from recsys.tables import Recommendations

POINTER = "CURRENT"


def publish(
    home: Path, name: str, run_date: str, fill: Callable[[Path], Mapping[str, Any]], facts: Mapping[str, Any]
) -> bool:
    """Write the lists of one run date, then point readers at them; the pointer moves last and never back in time.

    The caller holds the lock on generation.

    Args:
        home: where the lists lie.
        name: of the config; a home publishes the lists of one.
        run_date: YYYY-MM-DD.
        fill: writes the parts and returns further facts for the manifest.
        facts: what the manifest says.

    Returns:
        True if readers see these lists now, False if they follow a later run date.

    Raises:
        ArtifactError: the home publishes the lists of another config.
    """
    current = read_pointer(home)
    check_owner(home, name)
    folder = list_folder(home, run_date)
    sweep(folder.parent, "run_date=*")
    write_folder(folder, fill, {"kind": "recommendations", "name": name, "run_date": run_date, **facts})
    if current is not None and run_date < current:
        return False
    point_at(home, run_date)
    return True


def check_owner(home: Path, name: str) -> None:
    """Refuse a home that publishes the lists of another config; where readers' lists are gone, it is anybody's.

    Raises:
        ArtifactError: it is another's.
    """
    current = read_pointer(home)
    try:
        theirs = read_manifest(list_folder(home, current), "").get("name", name) if current else name
    except ArtifactError:
        return
    if theirs != name:
        raise ArtifactError(
            f"lists of '{name}': {home / 'recommendations'} holds those of '{theirs}'; choose another RECSYS_HOME"
        )


def open_shards(home: Path, run_date: str, facts: Mapping[str, Any]) -> ShardFolder:
    """Return the folder that collects a run date's shards until they are published; the caller holds the lock."""
    return ShardFolder.open(home / "recommendations" / f".run_date={run_date}.shards", {"run_date": run_date, **facts})


def is_published(home: Path, run_date: str, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Return what a run date's manifest counts where it is published with these facts, whole; else None."""
    if not (list_folder(home, run_date) / MANIFEST).is_file():
        return None
    try:
        manifest = verify_folder(list_folder(home, run_date), "")
    except ArtifactError:
        return None
    counts: dict[str, int] = manifest.get("counts", {})
    return counts if all(manifest.get(name) == value for name, value in facts.items()) else None


def scan_recommendations(home: Path, run_date: str) -> tuple[pl.LazyFrame, dict[str, Any]]:
    """Return the published `Recommendations` of a run date, not read yet, and their manifest.

    Raises:
        ArtifactError: they are not there, or not as they were written.
    """
    manifest = verify_folder(list_folder(home, run_date), f"run 'recsys generate --run-date {run_date}'")
    return pl.scan_parquet(find_parts(home, run_date)), manifest


def find_parts(home: Path, run_date: str) -> list[Path]:
    """Return the parquet files of a run date's lists, in order."""
    return sorted(list_folder(home, run_date).glob("part-*.parquet"))


def list_folder(home: Path, run_date: str) -> Path:
    """Return the folder of a run date's lists."""
    return home / "recommendations" / f"run_date={run_date}"


def point_at(home: Path, run_date: str) -> None:
    """Point readers at a run date that is already published.

    Raises:
        ArtifactError: it is not there, or not complete.
    """
    folder = list_folder(home, run_date)
    verify_folder(folder, f"run 'recsys generate --run-date {run_date}'")
    replace_text(home / "recommendations" / POINTER, f"run_date={run_date}\n")


def find_published(home: Path) -> list[str]:
    """Return the run dates that are published, oldest first."""
    folders = (home / "recommendations").glob("run_date=*/" + MANIFEST)
    return sorted(path.parent.name.removeprefix("run_date=") for path in folders)


def read_pointer(home: Path) -> str | None:
    """Return the run date that readers follow, None before the first night."""
    pointer = home / "recommendations" / POINTER
    return pointer.read_text(encoding="utf-8").strip().removeprefix("run_date=") if pointer.is_file() else None


def prune_published(home: Path, keep: int) -> list[str]:
    """Delete the oldest run dates beyond `keep`, never the one the pointer names; return what went.

    Shards of nights before the oldest that is left, which were never published, go too.
    """
    current, published = read_pointer(home), find_published(home)
    old = [date for date in published[:-keep] if date != current]
    for date in old:
        shutil.rmtree(list_folder(home, date))
    for folder in (home / "recommendations").glob(".run_date=*.shards"):
        if folder.name.removeprefix(".run_date=").removesuffix(".shards") < published[-keep:][0]:
            shutil.rmtree(folder)
    return old


def read_recommendations(home: Path, run_date: str) -> pl.DataFrame:
    """Return the published `Recommendations` of a run date, sorted by user, then rank."""
    next_step = f"run 'recsys generate --run-date {run_date}'"
    verify_folder(list_folder(home, run_date), next_step)
    what = f"recommendations for {run_date}"
    return pl.concat(read_table(part, Recommendations, what, next_step) for part in find_parts(home, run_date))


def write_outputs(folder: Path, kinds: Sequence[str]) -> None:
    """Write the lists of a folder once more as `lists.jsonl` or `lists.csv`, row by row.

    In CSV the names of the sources stand in one cell, parted by `|`.
    """
    lists = pl.scan_parquet(sorted(folder.glob("part-*.parquet")))
    if "jsonl" in kinds:
        lists.sink_ndjson(folder / "lists.jsonl")
    if "csv" in kinds:
        lists.with_columns(pl.col("sources").list.join("|")).sink_csv(folder / "lists.csv")
