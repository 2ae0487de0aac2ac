"""`recsys generate`: the champion's lists for every active user, published whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts.folders import lock, write_table
from recsys.artifacts.recommendations import list_folder, prune_published, publish
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.bundle import Bundle, Recommender
from recsys.config import Config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import cut, resolve_end
from recsys.errors import Refused
from recsys.pipelines.promotion import load_champion
from recsys.pipelines.stages import logger, stage, track
from recsys.ranking.lists import fill_up, rank_candidates
from recsys.registry.versions import Version
from recsys.tables import Recommendations
from recsys.text.embedding_cache import EmbeddingCache

FALLBACK = "fallback"
_FALLBACK_REASON = "Popular right now"


@dataclass(frozen=True)
class Generated:
    """One published night: where the lists lie and what the manifest counts."""

    folder: Path
    run_date: str
    counts: dict[str, int]


def generate(config: Config, home: Path, run_date: str | None, now: datetime) -> Generated:
    """Make and publish the lists of one run date with the champion.

    Only events before 00:00 UTC of the run date are used. The pointer that readers follow moves last.

    Args:
        config: dataset and generation sections count; models come from the champion's own settings.
        home: where snapshots, the default MLflow store and the lists lie.
        run_date: YYYY-MM-DD; None: the day after the snapshot's last event.
        now: its day names the folder when the data has no times and no run date is given; nothing else reads it.

    Raises:
        Refused: the champion learned from events of the run date or later, or no user would get a list.
    """
    with lock(home, "generation"):
        snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        end = resolve_end(snapshot.interactions, run_date)
        version, bundle = load_champion(config, home)
        _refuse_leak(bundle, version, end)
        # What a list may hold (`repeats`) is for this config to say, not for the one that trained the champion.
        bundle = replace(bundle, config=bundle.config.model_copy(update={"dataset": config.dataset}))
        day = run_date or (end or now).date().isoformat()
        with stage("histories") as done:
            history = cut(snapshot.interactions, end)
            histories = build_histories(history, snapshot.items, end)
            active = _find_active(histories, config.generation.active_days)
            done(f"{histories.n_users:,} users, {active.n_users:,} active")
        if not active.n_users:
            raise Refused(
                f"generate for {day}: no active user before {end}; "
                "ingest newer data or raise generation.active_days; the lists in place stay"
            )
        with stage("catalogue") as done, track("Embedding", snapshot.items.height) as progress:
            cache = EmbeddingCache(home / "embeddings")
            recommender = bundle.prepare(snapshot.items, histories, progress, cache)
            done(f"{snapshot.items.height:,} items, {int(recommender.recommendable.sum()):,} recommendable")
        if not recommender.recommendable.any():
            raise Refused(f"generate for {day}: no item of the catalogue is available; the lists in place stay")
        night = _Night(config, bundle, recommender, version.number)
        counts: dict[str, int] = {"users": 0, "rows": 0, "fallback_rows": 0, "short_lists": 0}

        def fill(folder: Path) -> dict[str, Any]:
            with stage("lists") as done, track(f"Lists for {day}", active.n_users) as progress:
                for number, (_, shard) in enumerate(active.split(config.generation.shard_size)):
                    lists = night.recommend(shard)
                    what = f"recommendations for {day}, shard {number}"
                    write_table(lists, Recommendations, folder / f"part-{number:05d}.parquet", what)
                    _count(counts, lists, shard.n_users, config.generation.n)
                    progress(shard.n_users)
                done(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
            if not counts["rows"]:
                raise Refused(f"generate for {day}: nobody would get an item; the lists in place stay")
            return {"counts": counts}

        if not publish(home, config.name, day, fill, _facts(config, snapshot, version, end)):
            logger.warning("lists for %s are published, but readers follow a later run date", day)
        gone = prune_published(home, config.generation.keep_run_dates)
        if gone:
            logger.info("pruned: run dates %s", ", ".join(gone))
    return Generated(list_folder(home, day), day, counts)


@dataclass(frozen=True)
class _Night:
    """What all shards of a night share."""

    config: Config
    bundle: Bundle
    recommender: Recommender
    model_version: str

    def recommend(self, users: Histories) -> pl.DataFrame:
        """Return `Recommendations` of a shard."""
        n = self.config.generation.n
        recommender = self.recommender
        candidates = recommender.propose(users)
        ranked = rank_candidates(candidates, self.bundle.ranker.score(recommender.describe(candidates, users)), n)
        has = users.taken
        taken = pl.DataFrame(
            {"user_index": users.users[has].astype(np.uint32), "item_index": users.items[has].astype(np.uint32)}
        )
        if self.config.dataset.repeats:
            taken = taken.clear()
        lists = fill_up(ranked, users.n_users, self._fallback_order(), taken, n)
        keys = ["user_index", "item_index"]
        explained = lists.join(ranked.select(pl.exclude("rank", "score")), on=keys, how="left", maintain_order="left")
        return explained.select(
            users.user_ids.gather(explained["user_index"]).alias("user_id"),
            "rank",
            users.item_ids.gather(explained["item_index"]).alias("item_id"),
            "score",
            self._sources().alias("sources"),
            self._reason().alias("reason"),
            pl.lit("ranker").alias("variant"),
            pl.lit(self.model_version).alias("model_version"),
        )

    def _fallback_order(self) -> NDArray[np.int32]:
        """Recommendable items, recently popular first, ties by item number."""
        recent = np.where(self.recommender.recommendable, self.recommender.statistics.recent, -1.0)
        order = np.argsort(-recent, kind="stable")
        return order[: int(self.recommender.recommendable.sum())].astype(np.int32)

    def _sources(self) -> pl.Expr:
        named = [
            pl.when(pl.col(f"{name}_rank").is_not_null()).then(pl.lit(name)) for name in self.recommender.source_names
        ]
        found = pl.concat_list(named).list.drop_nulls()
        return pl.when("fallback").then(pl.lit([FALLBACK], dtype=pl.List(pl.String))).otherwise(found)

    def _reason(self) -> pl.Expr:
        """The reason of the source that ranked the item highest; the first of equals."""
        ranks = [pl.col(f"{source.name}_rank") for source in self.recommender.sources]
        best = pl.min_horizontal(ranks)
        reasons = [
            pl.when(rank == best).then(pl.lit(source.reason))
            for rank, source in zip(ranks, self.recommender.sources, strict=True)
        ]
        return pl.when("fallback").then(pl.lit(_FALLBACK_REASON)).otherwise(pl.coalesce(reasons))


def _refuse_leak(bundle: Bundle, version: Version, end: datetime | None) -> None:
    if end is not None and bundle.cutoff is not None and bundle.cutoff > end:
        raise Refused(
            f"generate for {end.date()}: the champion, version {version.number}, learned from events until "
            f"{bundle.cutoff.isoformat()}, so its lists would know the future; choose a run date from "
            f"{bundle.cutoff.date()} on, or train and promote with an earlier --run-date"
        )


def _find_active(histories: Histories, active_days: float | None) -> Histories:
    if active_days is None:
        return histories
    newest = histories.ages[histories.starts[1:] - 1]
    return histories.take(histories.user_ids.filter(pl.Series(newest <= active_days)))


def _count(counts: dict[str, int], lists: pl.DataFrame, users: int, n: int) -> None:
    counts["users"] += users
    counts["rows"] += lists.height
    counts["fallback_rows"] += lists.filter(pl.col("sources").list.first() == FALLBACK).height
    counts["short_lists"] += users - lists.filter(pl.col("rank") == n).height


def _facts(config: Config, snapshot: Snapshot, version: Version, end: datetime | None) -> dict[str, Any]:
    return {
        "model": version.name,
        "model_version": version.number,
        "bundle": version.tags.get("bundle", ""),
        "snapshot": snapshot.id,
        "config": config.digest(),
        "end": end.isoformat() if end else None,
    }
