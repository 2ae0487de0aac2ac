"""`recsys generate`: the champion's lists for every active user, published whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from recsys.artifacts.outputs import ListFolder, Night, clear_shards, fill_outputs, list_outputs
from recsys.artifacts.recommendations import (
    open_shards,
    prune_published,
    read_pointer,
    scan_recommendations,
)
from recsys.artifacts.shards import ShardFolder
from recsys.collab.factor_cache import FactorCache
from recsys.config import Config
from recsys.dataset.histories import Histories, stream_histories
from recsys.dataset.windows import resolve_end
from recsys.engines import make_engine
from recsys.errors import ArtifactError, Refused
from recsys.pipelines.night_inputs import NightInputs, hash_list_settings, list_run_dates
from recsys.progress import ProgressLogger, format_count, log_stage, logger, progress_bar
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.embedding_task import embed_with_engine
from recsys.serving.sanity import find_faults
from recsys.serving.shard_task import ShardTask, add_counts, save_inputs
from recsys.storage.folders import read_manifest
from recsys.storage.home import embeddings_folder, factors_folder, list_folder
from recsys.storage.locks import lock
from recsys.text.embedding_cache import EmbeddingCache


@dataclass(frozen=True)
class Generated:
    """One published night.

    Attributes:
        folder: of the lists.
        run_date: YYYY-MM-DD.
        counts: as in the manifest.
    """

    folder: Path
    run_date: str
    counts: dict[str, int]


def generate(config: Config, home: Path, run_date: str | None, now: datetime) -> Generated:
    """Make and publish the champion's lists for one run date, and fill every output that does not hold them yet.

    Only events before 00:00 UTC of the run date are used. Finished shards are kept: a run that was killed continues
    from them and ends in the same bytes. Where the same champion, snapshot and settings have published the run date
    already, no list is made again; only outputs that do not hold it, such as a table whose database failed, are filled.

    Args:
        config: its dataset and generation sections are used; the models have the champion's own settings.
        home: the folder of snapshots, lists and the default MLflow store.
        run_date: YYYY-MM-DD; None: the day after the snapshot's last event.
        now: its day is the run date where the data has no times and no run date is given; otherwise unused.

    Raises:
        Refused: the champion learned from events of the run date or later, the snapshot is too old, no user would get
            a list, or the lists fail a sanity check.
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
        _open_factor_cache(inputs, home, run_date).forget_others()
    if pruned := prune_published(home, settings.keep_run_dates):
        logger.info("pruned: run dates %s", ", ".join(pruned))
    folder = list_folder(home, run_date)
    return Generated(folder, run_date, read_manifest(folder, "run 'recsys generate' again")["counts"])


def _make_lists(
    inputs: NightInputs, home: Path, end: datetime | None, night: Night
) -> tuple[ShardFolder, dict[str, int]]:
    """Return the night's finished shards and their counts."""
    config, run_date = inputs.config, night.run_date
    recommender, active = _prepare(inputs, home, run_date, end)
    shards = open_shards(home, run_date, night.facts)
    task = ShardTask(shards.folder / "inputs", shards.folder, config.generation.shard_size, run_date)
    counts = _make_shards(recommender, active, task, shards)
    _refuse_unfit(config, home, run_date, shards, counts, inputs.version.number)
    return shards, counts


def _prepare(
    inputs: NightInputs, home: Path, run_date: str, end: datetime | None
) -> tuple[BatchRecommender, Histories]:
    """Return the night's recommender and the histories of its active users."""
    config, snapshot = inputs.config, inputs.snapshot
    with log_stage("histories") as done:
        inputs.refuse_age(run_date, end)
        histories = stream_histories(snapshot.interactions, snapshot.items, end)
        active = inputs.select_active(histories, end)
        done(f"{format_count(histories.n_users, 'user')}, {active.n_users:,} active")
    if not active.n_users:
        raise Refused(
            f"generate for {run_date}: no active user before {end}; "
            "ingest newer data or raise generation.active_days; the current lists remain published"
        )
    with log_stage("catalogue") as done, progress_bar("Embedding", snapshot.items.height) as progress:
        cache = EmbeddingCache(embeddings_folder(home))
        items = inputs.bundle.block_lists.withhold(inputs.snapshot.items)
        texts = inputs.bundle.make_item_texts(items)
        if not config.generation.engine.here:
            embed_with_engine(inputs.bundle, texts, home, config)
        factor_cache = _open_factor_cache(inputs, home, run_date)
        recommender = inputs.bundle.prepare(
            items, histories, texts, progress=progress, cache=cache, factor_cache=factor_cache
        )
        done(f"{format_count(items.height, 'item')}, {int(recommender.recommendable.sum()):,} recommendable")
    if not recommender.recommendable.any():
        raise Refused(
            f"generate for {run_date}: no item of the catalogue is available; the current lists remain published"
        )
    shown = inputs.find_shown_parts(home, run_date)
    night = BatchRecommender(
        config,
        inputs.bundle,
        recommender,
        inputs.version.number,
        histories.ages_until,
        inputs.bundle.block_lists.pairs,
        shown,
    )
    return night, active


def _open_factor_cache(inputs: NightInputs, home: Path, run_date: str) -> FactorCache:
    """Open the cache of users' ALS factors; tonight's are written under the run date."""
    cache: FactorCache = inputs.bundle.candidate_models["als"].open_cache(factors_folder(home), run_date)
    return cache


def _make_shards(
    recommender: BatchRecommender, active: Histories, task: ShardTask, shards: ShardFolder
) -> dict[str, int]:
    """Make the shards that are not finished yet and return the counts of all."""
    config = recommender.config
    engine = config.generation.engine
    numbers = range(-(-active.n_users // task.size))
    finished = shards.find_finished()
    missing = [number for number in numbers if number not in finished]
    if finished:
        logger.info("lists: %d of %d shards are already finished", len(numbers) - len(missing), len(numbers))
    if engine.here:
        task.keep_here(recommender, active)
    elif missing:
        with log_stage("shard inputs"):
            save_inputs(task.inputs, recommender, active)
    with log_stage("lists") as done, progress_bar(f"Lists for {task.run_date}", active.n_users) as progress:
        kept = _count_users(finished.values())
        progress(kept)
        pace = ProgressLogger("lists", "users", active.n_users - kept)
        try:
            for number, counts in make_engine(engine, config.threads).run(task, missing):
                finished[number] = counts
                progress(counts["users"])
                pace.update(counts["users"])
        finally:
            task.forget()
        total: dict[str, int] = {}
        for number in numbers:
            total = add_counts(total, finished[number])
        done(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in total.items()) + pace.describe())
    cache = recommender.recommender.factor_cache
    if cache and cache.known + cache.solved:
        logger.info("ALS user factors: %s cached, %s recomputed", f"{cache.known:,}", f"{cache.solved:,}")
    return total


def _count_users(shards: Iterable[dict[str, int]]) -> int:
    return sum(counts["users"] for counts in shards)


def _refuse_unfit(
    config: Config, home: Path, run_date: str, shards: ShardFolder, counts: dict[str, int], model_version: str
) -> None:
    current, previous = read_pointer(home), None
    try:
        previous = scan_recommendations(home, current) if current else None
    except ArtifactError as error:
        # Damaged lists must not stop the publication of new ones.
        logger.warning("%s; tonight's lists are not compared with them", error)
    faults = find_faults(
        shards.scan(),
        counts,
        previous[0] if previous else None,
        same_settings=previous is not None and previous[1].get("config") == hash_list_settings(config),
        same_model=previous is not None and previous[1].get("model_version") == model_version,
        config=config.generation.sanity,
    )
    if faults:
        raise Refused(
            f"generate for {run_date}: {'; '.join(faults)}; the current lists remain published; check the data and the "
            "champion, or change the limit"
        )
