"""The ranker: LightGBM LambdaMART over the candidates' features and the blend."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import RankingConfig
from recsys.errors import DataError
from recsys.ranking.blend import Blend, measure_groups
from recsys.ranking.training_rows import group_sizes

# Shares of the blend that are tried beside the trees.
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)
# Where nothing can be measured: with half of the blend a prototype was never below the blend.
_SAFE_SHARE = 0.5
_DRAWS = 1000


@dataclass(frozen=True)
class Validation:
    """What folds said: every group was scored by trees that did not learn from it.

    Attributes:
        curve: nDCG@n after each tree, mean over the folds; empty where there were too few groups for folds.
        shares: nDCG@n of trees plus the blend at each share that was tried.
        blend: nDCG@n of the blend alone.
        gain: the chosen mixture minus the blend, mean and ends of a 95 % interval over groups.
    """

    curve: tuple[float, ...] = ()
    shares: Mapping[float, float] = field(default_factory=dict)
    blend: float = float("nan")
    gain: tuple[float, float, float] = (float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Ranker:
    """Trees (Burges 2010, MSR-TR-2010-82) that start from the blend and add what the features know.

    Attributes:
        booster: the trees.
        blend: its score is the first feature.
        features: the other feature columns, in order.
        blend_share: how much of the blend is added to the trees, both in standard deviations within the user; None: the
            trees could not be told from the blend on groups they had not seen, so the blend alone ranks.
        validation: what the number of trees and the share were chosen by.
    """

    booster: lgb.Booster
    blend: Blend
    features: tuple[str, ...]
    blend_share: float | None
    validation: Validation

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
    ) -> Ranker:
        """Tune the blend; find the number of trees and the share of the blend by folds over groups; fit on all groups.

        Args:
            rows: `TrainingRows` with the feature columns, sorted by window, user, item.
            features: columns to learn from.
            sources: whose z-scores the blend weighs.
            config: parameters of the trees.
            n: list length that counts.
            seed: draws the folds, and the trees' feature subsets.
            threads: of LightGBM.

        Raises:
            DataError: no candidate is a positive; there is nothing to learn.
        """
        if rows.is_empty():
            raise DataError(
                "training rows: no candidate of any label window is a positive; "
                "use longer label windows, more depth in candidates.depths or more data"
            )
        blend = Blend.tune(rows, sources, n, seed)
        sizes = group_sizes(rows)
        data = lgb.Dataset(
            _matrix(rows, blend, features),
            rows["label"].to_numpy(),
            group=sizes,
            feature_name=["blend", *features],
            free_raw_data=False,
        )
        parameters = _parameters(config, n, seed, threads)
        trees, share, validation = config.fixed_trees, _SAFE_SHARE, Validation()
        if len(sizes) >= max(config.folds, config.min_groups_for_folds):
            trees, share, validation = _validate(data, rows, blend, parameters, config, n, seed)
        return cls(lgb.train(parameters, data, trees), blend, tuple(features), share, validation)

    def score(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Return (n_rows) float32, comparable within a user only."""
        if features.is_empty():
            return np.zeros(0, dtype=np.float32)
        blend = self.blend.score(features)
        if self.blend_share is None:
            return blend
        known = features.select(self.features).to_numpy().astype(np.float32, copy=False)
        # The booster is told its threads at training; a loaded one takes them from the environment set up by the CLI.
        trees = np.asarray(self.booster.predict(np.column_stack([blend, known])), dtype=np.float32)
        return mix(features, trees, blend, self.blend_share)

    def describe(self) -> str:
        """Return what ranks, and why, as text."""
        gain = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*self.validation.gain)
        if self.blend_share is None:
            return f"the blend alone ranks ({self.blend.describe()}): trees had {gain} nDCG against it on unseen groups"
        trees = f"{self.booster.num_trees()} trees + {self.blend_share:g} blend ({self.blend.describe()})"
        return f"{trees}, {gain} nDCG against the blend on unseen groups" if self.validation.curve else trees

    def importance(self) -> pl.DataFrame:
        """Return `feature`, `gain` (Float64, total over all splits), largest first, ties by name."""
        gains = self.booster.feature_importance("gain")
        table = pl.DataFrame({"feature": self.booster.feature_name(), "gain": gains})
        return table.sort(["gain", "feature"], descending=[True, False])

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM text and the rest as JSON."""
        # Not save_model: on a full disk it writes to stderr and raises an error of LightGBM's own.
        (folder / "trees.txt").write_text(self.booster.model_to_string(), encoding="utf-8")
        content = {
            "blend": self.blend.weights,
            "features": self.features,
            "blend_share": self.blend_share,
            "validation": {**asdict(self.validation), "shares": list(self.validation.shares.items())},
        }
        (folder / "ranker.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Read what `save` wrote."""
        content = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        booster = lgb.Booster(model_file=folder / "trees.txt")
        told = content["validation"]
        validation = Validation(tuple(told["curve"]), dict(told["shares"]), told["blend"], tuple(told["gain"]))
        blend, share = Blend(content["blend"]), content["blend_share"]
        return cls(booster, blend, tuple(content["features"]), share, validation)


def mix(
    rows: pl.DataFrame, trees: NDArray[np.float32], blend: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return (n_rows) float32: trees plus `share` of the blend, each in standard deviations within its group."""
    keys = ["window", "user_index"] if "window" in rows.columns else ["user_index"]
    scores = rows.select(keys).with_columns(trees=pl.Series(trees), blend=pl.Series(blend))
    spread = [pl.col(name).std(ddof=0).over(keys) for name in ("trees", "blend")]
    # A part that says the same of all candidates says nothing.
    z = [
        pl.when(std > 0).then((pl.col(name) - pl.col(name).mean().over(keys)) / std).otherwise(0.0)
        for name, std in zip(("trees", "blend"), spread, strict=True)
    ]
    mixed: NDArray[np.float32] = scores.select((z[0] + share * z[1]).cast(pl.Float32)).to_series().to_numpy()
    return mixed


def _matrix(rows: pl.DataFrame, blend: Blend, features: Sequence[str]) -> NDArray[np.float32]:
    known = rows.select(features).to_numpy().astype(np.float32, copy=False)
    return np.column_stack([blend.score(rows), known])


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
    data: lgb.Dataset,
    rows: pl.DataFrame,
    blend: Blend,
    parameters: dict[str, object],
    config: RankingConfig,
    n: int,
    seed: int,
) -> tuple[int, float | None, Validation]:
    """Return the best number of trees, the best share of the blend (None: the blend alone), and why."""
    sizes = group_sizes(rows)
    fold = np.repeat(np.random.default_rng(seed).permutation(len(sizes)) % config.folds, sizes)
    folds = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(config.folds)]
    found = lgb.cv(
        parameters,
        data,
        config.max_trees,
        folds=folds,
        callbacks=[lgb.early_stopping(config.patience, verbose=False)],
        return_cvbooster=True,
    )
    boosters = found["cvbooster"]
    trees = max(1, boosters.best_iteration)
    unseen = np.empty(len(fold), dtype=np.float32)
    matrix = data.get_data()
    for booster, (_, inside) in zip(boosters.boosters, folds, strict=True):
        unseen[inside] = booster.predict(matrix[inside], num_iteration=trees)
    alone = blend.score(rows)
    values = {share: measure_groups(rows, mix(rows, unseen, alone, share), n) for share in _SHARES}
    reference = measure_groups(rows, alone, n)
    means = {share: float(one.mean()) for share, one in values.items()}
    best = max(_SHARES, key=lambda share: means[share])
    low, high = _interval(values[best] - reference, seed)
    gain = (means[best] - float(reference.mean()), low, high)
    curve = tuple(found[f"valid ndcg@{n}-mean"])
    return trees, best if low > 0 else None, Validation(curve, means, float(reference.mean()), gain)


def _interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the ends of a 95 % bootstrap interval of the mean over groups."""
    rng = np.random.default_rng(seed)
    draws = [differences[rng.integers(0, len(differences), len(differences))].mean() for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
