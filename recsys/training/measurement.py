"""Measuring lists on a window: ours and the baselines, per user and per segment, and where positives were lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.histories import Histories, find_recommendable
from recsys.dataset.values import list_values
from recsys.dataset.windows import Window
from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import cold_share, compute_coverage, compute_gini, diversity, novelty
from recsys.evaluation.candidate_ledger import LOST_TO_A_RULE, Ledger, compute_losses
from recsys.evaluation.comparison import OURS, WITHOUT_RULES, label_values, score_users
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.segments import Segment, cut_segments, label_positives
from recsys.evaluation.tied_ranks import TiedRanks
from recsys.evaluation.user_sample import draw_users
from recsys.progress import format_count, log_stage
from recsys.ranking.lists import name_lists
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender
from recsys.training.baselines import make_baselines
from recsys.training.list_measurement import ListCosts, ListMeasurement


@dataclass(frozen=True)
class Measured:
    """The measurement of a bundle on a window.

    Attributes:
        user_metrics: `UserMetrics` of every model.
        catalogue: `CatalogueTable`.
        ranks_by_model: every model's lists with the ranks of the positives.
        segments: the cuts that the measurement can be repeated for.
        lists: `user_id`, `rank`, `item_id`, `score`: our lists, as they would be served.
        positives: `TestPositives`.
        ledger: what each source proposed, and where every positive was lost at the config's n.
        features: keys, `label` and features of some users' candidates, as the ranker saw them.
        losses: from `compute_losses`, in the config's metric: stage -> (n_users).
        users_without_history: users with positives who could not be measured.
        users_not_drawn: users who could be measured, but are more than `evaluation.max_users`.
        costs: of our lists.
    """

    user_metrics: pl.DataFrame
    catalogue: pl.DataFrame
    ranks_by_model: dict[str, TiedRanks]
    segments: list[Segment]
    lists: pl.DataFrame
    positives: pl.DataFrame
    ledger: Ledger
    features: pl.DataFrame
    losses: dict[str, NDArray[np.float64]]
    users_without_history: int
    users_not_drawn: int
    costs: ListCosts


def measure(
    bundle: Bundle,
    window: Window,
    items: pl.DataFrame,
    *,
    baselines: bool,
    zero_shot: NDArray[np.float32] | None = None,
) -> Measured:
    """Make lists as of the window's cutoff and compare them with what the users consumed.

    The lists go through the chain that serves: rules, block lists and the fallback chain are part of every number.
    Users with a history before the window and a positive inside it are measured, at most `evaluation.max_users` of
    them, drawn at random by their ids. Positives that no source proposed count as misses. `shown_penalty` has no
    effect: no list was shown before the window.

    Args:
        bundle: fitted on events before the window only.
        window: to predict.
        items: `Items`.
        baselines: also measure the blend, the single sources, and models that are only baselines.
        zero_shot: embeddings of the items by the untuned checkpoint; None leaves that baseline out.

    Raises:
        DataError: the bundle has seen the window, or no user can be measured.
    """
    if window.cutoff is not None and (bundle.cutoff is None or bundle.cutoff > window.cutoff):
        raise DataError(
            f"measuring on the {window.name} window from {window.cutoff.isoformat()}: the bundle was trained on "
            f"events until {bundle.cutoff}; measure with a bundle from before the window"
        )
    with log_stage(f"measuring, {window.name}") as done:
        histories = window.known.gather(items, window.cutoff)
        users, positives, eligible = _select_users(window, histories, bundle.config.evaluation.max_users)
        recommender = bundle.prepare(bundle.block_lists.withhold(items), histories)
        alone = make_baselines(bundle, recommender, zero_shot) if baselines else []
        measurement = ListMeasurement(
            bundle, recommender, histories, find_recommendable(items, window.cutoff), alone, baselines
        )
        ranks_by_model, lists, ledger, features, costs = measurement.measure_shards(users, positives)
        drawn = f" drawn from {eligible:,}" if eligible > users.n_users else ""
        done(
            f"{format_count(len(ranks_by_model), 'model')} on {format_count(users.n_users, 'user')}{drawn}, "
            f"{format_count(positives.height, 'positive')}"
        )
    absent = window.positives["user_id"].n_unique() - eligible
    metrics = _score(ranks_by_model, users.user_ids, positives, recommender, histories.n_users)
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
        losses=_measure_losses(ledger, ranks_by_model, recommender),
        users_without_history=absent,
        users_not_drawn=eligible - users.n_users,
        costs=costs,
    )


def _select_users(window: Window, histories: Histories, max_users: int | None) -> tuple[Histories, pl.DataFrame, int]:
    """Return the users who are measured, their positives, and how many users could be measured.

    The positives are by index with the kinds of events, sorted.
    """
    # A hold-out file may name items that the catalogue does not have; no model can recommend them.
    known = histories.number_pairs(window.positives)
    if known.is_empty():
        raise DataError(
            f"measuring on the {window.name} window: none of its users has a history before it; "
            "choose a longer history, a shorter test window or a later --run-date"
        )
    eligible = histories.user_ids.gather(known["user_index"].unique())
    measured = histories.take(draw_users(eligible, max_users))
    return measured, measured.number_pairs(window.positives), len(eligible)


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
    popularity = statistics.users[positives["item_index"].to_numpy()].astype(np.float64)
    weights = (popularity + 1.0) ** -evaluation.propensity_power
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
        frames += [label_values(model, user_ids, metric, n, values) for metric, values in further.items()]
    return pl.concat(frames)


def _measure_catalogue(ranks_by_model: Mapping[str, TiedRanks], recommender: Recommender) -> pl.DataFrame:
    """Return the `CatalogueTable`."""
    n, shown = recommender.config.evaluation.n, recommender.recommendable
    return pl.DataFrame(
        {
            "model": list(ranks_by_model),
            "coverage": [compute_coverage(ranks.lists, shown, n) for ranks in ranks_by_model.values()],
            "gini": [compute_gini(ranks.lists, shown, n) for ranks in ranks_by_model.values()],
        }
    )


def _cut(positives: pl.DataFrame, users: Histories, recommender: Recommender) -> list[Segment]:
    config = recommender.config.evaluation.segments
    values = recommender.items.select(
        list_values(recommender.items[column]).alias(column) for column in config.item_columns
    )
    return cut_segments(positives, users.lengths, recommender.statistics.users, values, config)


def _name_positives(ledger: Ledger, positives: pl.DataFrame, users: Histories, segments: list[Segment]) -> pl.DataFrame:
    """Return the `TestPositives`: the ledger's rows, in the order of the positives, by id."""
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
    ledger: Ledger, ranks_by_model: Mapping[str, TiedRanks], recommender: Recommender
) -> dict[str, NDArray[np.float64]]:
    evaluation, ours = recommender.config.evaluation, ranks_by_model[OURS]
    counts, positives = ours.count_positives(), ledger.positives
    reached = positives["rank"].is_not_null() | (positives["outcome"] == LOST_TO_A_RULE)

    def compute(ranks: TiedRanks) -> NDArray[np.float64]:
        return METRICS[evaluation.metric](ranks.find_hits(), counts, evaluation.n)

    free = ranks_by_model.get(WITHOUT_RULES)
    return compute_losses(
        ours.count_positives(reached.to_numpy()),
        counts,
        compute(ours),
        evaluation.metric,
        evaluation.n,
        before_rules=None if free is None else compute(free),
    )
