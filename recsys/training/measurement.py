"""Measuring lists on a window: ours beside the baselines, per user, per segment, and where the positives went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import propose_with_ties
from recsys.candidates.sources import Source
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.values import list_values
from recsys.dataset.windows import Window
from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import cold_share, diversity, measure_coverage, measure_gini, novelty
from recsys.evaluation.candidate_ledger import Ledger, build_candidate_ledger, measure_losses
from recsys.evaluation.comparison import OURS, name_values, score_users
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.segments import Segment, find_segments, label_positives
from recsys.evaluation.tied_ranks import TiedRanks, rank_positives
from recsys.progress import log_stage, progress_bar
from recsys.ranking.lists import name_lists, rank_candidates
from recsys.ranking.training_rows import mark_positives
from recsys.serving.bundle import Bundle, Recommender
from recsys.training.baselines import make_baselines

BLEND = "blend"
# Ranks are UInt16; a source that gives so many items one score says nothing that a longer list would.
_MAX_RANK = 65_535
# Rows whose features are kept to be compared with those of the training.
_FEATURE_ROWS = 100_000


@dataclass(frozen=True)
class Measured:
    """What a window says of a bundle.

    Attributes:
        user_metrics: `UserMetrics` of every model.
        catalogue: `CatalogueTable`.
        ranks_by_model: every model's lists with the places of the positives.
        segments: the cuts that the measurement can be repeated for.
        lists: `user_id`, `rank`, `item_id`, `score`: our lists.
        positives: `TestPositives`.
        ledger: what each source found, and where every positive was lost at the config's n.
        features: keys, `label` and features of some users' candidates, as the ranker saw them.
        losses: (n_users) loss of retrieval, loss of the ranker, in the config's metric.
        users_without_history: users with positives who could not be measured.
    """

    user_metrics: pl.DataFrame
    catalogue: pl.DataFrame
    ranks_by_model: dict[str, TiedRanks]
    segments: list[Segment]
    lists: pl.DataFrame
    positives: pl.DataFrame
    ledger: Ledger
    features: pl.DataFrame
    losses: tuple[NDArray[np.float64], NDArray[np.float64]]
    users_without_history: int


def measure(
    bundle: Bundle,
    window: Window,
    items: pl.DataFrame,
    *,
    baselines: bool,
    zero_shot: NDArray[np.float32] | None = None,
) -> Measured:
    """Make lists as of the window's cut-off and hold them against what the users took.

    Measured are users with a history before the window and a positive inside it. Positives that no source found
    count as misses.

    Args:
        bundle: fitted on nothing from the window on.
        window: to predict.
        items: `Items`.
        baselines: also measure the blend, the single sources, and what is only ever a baseline.
        zero_shot: embeddings of the items by the checkpoint as it came; None leaves that baseline out.

    Raises:
        DataError: the bundle has seen the window, or nobody can be measured.
    """
    if window.cutoff is not None and (bundle.cutoff is None or bundle.cutoff > window.cutoff):
        raise DataError(
            f"measuring on the {window.name} window from {window.cutoff.isoformat()}: the bundle learned from events "
            f"until {bundle.cutoff}; measure with a bundle from before the window"
        )
    with log_stage(f"measuring, {window.name}") as done:
        everyone = build_histories(window.history, items, window.cutoff)
        users, positives = _find_users(window, everyone)
        recommender = bundle.prepare(items, everyone)
        alone = make_baselines(bundle, recommender, zero_shot) if baselines else []
        ranks_by_model, lists, ledger, features = _make_lists(bundle, recommender, users, positives, alone, baselines)
        done(f"{len(ranks_by_model)} models on {users.n_users:,} users, {positives.height:,} positives")
    absent = window.positives["user_id"].n_unique() - users.n_users
    metrics = _score(ranks_by_model, users.user_ids, positives, recommender, everyone.n_users)
    segments = _cut(positives, users, recommender)
    return Measured(
        user_metrics=metrics,
        catalogue=_measure_catalogue(ranks_by_model, recommender),
        ranks_by_model=ranks_by_model,
        segments=segments,
        lists=name_lists(lists, users),
        positives=_name_positives(ledger, positives, users, segments),
        ledger=ledger,
        features=features,
        losses=_measure_losses(ledger, ranks_by_model[OURS], recommender),
        users_without_history=absent,
    )


def _find_users(window: Window, everyone: Histories) -> tuple[Histories, pl.DataFrame]:
    """Return who can be measured, and their positives by number with the kinds of events, sorted."""
    users = pl.DataFrame({"user_id": everyone.user_ids})
    # A hold-out file may name items that the catalogue does not have; nobody could recommend them.
    items = pl.DataFrame({"item_id": everyone.item_ids}).with_row_index("item_index")
    known = window.positives.join(users, on="user_id", how="semi").join(items, on="item_id")
    if known.is_empty():
        raise DataError(
            f"measuring on the {window.name} window: none of its users has a history before it; "
            "choose a longer history, a shorter test window or a later --run-date"
        )
    histories = everyone.take(known["user_id"].unique())
    numbers = pl.DataFrame({"user_id": histories.user_ids}).with_row_index("user_index")
    positives = known.join(numbers, on="user_id").select("user_index", "item_index", "events")
    return histories, positives.sort("user_index", "item_index")


def _make_lists(
    bundle: Bundle,
    recommender: Recommender,
    users: Histories,
    positives: pl.DataFrame,
    alone: list[Source],
    with_blend: bool,
) -> tuple[dict[str, TiedRanks], pl.DataFrame, Ledger, pl.DataFrame]:
    """Return each model's tied_ranks, our lists (numbers, rank, score), the ledger of ours, and some features."""
    config = bundle.config
    depth, n = max(config.evaluation.n_values), config.evaluation.n
    parts: dict[str, list[TiedRanks]] = {}
    ledgers: list[Ledger] = []
    lists: list[pl.DataFrame] = []
    kept: list[pl.DataFrame] = []
    recommendable = pl.Series(recommender.recommendable)
    # By the sources' own order: a bundle that was loaded has its depths by name.
    depths = {name: config.candidates.depths[name] for name in recommender.source_names}
    with progress_bar("Measuring", users.n_users) as progress:
        for first, shard in users.split(config.generation.shard_size):
            here = positives.filter(pl.col("user_index").is_between(first, first + shard.n_users - 1))
            here = here.with_columns(pl.col("user_index") - first)
            proposed = recommender.propose_uncut(shard)
            candidates = recommender.cut(proposed, shard)
            features = recommender.describe(candidates, shard)
            if sum(part.height for part in kept) < _FEATURE_ROWS:
                kept.append(_shift(mark_positives(features.head(_FEATURE_ROWS), here), first))
            pairs = candidates.select("user_index", "item_index")
            ranked = {OURS: _rank(pairs, bundle.ranker.score(features))}
            if with_blend:
                ranked[BLEND] = _rank(pairs, bundle.ranker.blend.score(features))
            for source in alone:
                rows = propose_with_ties(
                    source, depth, shard, recommender.recommendable, repeats=config.dataset.repeats
                )
                ranked[source.name] = _rank(rows.drop("score"), rows["score"])
            ours = ranked[OURS]
            for name, rows in ranked.items():
                parts.setdefault(name, []).append(rank_positives(rows, here, shard.n_users, depth))
            ledger = build_candidate_ledger(proposed, ours, here, recommendable, depths, n)
            ledgers.append(replace(ledger, positives=_shift(ledger.positives, first)))
            lists.append(_shift(ours.filter(pl.col("rank") <= depth), first))
            progress(shard.n_users)
    ranks_by_model = {name: TiedRanks.join(shards) for name, shards in parts.items()}
    return ranks_by_model, pl.concat(lists), reduce(add, ledgers), pl.concat(kept)


def _rank(pairs: pl.DataFrame, scores: NDArray[np.float32] | pl.Series) -> pl.DataFrame:
    """Return everything that has a score, in order: where a positive below the list stands is told too."""
    return rank_candidates(pairs, scores, min(pairs.height, _MAX_RANK))


def _shift(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("user_index") + first)


def _score(
    ranks_by_model: Mapping[str, TiedRanks],
    user_ids: pl.Series,
    positives: pl.DataFrame,
    recommender: Recommender,
    n_users: int,
) -> pl.DataFrame:
    """Return the `UserMetrics` of every model; novelty counts among the n_users who have a history."""
    evaluation, statistics = recommender.config.evaluation, recommender.statistics
    n = evaluation.n
    cold = statistics.users <= evaluation.segments.cold_item_users
    touched = statistics.users[positives["item_index"].to_numpy()].astype(np.float64)
    weights = (touched + 1.0) ** -evaluation.propensity_power
    frames = []
    for model, tied_ranks in ranks_by_model.items():
        counts = tied_ranks.count_positives()
        frames.append(score_users(model, user_ids, tied_ranks.find_hits(), counts, evaluation.n_values))
        found, total = (
            np.bincount(tied_ranks.users, weights=values, minlength=len(counts))
            for values in (weights * tied_ranks.chance_in_first(n), weights)
        )
        further = {
            "recall_ips": found / total,
            "novelty": novelty(tied_ranks.lists, statistics.users.astype(np.int64), n_users, n),
            "diversity": diversity(tied_ranks.lists, recommender.embeddings, n),
            "cold_share": cold_share(tied_ranks.lists, cold, n),
        }
        frames += [name_values(model, user_ids, metric, n, values) for metric, values in further.items()]
    return pl.concat(frames)


def _measure_catalogue(ranks_by_model: Mapping[str, TiedRanks], recommender: Recommender) -> pl.DataFrame:
    """Return the `CatalogueTable`."""
    n, shown = recommender.config.evaluation.n, recommender.recommendable
    return pl.DataFrame(
        {
            "model": list(ranks_by_model),
            "coverage": [measure_coverage(one.lists, shown, n) for one in ranks_by_model.values()],
            "gini": [measure_gini(one.lists, shown, n) for one in ranks_by_model.values()],
        }
    )


def _cut(positives: pl.DataFrame, users: Histories, recommender: Recommender) -> list[Segment]:
    config = recommender.config.evaluation.segments
    values = recommender.items.select(
        list_values(recommender.items[column]).alias(column) for column in config.item_columns
    )
    return find_segments(positives, users.lengths, recommender.statistics.users, values, config)


def _name_positives(ledger: Ledger, positives: pl.DataFrame, users: Histories, segments: list[Segment]) -> pl.DataFrame:
    """Return the `TestPositives`: the ledger's rows, which stand in the positives' order, by id."""
    return ledger.positives.select(
        users.user_ids.gather(ledger.positives["user_index"]).alias("user_id"),
        users.item_ids.gather(ledger.positives["item_index"]).alias("item_id"),
        positives["events"],
        "outcome",
        "sources",
        "rank",
        label_positives(segments, positives.height),
    )


def _measure_losses(
    ledger: Ledger, ours: TiedRanks, recommender: Recommender
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    evaluation = recommender.config.evaluation
    counts = ours.count_positives()
    found = ours.count_positives(ledger.positives["rank"].is_not_null().to_numpy())
    values = METRICS[evaluation.metric](ours.find_hits(), counts, evaluation.n)
    return measure_losses(found, counts, values, evaluation.metric, evaluation.n)
