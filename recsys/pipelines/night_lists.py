"""A night's lists, shard by shard: each shard belongs to one model of the night."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from recsys.artifacts.shards import ShardFolder
from recsys.collab.factor_cache import FactorCache
from recsys.dataset.histories import Histories, stream_histories
from recsys.dataset.ingestion.meaning import order_kinds
from recsys.engines import make_engine
from recsys.errors import Refused
from recsys.pipelines.night_inputs import NightInputs, Variant
from recsys.progress import ProgressLogger, format_count, log_stage, logger, progress_bar
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.embedding_task import embed_with_engine
from recsys.serving.night_sample import find_share
from recsys.serving.shard_task import ShardTask, add_counts, save_inputs
from recsys.storage.home import embeddings_folder, factors_folder
from recsys.tables import CHAMPION
from recsys.text.embedding_cache import EmbeddingCache

Counts = dict[str, int]


@dataclass(frozen=True)
class Part:
    """One of several equal parts of a night's shards, each made by a process of its own.

    Attributes:
        number: 1 to `parts`.
        parts: how many there are.
    """

    number: int
    parts: int

    def has(self, shard: int) -> bool:
        """Return whether a shard belongs to this part."""
        return shard % self.parts == self.number - 1

    def __str__(self) -> str:
        """Return the part as it is typed, such as `2/3`."""
        return f"{self.number}/{self.parts}"


WHOLE_NIGHT = Part(1, 1)


@dataclass(frozen=True)
class NightLists:
    """Makes the shards of one night that are not finished yet.

    Attributes:
        inputs: of the night.
        home: the folder of lists and caches.
        run_date: YYYY-MM-DD.
        end: the lists know the events before it; None without times.
        shards: folder of the finished shards.
        part: of the shards to make.
    """

    inputs: NightInputs
    home: Path
    run_date: str
    end: datetime | None
    shards: ShardFolder
    part: Part = WHOLE_NIGHT

    def make(self) -> dict[str, Counts]:
        """Make what is missing of the part, the champion's shards first.

        One model at a time is prepared for the catalogue; none whose shards are all finished.

        Returns:
            The counts of each model's shards of the part, by the name of its variant.

        Raises:
            Refused: there is no active user or no available item, or the snapshot is too old.
        """
        histories, active = self._read_histories()
        made: dict[str, Counts] = {}
        shown = self.inputs.find_shown_parts(self.home, self.run_date)
        finished, first = self.shards.find_finished(), 0
        for variant, users in self.inputs.split_users(active):
            size = self.inputs.config.generation.shard_size
            last = first + -(-users.n_users // size)
            numbers = [number for number in range(first, last) if self.part.has(number)]
            task = ShardTask(self._name_inputs(variant), self.shards.folder, size, self.run_date, first)
            kept = {number: finished[number] for number in numbers if number in finished}
            if len(kept) < len(numbers):
                # Not kept in a variable: the next model is prepared without this one in memory.
                kept = self._make_shards(self._prepare(variant, histories, shown, users), users, task, numbers, kept)
            elif numbers:
                logger.info("lists: all %s are already finished", format_count(len(numbers), "shard"))
            made[variant.name] = sum_counts(kept[number] for number in numbers)
            first = last
        return made

    def _name_inputs(self, variant: Variant) -> Path:
        name = "inputs" if variant.name == CHAMPION else f"inputs_{variant.name}"
        own = "" if self.part == WHOLE_NIGHT else f"_{self.part.number}_of_{self.part.parts}"
        return self.shards.folder / f"{name}{own}"

    def _read_histories(self) -> tuple[Histories, Histories]:
        """Return the histories of all users and of the active users."""
        inputs, snapshot = self.inputs, self.inputs.snapshot
        with log_stage("histories") as done:
            inputs.refuse_age(self.run_date, self.end)
            histories = stream_histories(
                snapshot.interactions, snapshot.items, self.end, order_kinds(inputs.config.dataset.interactions)
            )
            active = inputs.select_active(histories, self.end)
            done(f"{format_count(histories.n_users, 'user')}, {active.n_users:,} active")
        if not active.n_users:
            raise Refused(
                f"generate for {self.run_date}: no active user before {self.end}; "
                "ingest newer data or raise generation.active_days; the current lists remain published"
            )
        return histories, active

    def _prepare(
        self, variant: Variant, histories: Histories, shown: list[list[Path]], users: Histories
    ) -> BatchRecommender:
        """Return the recommender of a model over tonight's catalogue; the champion's keeps a sample of users."""
        config, bundle, home = self.inputs.config, variant.bundle, self.home
        with (
            log_stage(self._name_stage("catalogue", variant)) as done,
            progress_bar("Embedding", self.inputs.snapshot.items.height) as progress,
        ):
            items = bundle.block_lists.withhold(self.inputs.snapshot.items)
            texts = bundle.make_item_texts(items)
            if not config.generation.engine.here:
                embed_with_engine(bundle, texts, home, config)
            recommender = bundle.prepare(
                items,
                histories,
                texts,
                progress=progress,
                cache=EmbeddingCache(embeddings_folder(home)),
                factor_cache=_open_factor_cache(variant, home, self.run_date),
            )
            done(f"{format_count(items.height, 'item')}, {int(recommender.recommendable.sum()):,} recommendable")
        if not recommender.recommendable.any():
            raise Refused(
                f"generate for {self.run_date}: no item of the catalogue is available; the current lists remain "
                "published"
            )
        made = BatchRecommender(
            config,
            bundle,
            recommender,
            variant.version.number,
            bundle.count_evidence(recommender, histories),
            histories.ages_until,
            bundle.block_lists.pairs,
            shown,
            variant.name if self.inputs.canary else None,
        )
        return replace(made, sample_share=find_share(users.n_users)) if variant.name == CHAMPION else made

    def _make_shards(
        self,
        recommender: BatchRecommender,
        users: Histories,
        task: ShardTask,
        numbers: Sequence[int],
        finished: Mapping[int, Counts],
    ) -> dict[int, Counts]:
        """Make the shards of one model that are not finished yet; return the counts of all shards by number."""
        config = recommender.config
        engine, made = config.generation.engine, dict(finished)
        missing = [number for number in numbers if number not in finished]
        if finished:
            logger.info("lists: %d of %d shards are already finished", len(finished), len(numbers))
        if engine.here:
            task.keep_here(recommender, users)
        elif missing:
            with log_stage("shard inputs"):
                save_inputs(task.inputs, recommender, users)
        own = sum(min(task.size, users.n_users - (number - task.first) * task.size) for number in numbers)
        with log_stage("lists") as done, progress_bar(f"Lists for {self.run_date}", own, log=False) as progress:
            kept = _count_users(finished.values())
            progress(kept)
            pace = ProgressLogger("lists", "users", own - kept)
            try:
                for number, counts in make_engine(engine, config.threads).run(task, missing):
                    made[number] = counts
                    progress(counts["users"])
                    pace.update(counts["users"])
            finally:
                task.forget()
            total = sum_counts(made.values())
            done(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in total.items()) + pace.describe())
        cache = recommender.recommender.factor_cache
        if cache and cache.known + cache.solved:
            logger.info("ALS user factors: %s cached, %s recomputed", f"{cache.known:,}", f"{cache.solved:,}")
        return made

    def _name_stage(self, stage: str, variant: Variant) -> str:
        return f"{stage} of {variant}" if self.inputs.canary else stage


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """Return the sums by name; empty without any."""
    total: Counts = {}
    for own in counts:
        total = add_counts(total, own)
    return total


def forget_old_factors(inputs: NightInputs, home: Path, run_date: str) -> None:
    """Delete the cached user factors of other nights and of models that make no lists."""
    for variant in inputs.variants:
        _open_factor_cache(variant, home, run_date).forget_others(len(inputs.variants))


def _open_factor_cache(variant: Variant, home: Path, run_date: str) -> FactorCache:
    """Open the cache of users' ALS factors; tonight's are written under the run date."""
    cache: FactorCache = variant.bundle.candidate_models["als"].open_cache(factors_folder(home), run_date)
    return cache


def _count_users(shards: Iterable[Counts]) -> int:
    return sum(counts["users"] for counts in shards)
