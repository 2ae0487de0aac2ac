"""Measuring lists on a window: ours beside the baselines, per user."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from recsys.bundle import Bundle, Recommender
from recsys.candidates.sources import Source, make_sources
from recsys.candidates.union import propose
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import Window
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS, score_users
from recsys.evaluation.ledger import Ledger, keep_ledger
from recsys.evaluation.metrics import measure_coverage
from recsys.pipelines.stages import stage, track
from recsys.ranking.lists import list_matrix, name_lists, rank_candidates
from recsys.ranking.training_rows import number_positives

# Always measured, whatever the config's sources are.
_BASELINES = ("popular", "item_to_item", "als", "text")


@dataclass(frozen=True)
class Measured:
    """What a window says of a bundle.

    Attributes:
        user_metrics: `UserMetrics` of every model.
        coverage: share of the catalogue in anyone's first n items, per model.
        lists: `user_id`, `rank`, `item_id`, `score`: our lists.
        ledger: what each source found, and where every positive was lost at the config's n.
        users_without_history: users with positives who could not be measured.
    """

    user_metrics: pl.DataFrame
    coverage: dict[str, float]
    lists: pl.DataFrame
    ledger: Ledger
    users_without_history: int


def measure(bundle: Bundle, window: Window, items: pl.DataFrame, *, baselines: bool) -> Measured:
    """Make lists as of the window's cut-off and hold them against what the users took.

    Measured are users with a history before the window and a positive inside it. Positives that no source found
    count as misses.

    Args:
        bundle: fitted on nothing from the window on.
        window: to predict.
        items: `Items`.
        baselines: also measure single sources and the blend.

    Raises:
        DataError: the bundle has seen the window, or nobody can be measured.
    """
    if window.cutoff is not None and (bundle.cutoff is None or bundle.cutoff > window.cutoff):
        raise DataError(
            f"measuring on the {window.name} window from {window.cutoff.isoformat()}: the bundle learned from events "
            f"until {bundle.cutoff}; measure with a bundle from before the window"
        )
    evaluation = bundle.config.evaluation
    depth = max(evaluation.n_values)
    with stage(f"measuring, {window.name}") as done:
        everyone = build_histories(window.history, items, window.cutoff)
        users, positives = _find_users(window, everyone)
        recommender = bundle.prepare(items, everyone)
        lists, ledger = _make_lists(bundle, recommender, users, positives, depth, baselines)
        matrices = {name: list_matrix(rows, users.n_users, depth) for name, rows in lists.items()}
        matrix = _positive_matrix(positives, users)
        metrics = pl.concat(
            score_users(name, users.user_ids, ranked, matrix, evaluation.n_values) for name, ranked in matrices.items()
        )
        coverage = {name: measure_coverage(ranked, users.n_items, evaluation.n) for name, ranked in matrices.items()}
        done(f"{len(lists)} models on {users.n_users:,} users, {positives.height:,} positives")
    absent = window.positives["user_id"].n_unique() - users.n_users
    return Measured(metrics, coverage, name_lists(lists[OURS], users), ledger, absent)


def _find_users(window: Window, everyone: Histories) -> tuple[Histories, pl.DataFrame]:
    known = pl.DataFrame({"user_id": everyone.user_ids})
    # A hold-out file may name items that the catalogue does not have; nobody could recommend them.
    catalogue = pl.DataFrame({"item_id": everyone.item_ids})
    positives = window.positives.join(known, on="user_id", how="semi").join(catalogue, on="item_id", how="semi")
    users = everyone.take(positives["user_id"].unique())
    numbered = number_positives(positives, users)
    if numbered.is_empty():
        raise DataError(
            f"measuring on the {window.name} window: none of its users has a history before it; "
            "choose a longer history, a shorter test window or a later --run-date"
        )
    return users, numbered


def _positive_matrix(positives: pl.DataFrame, users: Histories) -> csr_array:
    pairs = (positives["user_index"].to_numpy(), positives["item_index"].to_numpy())
    ones = np.ones(positives.height, dtype=np.uint8)
    return csr_array((ones, pairs), shape=(users.n_users, users.n_items))


def _make_lists(
    bundle: Bundle, recommender: Recommender, users: Histories, positives: pl.DataFrame, depth: int, baselines: bool
) -> tuple[dict[str, pl.DataFrame], Ledger]:
    """Return each model's lists (numbers, rank, score), and the ledger of ours."""
    alone = _baseline_sources(recommender, bundle, depth) if baselines else []
    parts: dict[str, list[pl.DataFrame]] = {}
    ledgers: list[Ledger] = []
    recommendable = pl.Series(recommender.recommendable)
    with track("Measuring", users.n_users) as progress:
        for first, shard in users.split(bundle.config.generation.shard_size):
            candidates = recommender.propose(shard)
            features = recommender.describe(candidates, shard)
            scored = {OURS: (candidates, bundle.ranker.score(features))}
            if baselines:
                scored["blend"] = (candidates, bundle.ranker.blend.score(features))
            for source in alone:
                rows = _propose_alone(source, recommender, shard, depth)
                scored[source.name] = (rows, rows[f"{source.name}_score"].to_numpy())
            ranked = {
                name: rank_candidates(rows.select("user_index", "item_index"), scores, depth)
                for name, (rows, scores) in scored.items()
            }
            here = positives.filter(pl.col("user_index").is_between(first, first + shard.n_users - 1))
            here = here.with_columns(pl.col("user_index") - first)
            shown = ranked[OURS].filter(pl.col("rank") <= bundle.config.evaluation.n)
            ledgers.append(keep_ledger(candidates, here, shown, recommendable, recommender.source_names))
            for name, rows in ranked.items():
                parts.setdefault(name, []).append(rows.with_columns(pl.col("user_index") + first))
            progress(shard.n_users)
    return {name: pl.concat(shards) for name, shards in parts.items()}, reduce(add, ledgers)


def _baseline_sources(recommender: Recommender, bundle: Bundle, depth: int) -> list[Source]:
    """Each source alone: those always measured, and the others of the config."""
    config = bundle.config.candidates
    names = dict.fromkeys([*_BASELINES, *config.depths])
    names.pop("new_items", None)
    stage_one = bundle.stage_one.align(recommender.items["item_id"])
    return make_sources(
        config.model_copy(update={"depths": dict.fromkeys(names, depth)}),
        recommender.statistics,
        stage_one.als,
        stage_one.item_to_item,
        stage_one.transitions,
        stage_one.interest,
        recommender.embeddings,
    )


def _propose_alone(source: Source, recommender: Recommender, users: Histories, depth: int) -> pl.DataFrame:
    repeats = recommender.config.dataset.repeats
    return propose([source], {source.name: depth}, users, recommender.recommendable, repeats=repeats)
