"""`recsys generate`: the champion's lists for every active user, published whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from recsys import __version__
from recsys.artifacts.postgres import find_database, upsert_lists
from recsys.artifacts.recommendations import (
    check_owner,
    find_parts,
    find_published,
    is_published,
    open_shards,
    prune_published,
    publish,
    read_pointer,
    scan_recommendations,
    write_outputs,
)
from recsys.artifacts.shards import ShardFolder
from recsys.artifacts.snapshots import OpenSnapshot, open_snapshot
from recsys.config import Config, data_path
from recsys.dataset.histories import Histories, stream_histories
from recsys.dataset.user_items import read_ids
from recsys.dataset.windows import resolve_end
from recsys.engines import make_engine
from recsys.errors import ArtifactError, DataError, Refused
from recsys.pipelines.promote import load_champion
from recsys.progress import ProgressLogger, log_stage, logger, progress_bar
from recsys.registry.versions import Version
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.serving.embedding_task import embed_with_engine
from recsys.serving.sanity import find_faults
from recsys.serving.shard_task import ShardTask, add_counts, save_inputs
from recsys.storage.files import hash_file, hash_text
from recsys.storage.folders import MANIFEST, verify_folder
from recsys.storage.home import embeddings_folder, factors_folder, list_folder
from recsys.storage.locks import lock
from recsys.text.embedding_cache import EmbeddingCache


@dataclass(frozen=True)
class Generated:
    """One published night: where the lists lie and what the manifest counts."""

    folder: Path
    run_date: str
    counts: dict[str, int]


def generate(config: Config, home: Path, run_date: str | None, now: datetime) -> Generated:
    """Make and publish the lists of one run date with the champion.

    Only events before 00:00 UTC of the run date are used. Shards are kept as they are finished: a night that was killed
    goes on from there, and ends in the same bytes. The pointer that readers follow moves last.

    Args:
        config: dataset and generation sections count; models come from the champion's own settings.
        home: where snapshots, the default MLflow store and the lists lie.
        run_date: YYYY-MM-DD; None: the day after the snapshot's last event.
        now: its day names the folder when the data has no times and no run date is given; nothing else reads it.

    Raises:
        Refused: the champion learned from events of the run date or later, the snapshot is too old, no user would get
            a list, or the lists are not fit to be published.
    """
    with lock(home, "generation"):
        source = _Source.read(config, home)
        return _generate(source, home, run_date, now)


def generate_range(config: Config, home: Path, first: str, last: str, now: datetime) -> list[Generated]:
    """Make the lists of each run date from first to last, in order; nights that are published already are left alone.

    Published already means: by the same champion from the same snapshot and settings, to the same instant.

    Raises:
        DataError: a date is not YYYY-MM-DD, the last is before the first, or the data has no times.
        Refused: as for `generate`; the nights before it are published.
    """
    with lock(home, "generation"):
        source = _Source.read(config, home)
        made = []
        for day in _list_days(first, last, source.snapshot):
            facts = source.describe(home, day, resolve_end(source.snapshot.interactions, day))
            if (counts := is_published(home, day, facts)) is not None:
                logger.info("lists for %s: published already", day)
                made.append(Generated(list_folder(home, day), day, counts))
            else:
                made.append(_generate(source, home, day, now))
        return made


@dataclass(frozen=True)
class _Source:
    """What a night is made from, before it is known which night."""

    config: Config
    snapshot: OpenSnapshot
    version: Version
    bundle: Bundle
    blocked_items: pl.DataFrame
    blocked_pairs: pl.DataFrame
    more_users: pl.DataFrame

    @classmethod
    def read(cls, config: Config, home: Path) -> _Source:
        # What would stop the night at its end stops it here.
        check_owner(home, config.name)
        if config.generation.postgres_table:
            find_database(config.generation.postgres_table)
        snapshot = open_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        version, bundle = load_champion(config, home)
        # What a list may hold (`repeats`) is for this config to say, not for the one that trained the champion.
        tonight = replace(bundle, config=bundle.config.model_copy(update={"dataset": config.dataset}))
        rules = config.generation.rules
        return cls(
            config,
            snapshot,
            version,
            tonight,
            _read_given(rules.blocked_items, ["item_id"], "block list"),
            _read_given(rules.blocked_pairs, ["user_id", "item_id"], "block list"),
            _read_given(config.generation.users, ["user_id"], "list of users"),
        )

    def describe(self, home: Path, day: str, end: datetime | None) -> dict[str, Any]:
        """Return everything that a night's bytes depend on, for its manifest."""
        shown = {one: hash_file(list_folder(home, one) / MANIFEST) for one in self.find_shown(home, day)}
        return {
            "model": self.version.name,
            "model_version": self.version.number,
            "bundle": self.version.tags.get("bundle", ""),
            "snapshot": self.snapshot.id,
            "config": self.config.digest(),
            "end": end.isoformat() if end else None,
            "recsys": __version__,
            "blocked": [hash_text(one.write_csv()) for one in (self.blocked_items, self.blocked_pairs)],
            "users": hash_text(self.more_users.write_csv()),
            "shown": shown,
        }

    def find_shown(self, home: Path, day: str) -> list[str]:
        """Return the run dates whose lists count against their items tonight, the last one first."""
        rules = self.config.generation.rules
        earlier = [one for one in find_published(home) if one < day] if rules.shown_penalty else []
        return earlier[::-1][: rules.shown_nights]


def _generate(source: _Source, home: Path, run_date: str | None, now: datetime) -> Generated:
    config, snapshot = source.config, source.snapshot
    end = resolve_end(snapshot.interactions, run_date)
    day = run_date or (end or now).date().isoformat()
    _refuse_leak(source.bundle, source.version, end)
    night, active = _prepare(source, home, day, end)
    facts = source.describe(home, day, end)
    shards = open_shards(home, day, facts)
    work = ShardTask(shards.folder / "inputs", shards.folder, config.generation.shard_size, day)
    counts = _make_shards(source, night, active, work, shards)
    _refuse_unfit(config, home, day, shards, counts, source.version.number)

    def fill(folder: Path) -> dict[str, Any]:
        shards.link_into(folder)
        write_outputs(folder, config.generation.outputs)
        return {"counts": counts}

    if not publish(home, config.name, day, fill, facts):
        logger.warning("lists for %s are published, but readers follow a later run date", day)
    shards.remove()
    if night.recommender.factor_cache:
        night.recommender.factor_cache.forget_others()
    _fill_table(config, home, day)
    gone = prune_published(home, config.generation.keep_run_dates)
    if gone:
        logger.info("pruned: run dates %s", ", ".join(gone))
    return Generated(list_folder(home, day), day, counts)


def _prepare(source: _Source, home: Path, day: str, end: datetime | None) -> tuple[BatchRecommender, Histories]:
    """Return the night and the histories of its active users."""
    config, snapshot = source.config, source.snapshot
    with log_stage("histories") as done:
        _refuse_age(config, day, end, snapshot.interactions)
        histories = stream_histories(snapshot.interactions, snapshot.items, end)
        active = _find_active(histories, snapshot.interactions, end, config.generation.active_days)
        if source.more_users.height:
            active = histories.take(pl.concat([active.user_ids, source.more_users["user_id"]]))
        done(f"{histories.n_users:,} users, {active.n_users:,} active")
    if not active.n_users:
        raise Refused(
            f"generate for {day}: no active user before {end}; "
            "ingest newer data or raise generation.active_days; the lists in place stay"
        )
    with log_stage("catalogue") as done, progress_bar("Embedding", snapshot.items.height) as progress:
        cache = EmbeddingCache(embeddings_folder(home))
        items = snapshot.items.with_columns(
            available=pl.col("available") & ~pl.col("item_id").is_in(source.blocked_items["item_id"].implode())
        )
        if not config.generation.engine.here:
            embed_with_engine(source.bundle, items, home, config)
        factor_cache = source.bundle.candidate_models.als.open_cache(factors_folder(home), day)
        recommender = source.bundle.prepare(items, histories, progress, cache, factor_cache)
        done(f"{snapshot.items.height:,} items, {int(recommender.recommendable.sum()):,} recommendable")
    if not recommender.recommendable.any():
        raise Refused(f"generate for {day}: no item of the catalogue is available; the lists in place stay")
    shown = [_find_shown_parts(home, one) for one in source.find_shown(home, day)]
    number, reference = source.version.number, histories.reference
    return BatchRecommender(config, source.bundle, recommender, number, reference, source.blocked_pairs, shown), active


def _find_shown_parts(home: Path, day: str) -> list[Path]:
    verify_folder(
        list_folder(home, day), f"run 'recsys generate --run-date {day}', or set generation.rules.shown_penalty to 0"
    )
    return find_parts(home, day)


def _make_shards(
    source: _Source, night: BatchRecommender, active: Histories, work: ShardTask, shards: ShardFolder
) -> dict[str, int]:
    """Make what is not finished yet and return what all shards count."""
    settings = source.config.generation
    numbers = range(-(-active.n_users // work.size))
    finished = shards.find_finished()
    left = [number for number in numbers if number not in finished]
    if finished:
        logger.info("lists: %d of %d shards are finished already", len(numbers) - len(left), len(numbers))
    if settings.engine.here:
        work.keep_here(night, active)
    elif left:
        with log_stage("inputs of the shards"):
            save_inputs(work.inputs, night, active)
    with log_stage("lists") as done, progress_bar(f"Lists for {work.run_date}", active.n_users) as progress:
        progress(sum(counts["users"] for counts in finished.values()))
        pace = ProgressLogger("lists", "users", active.n_users - sum(counts["users"] for counts in finished.values()))
        try:
            for number, counts in make_engine(settings.engine, source.config.threads).run(work, left):
                finished[number] = counts
                progress(counts["users"])
                pace.update(counts["users"])
        finally:
            work.forget()
        total: dict[str, int] = {}
        for number in numbers:
            total = add_counts(total, finished[number])
        done(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in total.items()) + pace.describe())
    cache = night.recommender.factor_cache
    if cache and cache.known + cache.solved:
        logger.info("ALS user factors: %s cached, %s recomputed", f"{cache.known:,}", f"{cache.solved:,}")
    return total


def _read_given(path: str | None, columns: list[str], what: str) -> pl.DataFrame:
    if path is None:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    found = read_ids(data_path(path), columns, what)
    logger.info("%s %s: %s rows", what, path, f"{found.height:,}")
    return found


def _fill_table(config: Config, home: Path, day: str) -> None:
    table = config.generation.postgres_table
    if table is None:
        return
    with log_stage(f"table {table}") as done:
        rows = upsert_lists(find_parts(home, day), day, table)
        done(f"{rows:,} rows")


def _refuse_leak(bundle: Bundle, version: Version, end: datetime | None) -> None:
    if end is not None and bundle.cutoff is not None and bundle.cutoff > end:
        raise Refused(
            f"generate for {end.date()}: the champion, version {version.number}, learned from events until "
            f"{bundle.cutoff.isoformat()}, so its lists would know the future; choose a run date from "
            f"{bundle.cutoff.date()} on, or train and promote with an earlier --run-date"
        )


def _refuse_age(config: Config, day: str, end: datetime | None, interactions: pl.LazyFrame) -> None:
    limit = config.generation.max_snapshot_age_hours
    if limit is None or end is None:
        return
    last = interactions.filter(pl.col("time") < end).select(pl.col("time").max()).collect(engine="streaming").item()
    if last is None:
        return
    hours = (end - last).total_seconds() / 3600
    if hours > limit:
        raise Refused(
            f"generate for {day}: the snapshot's last event is {hours:,.0f} hours before it ({last.isoformat()}), "
            f"expected at most generation.max_snapshot_age_hours {limit:g}; ingest newer data; the lists in place stay"
        )


def _refuse_unfit(
    config: Config, home: Path, day: str, shards: ShardFolder, counts: dict[str, int], model_version: str
) -> None:
    current, previous = read_pointer(home), None
    try:
        previous = scan_recommendations(home, current) if current else None
    except ArtifactError as error:
        # Readers are better off with sound lists than with these.
        logger.warning("%s; tonight's lists are not compared with them", error)
    faults = find_faults(
        shards.scan(),
        counts,
        previous[0] if previous else None,
        same_settings=previous is not None and previous[1].get("config") == config.digest(),
        same_model=previous is not None and previous[1].get("model_version") == model_version,
        config=config.generation.sanity,
    )
    if faults:
        raise Refused(
            f"generate for {day}: {'; '.join(faults)}; the lists in place stay; look at the data and the champion, or "
            "change that limit"
        )


def _find_active(
    histories: Histories, interactions: pl.LazyFrame, end: datetime | None, active_days: float | None
) -> Histories:
    """Return the users who did anything lately, be it with items that have left the catalogue."""
    if active_days is None or end is None:
        return histories
    lately = pl.col("time").is_between(end - timedelta(days=active_days), end, closed="left")
    users = interactions.filter(lately).select(pl.col("user_id").unique()).collect(engine="streaming")
    return histories.take(users["user_id"])


def _list_days(first: str, last: str, snapshot: OpenSnapshot) -> Sequence[str]:
    ends = [resolve_end(snapshot.interactions, day) for day in (first, last)]
    if None in ends:
        raise DataError(
            "run dates from and until: the data has no times, so all nights are the same; give one run date"
        )
    days: list[date] = [end.date() for end in ends if end]
    if days[1] < days[0]:
        raise DataError(f"run dates {first} until {last}: the last is before the first; swap them")
    return [(days[0] + timedelta(days=step)).isoformat() for step in range((days[1] - days[0]).days + 1)]
