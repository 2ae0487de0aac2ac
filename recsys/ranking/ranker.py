"""The ranker: LightGBM LambdaMART over the candidates' features and the blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.group_stats import standardise
from recsys.config import RankingConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import Estimate, compare_paired
from recsys.ranking.blend import Blend, Groups
from recsys.ranking.training_rows import find_starts
from recsys.ranking.trees import Forest
from recsys.storage.files import read_json, write_json

# Shares of the blend that are tried with the trees.
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)
# Used where there are too few users for folds: with half of the blend, a prototype was never worse than the blend.
_SAFE_SHARE = 0.5
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

    Attributes:
        trees: how many trees are fitted.
        blend_share: how much of the blend is added to the trees, both in standard deviations within the user; None: the
            trees were not significantly better than the blend on held-out users, so the blend alone ranks.
        validation: the measurements that the choice rests on.
    """

    trees: int
    blend_share: float | None
    validation: Validation = Validation()


@dataclass(frozen=True)
class Ranker:
    """Trees (Burges 2010, MSR-TR-2010-82) that start from the blend and correct it by the features.

    Attributes:
        booster: the trees.
        blend: its score is the first feature.
        features: the other feature columns, in order.
        choice: how many trees there are, and how much of the blend is added to them.
    """

    booster: lgb.Booster
    blend: Blend
    features: tuple[str, ...]
    choice: RankerChoice

    @property
    def blend_share(self) -> float | None:
        """How much of the blend is added to the trees; None: the blend alone ranks."""
        return self.choice.blend_share

    @property
    def validation(self) -> Validation:
        """The measurements that the choice rests on."""
        return self.choice.validation

    @classmethod
    def fit(
        cls,
        rows: pl.DataFrame,
        features: Sequence[str],
        sources: Sequence[str],
        config: RankingConfig,
        *,
        n: int,
        seed: int,
        threads: int,
        choice: RankerChoice | None = None,
    ) -> Ranker:
        """Tune the blend; choose the number of trees and the share of the blend by folds over users; fit on all groups.

        Args:
            rows: `TrainingRows` with the feature columns, sorted by window, user, item.
            features: columns to learn from.
            sources: whose z-scores the blend weighs.
            config: parameters of the trees.
            n: list length that is measured.
            seed: draws the folds, and the trees' feature subsets.
            threads: of LightGBM.
            choice: that of the evaluation model; None: it is made here.

        Raises:
            DataError: no candidate is a positive; there is nothing to learn.
        """
        if rows.is_empty():
            raise DataError(
                "training rows: no candidate of any label window is a positive; "
                "use longer label windows, more depth in candidates.depths or more data"
            )
        blend = Blend.tune(rows, sources, n)
        matrix = _matrix(rows, blend.score_rows(rows), features)
        parameters = _parameters(config, n, seed, threads)
        if choice is None:
            choice = RankerChoice(config.fixed_trees, _SAFE_SHARE)
            if rows["user_index"].n_unique() >= max(config.folds, config.min_users_for_folds):
                choice = _validate(matrix, rows, sources, parameters, config, n, seed)
        booster = lgb.train(parameters, _join(matrix, rows, ["blend", *features]), choice.trees)
        return cls(booster, blend, tuple(features), choice)

    def gather(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Return (n_rows, 1 + n_features) float32: the columns that the trees read, the blend first."""
        return _matrix(features, self.blend.score_rows(features), self.features)

    def score(self, columns: Mapping[str, NDArray[np.float32]], starts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n_rows) float32, higher is better, comparable within a user only.

        Args:
            columns: (n_rows) float32 features by name, NaN where missing.
            starts: (n_users + 1) int64; user u's rows are `starts[u]:starts[u + 1]`.
        """
        blend = self.blend.score(columns, starts)
        if self.blend_share is None:
            return blend
        trees = self.forest.score([blend, *(columns[name] for name in self.features)])
        return mix(trees.astype(np.float32), blend, starts, self.blend_share)

    @cached_property
    def forest(self) -> Forest:
        """The trees, laid out for speed."""
        return Forest.from_booster(self.booster)

    def describe(self) -> str:
        """Return in words what ranks the candidates, and why."""
        measured = self.validation.gain
        gain = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*measured) if measured else ""
        if self.blend_share is None:
            return f"the weighted blend only ({self.blend.describe()}): the trees gained {gain} nDCG on held-out users"
        count = self.booster.num_trees()
        trees = f"LightGBM, {count} tree{'s' * (count != 1)}"
        added = f"{trees} + {self.blend_share:g} × weighted blend ({self.blend.describe()})"
        return f"{added}; {gain} nDCG over the blend on held-out users" if gain else added

    def importance(self) -> pl.DataFrame:
        """Return `feature`, `gain` (Float64, total over all splits), largest first, ties by name."""
        gains = self.booster.feature_importance("gain")
        table = pl.DataFrame({"feature": self.booster.feature_name(), "gain": gains})
        return table.sort(["gain", "feature"], descending=[True, False])

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM text and the rest as JSON."""
        # Not save_model: on a full disk it writes to stderr and raises a LightGBMError.
        (folder / "trees.txt").write_text(self.booster.model_to_string(), encoding="utf-8")
        content = {
            "blend": self.blend.weights,
            "features": self.features,
            "trees": self.choice.trees,
            "blend_share": self.blend_share,
            "validation": {**asdict(self.validation), "shares": list(self.validation.shares.items())},
        }
        write_json(folder / "ranker.json", content, sort_keys=False)

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Read what `save` wrote."""
        content = read_json(folder / "ranker.json")
        booster = lgb.Booster(model_file=folder / "trees.txt")
        measured = content["validation"]
        gain = tuple(measured["gain"]) if measured["gain"] else None
        validation = Validation(tuple(measured["curve"]), dict(measured["shares"]), measured["blend"], gain)
        choice = RankerChoice(content["trees"], content["blend_share"], validation)
        return cls(booster, Blend(content["blend"]), tuple(content["features"]), choice)


def mix(
    trees: NDArray[np.float32], blend: NDArray[np.float32], starts: NDArray[np.int64], share: float
) -> NDArray[np.float32]:
    """Return (n_rows) float32: trees plus `share` of the blend, each in standard deviations within its group.

    Scores that are equal for all candidates of a group add nothing.
    """
    mixed, _ = standardise(trees, starts, 0)
    return mixed + np.float32(share) * standardise(blend, starts, 0)[0] if share else mixed


def _matrix(rows: pl.DataFrame, blend: NDArray[np.float32], features: Sequence[str]) -> NDArray[np.float32]:
    return np.column_stack([blend, rows.select(features).to_numpy().astype(np.float32, copy=False)])


def _join(matrix: NDArray[np.float32], rows: pl.DataFrame, names: list[str] | None = None) -> lgb.Dataset:
    """Return the rows as LightGBM learns from them.

    Where positions are known, the effect of the position alone is learned apart from the trees and then dropped (Hu et
    al. 2019, WWW); items that were not shown share a separate position.
    """
    shown = rows["position"]
    return lgb.Dataset(
        matrix,
        rows["label"].to_numpy(),
        group=np.diff(find_starts(rows)),
        position=None if shown.null_count() == len(shown) else shown.fill_null(0).cast(pl.Int32).to_numpy(),
        feature_name="auto" if names is None else names,
    )


def _parameters(config: RankingConfig, n: int, seed: int, threads: int) -> dict[str, object]:
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [n],
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "feature_fraction": config.feature_fraction,
        "lambda_l2": config.lambda_l2,
        "lambdarank_truncation_level": config.truncation_level,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _validate(
    matrix: NDArray[np.float32],
    rows: pl.DataFrame,
    sources: Sequence[str],
    parameters: dict[str, object],
    config: RankingConfig,
    n: int,
    seed: int,
) -> RankerChoice:
    """Choose the number of trees and the share of the blend by folds over users."""
    # By user, not by group: a user has a group in each window, and all of them must be in the same fold.
    users = rows["user_index"].rank("dense").to_numpy() - 1
    fold = (np.random.default_rng(seed).permutation(int(users.max()) + 1) % config.folds)[users]
    folds = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(config.folds)]
    boosters, curves = zip(
        *(_run_fold(matrix, rows, outside, inside, parameters, config.max_trees) for outside, inside in folds),
        strict=True,
    )
    trees = _count_trees(np.array(curves))
    unseen, alone = np.empty(len(fold), dtype=np.float32), np.empty(len(fold), dtype=np.float32)
    for booster, (outside, inside) in zip(boosters, folds, strict=True):
        unseen[inside] = booster.predict(matrix[inside], num_iteration=trees)
        # The blend that the trees are compared with must not have seen them either.
        alone[inside] = Blend.tune(rows[outside], sources, n).score_rows(rows[inside])
    groups, starts = Groups(rows), find_starts(rows)
    reference = groups.measure(alone, n)
    values = {share: groups.measure(mix(unseen, alone, starts, share), n) for share in _SHARES}
    share, gain = choose_share(values, reference, seed)
    validation = Validation(
        curve=tuple(np.mean(curves, axis=0).tolist()),
        shares={share: float(measured.mean()) for share, measured in values.items()},
        blend=float(reference.mean()),
        gain=(gain.mean, gain.low, gain.high),
    )
    return RankerChoice(trees, share, validation)


def choose_share(
    values: Mapping[float, NDArray[np.float64]], blend: NDArray[np.float64], seed: int
) -> tuple[float | None, Estimate]:
    """Choose how much of the blend is added to the trees, by the metric on held-out groups.

    Args:
        values: (n_groups) nDCG of the trees plus the blend by share; share 0 is the trees alone.
        blend: (n_groups) nDCG of the blend alone.
        seed: draws the bootstrap samples.

    Returns:
        The share with the largest mean, and its gain over the blend. The share is 0 if no larger share is significantly
        better than the trees alone, and None (the blend ranks alone) if the 95 % interval of the gain includes 0.
    """
    gains = {share: compare_paired(measured, blend, _DRAWS, 0.95, seed) for share, measured in values.items()}
    best = max(values, key=lambda share: gains[share].mean)
    # The trees read the blend already, so a share is added only if it is significantly better.
    better = compare_paired(values[best], values[0.0], _DRAWS, 0.95, seed).low > 0
    if gains[0.0].low > 0 and not better:
        best = 0.0
    return (best if gains[best].low > 0 else None), gains[best]


def _run_fold(
    matrix: NDArray[np.float32],
    rows: pl.DataFrame,
    outside: NDArray[np.int64],
    inside: NDArray[np.int64],
    parameters: dict[str, object],
    trees: int,
) -> tuple[lgb.Booster, list[float]]:
    """Return trees that learned from the rows outside the fold, and their metric on those inside after each tree.

    Not `lgb.cv`: it loses the positions at which items were shown.
    """
    data, unseen = _join(matrix[outside], rows[outside]), rows[inside]
    metrics: dict[str, dict[str, list[float]]] = {}
    booster = lgb.train(
        parameters,
        data,
        trees,
        valid_sets=[lgb.Dataset(matrix[inside], unseen["label"].to_numpy(), data, group=np.diff(find_starts(unseen)))],
        valid_names=["fold"],
        callbacks=[lgb.record_evaluation(metrics)],
    )
    (curve,) = metrics["fold"].values()
    return booster, curve


def _count_trees(curves: NDArray[np.float64]) -> int:
    """Return the number of trees: all, unless the folds agree that fewer are better.

    Args:
        curves: (n_folds, n_trees) metric of each fold after each tree.

    Returns:
        The middle of the window of trees with the best mean, if it beats the last window by two standard errors over
        the folds. The best single number of trees is partly luck, and often too small.
    """
    n_folds, n_trees = len(curves), len(curves[0])
    width = min(_WINDOW, n_trees)
    stretches = np.lib.stride_tricks.sliding_window_view(curves, width, axis=1).mean(axis=2)
    best = int(np.argmax(stretches.mean(axis=0)))
    lead = stretches[:, best] - stretches[:, -1]
    if lead.mean() > 2 * lead.std(ddof=1) / np.sqrt(n_folds):
        return 1 + best + width // 2
    return n_trees
