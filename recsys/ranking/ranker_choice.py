"""The choices before a ranker is fitted: how many trees, and how much of the blend is added to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import RankingConfig
from recsys.evaluation.intervals import Estimate, compare_paired
from recsys.ranking.averaging import average_over_growth
from recsys.ranking.blend import Blend, mix
from recsys.ranking.groups import Groups
from recsys.ranking.growing import grow_side_by_side
from recsys.ranking.training_rows import find_starts, take_part
from recsys.ranking.trees import Forest

if TYPE_CHECKING:
    import lightgbm as lgb

# Shares of the blend that are tried with the trees.
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)
# Used where the folds cannot tell: on shops of 300 to 1,000 users it was better than the blend alone (docs/results.md).
_CAUTIOUS_SHARE = 1.0
# Bootstrap samples of an interval.
_DRAWS = 1000
# Trees over which the curve of the folds is averaged; it jumps up and down from tree to tree.
_WINDOW = 21


@dataclass(frozen=True)
class Validation:
    """What the folds measured: every group was scored by trees that did not learn from its user.

    Attributes:
        curve: nDCG@n after each tree, mean over the folds; empty where there were too few groups for folds.
        shares: share of the blend -> nDCG@n of the trees plus that share.
        blend: nDCG@n of the blend alone.
        gain: nDCG@n of the chosen mixture minus that of the blend: mean and ends of a 95 % interval over groups.
    """

    curve: tuple[float, ...] = ()
    shares: Mapping[float, float] = field(default_factory=dict)
    blend: float | None = None
    gain: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class RankerChoice:
    """What is decided about a ranker before its trees are fitted.

    It is decided once, on the evaluation model, and kept for the refit, so that what was measured is what serves.
    Trainings that continue from that evaluation model may keep it, too.

    Attributes:
        trees: how many trees are fitted.
        blend_share: how much of the blend is added to the trees, both in standard deviations within the user; None:
            the blend ranks alone, because on held-out users the trees were significantly worse even with as much of it.
        validation: the measurements that the choice rests on.
        kept: how many trainings that continue have kept the choice since it was made; 0: it was made in this one.
    """

    trees: int
    blend_share: float | None
    validation: Validation = Validation()
    kept: int = 0


def choose_by_folds(
    matrix: NDArray[np.float32],
    data: lgb.Dataset,
    rows: pl.DataFrame,
    sources: Sequence[str],
    parameters: dict[str, object],
    config: RankingConfig,
    n: int,
    seed: int,
    threads: int,
    progress: Callable[[int], None],
) -> tuple[RankerChoice, NDArray[np.float32]]:
    """Choose the number of trees and the share of the blend by folds over users.

    Args:
        matrix: (n_rows, 1 + n_features) float32, the inputs of the trees.
        data: the same for LightGBM; its bins serve all folds.
        rows: `TrainingRows`, the rows of the matrix.
        sources: whose z-scores the blend weighs.
        parameters: of LightGBM.
        config: how many folds, and how many trees at most.
        n: list length that is measured.
        seed: draws the folds and the bootstrap samples.
        threads: how many folds are grown at once, each on one thread.
        progress: called with the number of trees after each.

    Returns:
        The choice, and (n_rows) float32: the rows' scores by what was chosen, none of which learned from their user.
    """
    # By user, not by group: a user has a group in each window, and all of them must be in the same fold.
    users = rows["user_index"].rank("dense").to_numpy() - 1
    fold = (np.random.default_rng(seed).permutation(int(users.max()) + 1) % config.folds)[users]
    folds = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(config.folds)]
    growers = [
        partial(_grow_fold, take_part(data, rows, outside), take_part(data, rows, inside), parameters, config.max_trees)
        for outside, inside in folds
    ]
    boosters, curves = zip(*grow_side_by_side(growers, threads, progress), strict=True)
    trees = _count_trees(np.array(curves), config.fixed_trees)
    unseen, alone = np.empty(len(fold), dtype=np.float32), np.empty(len(fold), dtype=np.float32)
    for booster, (outside, inside) in zip(boosters, folds, strict=True):
        average_over_growth(booster, trees)
        forest = Forest.from_text(booster.model_to_string(num_iteration=trees))
        unseen[inside] = forest.score(list(matrix[inside].T))
        # The blend that the trees are compared with must not have seen them either.
        alone[inside] = Blend.tune(rows[outside], sources, n).score_rows(rows[inside])
    groups, starts = Groups(rows), find_starts(rows)
    reference = groups.measure(alone, n)
    mixtures = {share: mix(unseen, alone, starts, share) for share in _SHARES}
    values = {share: groups.measure(scores, n) for share, scores in mixtures.items()}
    share, gain = choose_share(values, reference, seed)
    validation = Validation(
        curve=tuple(np.mean(curves, axis=0).tolist()),
        shares={share: float(measured.mean()) for share, measured in values.items()},
        blend=float(reference.mean()),
        gain=(gain.mean, gain.low, gain.high),
    )
    return RankerChoice(trees, share, validation), alone if share is None else mixtures[share]


def choose_share(
    values: Mapping[float, NDArray[np.float64]], blend: NDArray[np.float64], seed: int
) -> tuple[float | None, Estimate]:
    """Choose how much of the blend is added to the trees, by the metric on held-out groups.

    Args:
        values: (n_groups) nDCG of the trees plus the blend by share; share 0 is the trees alone.
        blend: (n_groups) nDCG of the blend alone.
        seed: draws the bootstrap samples.

    Returns:
        The share, and its gain over the blend. It is the share with the largest mean, or 0 if no larger one is
        significantly better than the trees alone. If its gain is not significant, the folds cannot tell: then the share
        is 1, or None (the blend ranks alone) if even that is significantly worse than the blend.
    """
    gains = {share: compare_paired(measured, blend, _DRAWS, 0.95, seed) for share, measured in values.items()}
    best = max(values, key=lambda share: gains[share].mean)
    # The trees read the blend already, so a share is added only if it is significantly better.
    better = compare_paired(values[best], values[0.0], _DRAWS, 0.95, seed).low > 0
    if gains[0.0].low > 0 and not better:
        best = 0.0
    if gains[best].low > 0:
        return best, gains[best]
    cautious = gains[_CAUTIOUS_SHARE]
    return (None if cautious.high < 0 else _CAUTIOUS_SHARE), cautious


def _grow_fold(
    data: lgb.Dataset, unseen: lgb.Dataset, parameters: dict[str, object], trees: int, progress: Callable[[int], None]
) -> tuple[lgb.Booster, list[float]]:
    """Return trees that learned from some rows, and their metric on others after each tree.

    Not `lgb.cv`: it loses the positions at which items were shown.
    """
    import lightgbm as lgb

    metrics: dict[str, dict[str, list[float]]] = {}
    booster = lgb.train(
        parameters | {"num_threads": 1},
        data,
        trees,
        valid_sets=[unseen],
        valid_names=["fold"],
        callbacks=[lgb.record_evaluation(metrics), lambda _: progress(1)],
    )
    (curve,) = metrics["fold"].values()
    return booster, curve


def _count_trees(curves: NDArray[np.float64], least: int) -> int:
    """Return the number of trees whose mean over the growth ranks.

    The mean over the growth of n trees has the strength of n / 2 trees, so n is twice the number that is best on the
    folds. The folds share the items of the label windows with what the trees learned from, so they cannot tell more.

    Args:
        curves: (n_folds, n_trees) metric of each fold after each tree.
        least: number of trees where the folds want fewer.

    Returns:
        Twice the middle of the stretch of trees with the best mean, at least `least`, at most n_trees.
    """
    n_trees = len(curves[0])
    width = min(_WINDOW, n_trees)
    stretches = np.lib.stride_tricks.sliding_window_view(curves.mean(axis=0), width).mean(axis=1)
    best = 1 + int(np.argmax(stretches)) + width // 2
    return min(n_trees, max(least, 2 * best))
