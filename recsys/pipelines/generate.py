"""`recsys generate`: the champion's lists for every active user, published whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from recsys.artifacts.night import ACCEPTED, PROMOTION, Night
from recsys.artifacts.outputs import ListFolder, clear_shards, fill_outputs, list_outputs
from recsys.artifacts.recommendations import (
    find_followed,
    open_shards,
    prune_published,
)
from recsys.artifacts.shards import ShardFolder
from recsys.config import Config
from recsys.dataset.windows import resolve_end
from recsys.errors import RecsysError, Refused
from recsys.pipelines.last_good import Lists, find_last_good_lists
from recsys.pipelines.night_inputs import NightInputs, hash_list_settings, list_run_dates
from recsys.pipelines.night_lists import Counts, NightLists, forget_old_factors, sum_counts
from recsys.pipelines.plausible_dates import find_last_plausible
from recsys.progress import logger
from recsys.serving.sanity import VariantLists, find_faults, find_losses
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
        readers: run date that readers follow now; None: the pointer is missing or damaged.
    """

    folder: Path
    run_date: str
    counts: Counts
    variants: dict[str, Any] = field(default_factory=dict)
    readers: str | None = None


@dataclass(frozen=True)
class NightOptions:
    """How lists are published.

    Attributes:
        keep_pointer: leave readers (the pointer and the PostgreSQL table) on the lists that they follow, as a backfill
            does.
        allow_future: accept any run date, for simulations, and trust a pointer in the future.
        accept_loss: why fewer users and rows than in the last good lists are right; None: they are limited. It is
            recorded in the manifest.
    """

    keep_pointer: bool = False
    allow_future: bool = False
    accept_loss: str | None = None


_USUAL = NightOptions()


def generate(
    config: Config, home: Path, run_date: str | None, now: datetime, options: NightOptions = _USUAL
) -> Generated:
    """Make and publish the champion's lists for one run date, and fill every output that does not hold them yet.

    While a canary is running, its share of the users gets the lists of the challenger in the same folder.

    Only events before 00:00 UTC of the run date are used. Finished shards are kept: a run that was killed continues
    from them and ends in the same bytes. Where the same champion, snapshot and settings have published the run date
    already, no list is made again; only outputs that do not hold it, such as a table whose database failed, are filled.

    Args:
        config: its dataset and generation sections are used; the models have the champion's own settings.
        home: the folder of snapshots, lists and the default MLflow store.
        run_date: YYYY-MM-DD; None: the day after the snapshot's last event.
        now: the time of the clock, which limits the run date; its day is the run date where the data has no times and
            no run date is given. Lists do not depend on it otherwise.
        options: how the lists are published.

    Raises:
        Refused: the run date is in the future, a model learned from events of the run date or later, the snapshot is
            too old, no user would get a list, or the lists fail a sanity check.
        ArtifactError: an output cannot be written; those before it hold the night.
    """
    with lock(home, "generation"):
        inputs = NightInputs.load(config, home)
        end = resolve_end(inputs.snapshot.interactions, run_date)
        return _Nightly(inputs, home, now, options).make(run_date or (end or now).date().isoformat(), end)


def generate_range(
    config: Config, home: Path, first: str, last: str, now: datetime, options: NightOptions = _USUAL
) -> list[Generated]:
    """Make the lists of each run date from the first to the last, in order, each as `generate` would.

    Raises:
        DataError: a date is not YYYY-MM-DD, the last is before the first, or the data has no times.
        Refused: as for `generate`; the nights before it are published.
    """
    with lock(home, "generation"):
        inputs = NightInputs.load(config, home)
        nightly = _Nightly(inputs, home, now, options)
        nights = [
            (run_date, resolve_end(inputs.snapshot.interactions, run_date))
            for run_date in list_run_dates(first, last, inputs.snapshot)
        ]
        # A typing error in the last date is found before the first night is made.
        nightly.check(*nights[-1])
        return [nightly.make(*night) for night in nights]


@dataclass(frozen=True)
class _Nightly:
    inputs: NightInputs
    home: Path
    now: datetime
    options: NightOptions

    def check(self, run_date: str, end: datetime | None) -> None:
        self.inputs.refuse_date(run_date, end, self.now, allow_future=self.options.allow_future)

    def make(self, run_date: str, end: datetime | None) -> Generated:
        """Make and publish one night."""
        self.check(run_date, end)
        inputs, home, options, settings = self.inputs, self.home, self.options, self.inputs.config.generation
        night = Night(run_date, inputs.describe(home, run_date, end))
        latest = None if options.allow_future else find_last_plausible(inputs.data_end, self.now)
        lists = ListFolder(
            home,
            inputs.config.name,
            settings.outputs,
            partial(_make_lists, inputs, home, end, options, latest),
            follow=not options.keep_pointer,
            latest=latest,
        )
        filled = fill_outputs(list_outputs(lists, settings), night)
        if not filled:
            logger.info("lists for %s: already published, nothing to do", run_date)
        clear_shards(home, night)
        if lists in filled:
            forget_old_factors(inputs, home, run_date)
        folder = list_folder(home, run_date)
        # Read before old nights are pruned: this one may be among them.
        manifest = read_manifest(folder, "run 'recsys generate' again")
        if pruned := prune_published(home, settings.keep_run_dates):
            logger.info("pruned: run dates %s", ", ".join(pruned))
        readers = find_followed(home).run_date
        return Generated(folder, run_date, manifest["counts"], manifest.get("variants", {}), readers)


def _make_lists(
    inputs: NightInputs, home: Path, end: datetime | None, options: NightOptions, latest: str | None, night: Night
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
    total = sum_counts(counts.values())
    previous = find_last_good_lists(home, inputs.config.name, night.run_date, latest)
    _refuse_unfit(inputs, night.run_date, shards, counts, total, previous, accept_loss=options.accept_loss is not None)
    # Two nights have comparable users if they choose them by the same settings: these, and the named users.
    facts: dict[str, Any] = {"counts": total, "active_days": inputs.config.generation.active_days}
    if inputs.canary:
        facts["variants"] = {
            variant.name: {"model_version": variant.version.number, "counts": counts.get(variant.name, _NO_LISTS)}
            for variant in inputs.variants
        }
    if inputs.promotion is not None:
        facts[PROMOTION] = inputs.promotion
    if options.accept_loss is not None:
        facts[ACCEPTED] = options.accept_loss
    return shards, facts


def _refuse_unfit(
    inputs: NightInputs,
    run_date: str,
    shards: ShardFolder,
    counts: Mapping[str, Counts],
    total: Counts,
    previous: Lists | None,
    *,
    accept_loss: bool,
) -> None:
    config = inputs.config
    variants = [
        VariantLists(str(variant), variant.version.number, counts[variant.name])
        for variant in inputs.variants
        if inputs.canary and variant.name in counts
    ]
    lists, settings = shards.scan(), config.generation.sanity
    same_settings = previous is not None and previous[1].get("config") == hash_list_settings(config)
    faults = find_faults(
        lists,
        total,
        previous[0] if previous else None,
        same_settings=same_settings,
        config=settings,
        variants=variants,
    )
    if previous is not None and not accept_loss:
        chosen = {"active_days": config.generation.active_days, "users": inputs.hash_named_users()}
        same_users = same_settings or all(previous[1].get(name, "") == value for name, value in chosen.items())
        faults += find_losses(lists, previous[0], same_users=same_users, same_settings=same_settings, config=settings)
    if faults:
        stop = "stop the canary with 'recsys canary --stop' and run again, " if inputs.canary else ""
        compared = f" (compared with the lists of {previous[1].get('run_date')})" if previous else ""
        raise Refused(
            f"generate for {run_date}: {'; '.join(faults)}{compared}; the current lists remain published; {stop}check "
            "the data and the champion, or change the limit; if a loss is intended, accept it with --accept-loss REASON"
        )
