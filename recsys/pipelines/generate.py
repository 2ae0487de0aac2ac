"""`recsys generate`: the champion's lists for every active user, published whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from recsys.artifacts.outputs import PROMOTION, ListFolder, Night, clear_shards, fill_outputs, list_outputs
from recsys.artifacts.recommendations import (
    open_shards,
    prune_published,
    read_pointer,
    scan_recommendations,
)
from recsys.artifacts.shards import ShardFolder
from recsys.config import Config
from recsys.dataset.windows import resolve_end
from recsys.errors import ArtifactError, RecsysError, Refused
from recsys.pipelines.night_inputs import NightInputs, hash_list_settings, list_run_dates
from recsys.pipelines.night_lists import Counts, NightLists, forget_old_factors
from recsys.progress import logger
from recsys.serving.sanity import VariantLists, find_faults
from recsys.serving.shard_task import add_counts
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder
from recsys.storage.locks import lock

# Of a model whose share of the users is so small that none was drawn.
_NO_LISTS: Counts = dict.fromkeys(("users", "rows", "fallback_rows", "short_lists", "empty_lists"), 0)


@dataclass(frozen=True)
class Generated:
    """One published night.

    Attributes:
        folder: of the lists.
        run_date: YYYY-MM-DD.
        counts: as in the manifest.
        variants: of a night with a canary, as in the manifest: version and counts by variant; otherwise empty.
    """

    folder: Path
    run_date: str
    counts: Counts
    variants: dict[str, Any] = field(default_factory=dict)


def generate(config: Config, home: Path, run_date: str | None, now: datetime) -> Generated:
    """Make and publish the champion's lists for one run date, and fill every output that does not hold them yet.

    While a canary is running, its share of the users gets the lists of the challenger in the same folder.

    Only events before 00:00 UTC of the run date are used. Finished shards are kept: a run that was killed continues
    from them and ends in the same bytes. Where the same champion, snapshot and settings have published the run date
    already, no list is made again; only outputs that do not hold it, such as a table whose database failed, are filled.

    Args:
        config: its dataset and generation sections are used; the models have the champion's own settings.
        home: the folder of snapshots, lists and the default MLflow store.
        run_date: YYYY-MM-DD; None: the day after the snapshot's last event.
        now: its day is the run date where the data has no times and no run date is given; otherwise unused.

    Raises:
        Refused: a model learned from events of the run date or later, the snapshot is too old, no user would get a
            list, or the lists fail a sanity check.
        ArtifactError: an output cannot be written; those before it hold the night.
    """
    with lock(home, "generation"):
        inputs = NightInputs.load(config, home)
        end = resolve_end(inputs.snapshot.interactions, run_date)
        return _generate(inputs, home, run_date or (end or now).date().isoformat(), end)


def generate_range(config: Config, home: Path, first: str, last: str, now: datetime) -> list[Generated]:
    """Make the lists of each run date from the first to the last, in order, each as `generate` would.

    Raises:
        DataError: a date is not YYYY-MM-DD, the last is before the first, or the data has no times.
        Refused: as for `generate`; the nights before it are published.
    """
    with lock(home, "generation"):
        inputs = NightInputs.load(config, home)
        interactions = inputs.snapshot.interactions
        return [
            _generate(inputs, home, run_date, resolve_end(interactions, run_date))
            for run_date in list_run_dates(first, last, inputs.snapshot)
        ]


def _generate(inputs: NightInputs, home: Path, run_date: str, end: datetime | None) -> Generated:
    config, settings = inputs.config, inputs.config.generation
    inputs.refuse_leak(end)
    night = Night(run_date, inputs.describe(home, run_date, end))
    lists = ListFolder(home, config.name, settings.outputs, partial(_make_lists, inputs, home, end))
    filled = fill_outputs(list_outputs(lists, settings.postgres_table), night)
    if not filled:
        logger.info("lists for %s: already published, nothing to do", run_date)
    clear_shards(home, night)
    if lists in filled:
        forget_old_factors(inputs, home, run_date)
    if pruned := prune_published(home, settings.keep_run_dates):
        logger.info("pruned: run dates %s", ", ".join(pruned))
    folder = list_folder(home, run_date)
    manifest = read_manifest(folder, "run 'recsys generate' again")
    return Generated(folder, run_date, manifest["counts"], manifest.get("variants", {}))


def _make_lists(
    inputs: NightInputs, home: Path, end: datetime | None, night: Night
) -> tuple[ShardFolder, dict[str, Any]]:
    """Return the night's finished shards and what the manifest says about them."""
    shards = open_shards(home, night.run_date, night.facts)
    try:
        counts = NightLists(inputs, home, night.run_date, end, shards).make()
    except RecsysError:
        # A night that fails before its first shard leaves nothing behind.
        if not shards.find_finished():
            shards.remove()
        raise
    total: Counts = {}
    for own in counts.values():
        total = add_counts(total, own)
    _refuse_unfit(inputs, home, night.run_date, shards, counts, total)
    facts: dict[str, Any] = {"counts": total}
    if inputs.canary:
        facts["variants"] = {
            variant.name: {"model_version": variant.version.number, "counts": counts.get(variant.name, _NO_LISTS)}
            for variant in inputs.variants
        }
    if inputs.promotion is not None:
        facts[PROMOTION] = inputs.promotion
    return shards, facts


def _refuse_unfit(
    inputs: NightInputs, home: Path, run_date: str, shards: ShardFolder, counts: Mapping[str, Counts], total: Counts
) -> None:
    config, current, previous = inputs.config, read_pointer(home), None
    try:
        previous = scan_recommendations(home, current) if current else None
    except ArtifactError as error:
        # Damaged lists must not stop the publication of new ones.
        logger.warning("%s; tonight's lists are not compared with them", error)
    variants = [
        VariantLists(str(variant), variant.version.number, counts[variant.name])
        for variant in inputs.variants
        if inputs.canary and variant.name in counts
    ]
    faults = find_faults(
        shards.scan(),
        total,
        previous[0] if previous else None,
        same_settings=previous is not None and previous[1].get("config") == hash_list_settings(config),
        config=config.generation.sanity,
        variants=variants,
    )
    if faults:
        stop = "stop the canary with 'recsys canary --stop' and run again, " if inputs.canary else ""
        raise Refused(
            f"generate for {run_date}: {'; '.join(faults)}; the current lists remain published; {stop}check the data "
            "and the champion, or change the limit"
        )
