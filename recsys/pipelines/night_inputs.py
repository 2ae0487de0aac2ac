"""What a night is made from: snapshot, models, block lists, earlier lists, and the users who get a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys import __version__
from recsys.artifacts.night import hash_lists
from recsys.artifacts.recommendations import check_owner, find_parts, find_published
from recsys.artifacts.replaced_lists import CANARY
from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot
from recsys.artifacts.table_output import check_table
from recsys.config import (
    Config,
    DatasetSanityConfig,
    GenerationConfig,
    MonitoringConfig,
    RetentionConfig,
    data_path,
)
from recsys.dataset.histories import Histories
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.user_items import read_ids, warn_of_unknown_ids
from recsys.dataset.windows import resolve_end
from recsys.errors import DataError, Refused
from recsys.pipelines.canary import find_canary, load_canary
from recsys.pipelines.plausible_dates import refuse_implausible
from recsys.pipelines.promote import load_champion
from recsys.pipelines.pseudonyms import check_key
from recsys.progress import format_count, logger
from recsys.registry.champion import note_champion
from recsys.registry.promotion_log import Canary
from recsys.registry.tracking import connect
from recsys.registry.versions import Version
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle
from recsys.serving.variants import draw_users
from recsys.storage.files import hash_text
from recsys.storage.folders import verify_folder
from recsys.storage.home import list_folder
from recsys.tables import CHALLENGER, CHAMPION, VariantName

# Settings of the generation section that do not change a list: where lists are written, how long they are kept, and
# when they are refused. Nights that differ only in these are the same night.
_NOT_IN_LISTS = ("outputs", "postgres_table", "publish_to", "keep_run_dates", "sanity", "max_snapshot_age_hours")


@dataclass(frozen=True)
class Variant:
    """A model that makes lists tonight.

    Attributes:
        name: `champion`, or `challenger`: the model of a canary.
        version: of the model.
        bundle: the version's, with the dataset section of tonight's config, which decides what a list may hold
            (`repeats`), and the block lists of tonight.
    """

    name: VariantName
    version: Version
    bundle: Bundle

    def __str__(self) -> str:
        """Return the name for messages, such as `challenger version 2`."""
        return f"{self.name} version {self.version.number}"


@dataclass(frozen=True)
class NightInputs:
    """What all run dates of one command are made from.

    Attributes:
        config: of the command.
        snapshot: the newest of the config.
        champion: makes the lists.
        named_users: `user_id` of users who get a list in addition to the active users.
        canary: the share of users who get the lists of the challenger instead; None: no canary is running.
        challenger: the model of the canary.
        promotion: number of the log entry that made the champion; None: the log does not have it.
    """

    config: Config
    snapshot: OpenSnapshot
    champion: Variant
    named_users: pl.DataFrame
    canary: Canary | None = None
    challenger: Variant | None = None
    promotion: int | None = None

    @classmethod
    def load(cls, config: Config, home: Path) -> NightInputs:
        """Read everything; check first what would otherwise stop the night only at its end.

        Raises:
            ArtifactError: the home publishes the lists of another config, a table has no database, or there is no
                snapshot.
            DataError: a block list or the list of users cannot be read.
            RegistryError: there is no champion, or the version of the canary was deleted.
        """
        check_owner(home, config.name)
        check_table(config.generation.postgres_table)
        snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        if config.generation.users or config.generation.rules.blocked_pairs:
            check_key(config, home, snapshot.id)
        served = load_champion(config, home)
        block_lists = BlockLists.read(config.generation.rules, snapshot.items["item_id"], config.dataset)

        def prepare(name: VariantName, version: Version, bundle: Bundle) -> Variant:
            settings = bundle.config.model_copy(update={"dataset": config.dataset})
            return Variant(name, version, replace(bundle, config=settings, block_lists=block_lists))

        champion = prepare(CHAMPION, *served)
        store = connect(home, config)
        entry = note_champion(store, home, config.model_name)
        canary = find_canary(store, home, champion.version)
        return cls(
            config,
            snapshot,
            champion,
            _read_users(config),
            canary,
            prepare(CHALLENGER, *load_canary(store, config.model_name, canary)) if canary else None,
            entry.number if entry else None,
        )

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The models that make lists, the champion first."""
        return (self.champion, self.challenger) if self.challenger else (self.champion,)

    def describe(self, home: Path, run_date: str, end: datetime | None) -> dict[str, Any]:
        """Return everything that the bytes of a night's lists depend on, for its manifest.

        Raises:
            ArtifactError: the manifest of an earlier night that counts cannot be read.
        """
        shown, version = self._select_shown(home, run_date), self.champion.version
        return {
            "model": version.name,
            "model_version": version.number,
            "bundle": version.tags.get("bundle", ""),
            "snapshot": self.snapshot.id,
            "config": hash_list_settings(self.config),
            "end": end.isoformat() if end else None,
            "recsys": __version__,
            "blocked": self.champion.bundle.block_lists.hashes(),
            "users": self.hash_named_users(),
            "shown": {night: hash_lists(home, night, _fix_shown(night)) for night in shown},
            **self._describe_canary(),
        }

    def hash_named_users(self) -> str:
        """Return the hash of the users who get a list in any case."""
        return hash_text(self.named_users.write_csv())

    def _describe_canary(self) -> dict[str, Any]:
        if self.canary is None or self.challenger is None:
            return {}
        version = self.challenger.version
        facts = {"model_version": version.number, "bundle": version.tags.get("bundle", "")}
        return {CANARY: {**facts, "share": self.canary.share, "key": self.canary.key}}

    def find_shown_parts(self, home: Path, run_date: str) -> list[list[Path]]:
        """Return the parquet files of each earlier night whose lists count against their items, the last night first.

        Raises:
            ArtifactError: such a night is damaged.
        """
        shown = self._select_shown(home, run_date)
        for night in shown:
            verify_folder(list_folder(home, night), _fix_shown(night))
        return [find_parts(home, night) for night in shown]

    def _select_shown(self, home: Path, run_date: str) -> list[str]:
        rules = self.config.generation.rules
        earlier = [night for night in find_published(home) if night < run_date] if rules.shown_penalty else []
        return earlier[::-1][: rules.shown_nights]

    def select_active(self, histories: Histories, end: datetime | None) -> Histories:
        """Return the histories of the users who get a list.

        A user is active with an event in the last `generation.active_days`, even on an item that has left the
        catalogue; without that setting, with any history. Named users are added.
        """
        days, active = self.config.generation.active_days, histories
        if days is not None and end is not None:
            recent = pl.col("time").is_between(end - timedelta(days=days), end, closed="left")
            events = self.snapshot.interactions.filter(recent)
            users = events.select(pl.col("user_id").unique()).collect(engine="streaming")
            active = histories.take(users["user_id"])
        if self.named_users.height:
            warn_of_unknown_ids(
                self.named_users["user_id"],
                histories.user_map,
                "list of users",
                noun="user id",
                fault="without a history",
                effect="given lists of the fallback",
            )
            return histories.take(pl.concat([active.user_ids, self.named_users["user_id"]]))
        return active

    def split_users(self, active: Histories) -> list[tuple[Variant, Histories]]:
        """Return each model with the users who get its lists; a model without users is left out."""
        if self.canary is None or self.challenger is None:
            return [(self.champion, active)]
        drawn = draw_users(active.user_ids, self.canary.share, self.canary.key)
        shares = [
            (self.champion, active.pick(np.flatnonzero(~drawn))),
            (self.challenger, active.pick(np.flatnonzero(drawn))),
        ]
        logger.info(
            "canary: %s makes the lists of %s of %s",
            self.challenger,
            f"{shares[1][1].n_users:,}",
            format_count(active.n_users, "user"),
        )
        return [(variant, users) for variant, users in shares if users.n_users]

    def refuse_date(self, run_date: str, end: datetime | None, now: datetime, *, allow_future: bool) -> None:
        """Refuse a run date that is not plausible, unless the future is allowed, and one whose lists would know it.

        Raises:
            Refused: the run date is in the future or long after the data, or a model learned from later events.
        """
        if not allow_future:
            refuse_implausible("generate", self.config, run_date, self.data_end, now)
        self._refuse_leak(end)

    def _refuse_leak(self, end: datetime | None) -> None:
        """Refuse a night whose lists would use later events.

        Raises:
            Refused: the champion, or the challenger of a canary, learned from events of the run date or later.
        """
        for variant in self.variants:
            cutoff = variant.bundle.cutoff
            if end is not None and cutoff is not None and cutoff > end:
                advice = (
                    "train and promote with an earlier --run-date"
                    if variant is self.champion
                    else "stop the canary with 'recsys canary --stop'"
                )
                raise Refused(
                    f"generate for {end.date()}: the {variant.name}, version {variant.version.number}, was trained on "
                    f"events until {cutoff.isoformat()}, so its lists would leak future events; choose a run date from "
                    f"{cutoff.date()} on, or {advice}"
                )

    @cached_property
    def data_end(self) -> datetime | None:
        """00:00 UTC of the day after the snapshot's last event; None without times."""
        return resolve_end(self.snapshot.interactions, None)

    def refuse_age(self, run_date: str, end: datetime | None) -> None:
        """Refuse a snapshot that is too old for the night.

        Raises:
            Refused: its last event is more than `generation.max_snapshot_age_hours` before the run date.
        """
        limit = self.config.generation.max_snapshot_age_hours
        if limit is None or end is None:
            return
        times = self.snapshot.interactions.filter(pl.col("time") < end).select(pl.col("time").max())
        last = times.collect(engine="streaming").item()
        if last is None:
            return
        hours = (end - last).total_seconds() / 3600
        if hours > limit:
            raise Refused(
                f"generate for {run_date}: the snapshot's last event is {format_count(round(hours), 'hour')} earlier "
                f"({last.isoformat()}), expected at most generation.max_snapshot_age_hours {limit:g}; ingest newer "
                "data; the current lists remain published"
            )


def hash_list_settings(config: Config) -> str:
    """Return the hash of the settings that lists depend on: `Config.digest` with the others at their defaults."""
    defaults = {name: GenerationConfig.model_fields[name].get_default() for name in _NOT_IN_LISTS}
    generation = config.generation.model_copy(update=defaults)
    dataset = config.dataset.model_copy(update={"sanity": DatasetSanityConfig()})
    others = {"dataset": dataset, "monitoring": MonitoringConfig(), "retention": RetentionConfig()}
    return config.model_copy(update={"generation": generation, **others}).digest()


def list_run_dates(first: str, last: str, snapshot: OpenSnapshot) -> Sequence[str]:
    """Return every run date from the first to the last.

    Raises:
        DataError: a date is not YYYY-MM-DD, the last is before the first, or the data has no times.
    """
    ends = [resolve_end(snapshot.interactions, run_date) for run_date in (first, last)]
    if None in ends:
        raise DataError(
            "run dates from and until: the data has no times, so all nights are equal; choose a single run date"
        )
    start, stop = (end.date() for end in ends if end)
    if stop < start:
        raise DataError(f"run dates {first} until {last}: the first is after the last; swap them")
    return [date.fromordinal(day).isoformat() for day in range(start.toordinal(), stop.toordinal() + 1)]


def _fix_shown(run_date: str) -> str:
    return f"run 'recsys generate --run-date {run_date}', or set generation.rules.shown_penalty to 0"


def _read_users(config: Config) -> pl.DataFrame:
    path = config.generation.users
    if path is None:
        return pl.DataFrame(schema={"user_id": pl.String})
    users = read_ids(data_path(path), ["user_id"], "list of users")
    logger.info("list of users %s: %s", path, format_count(users.height, "user"))
    return users.with_columns(name_users(config.dataset, users["user_id"]))
