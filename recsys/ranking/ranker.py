"""The ranker: LightGBM LambdaMART over the candidates' features and the blend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import RankingConfig
from recsys.errors import DataError
from recsys.ranking.blend import Blend
from recsys.ranking.training_rows import group_sizes


@dataclass(frozen=True)
class Ranker:
    """Trees (Burges 2010, MSR-TR-2010-82) that start from the blend and add what the features know.

    Attributes:
        booster: the trees.
        blend: its score is the first feature.
        features: the other feature columns, in order.
        validation: nDCG@n after each tree on the groups held out for early stopping; empty with a fixed count.
    """

    booster: lgb.Booster
    blend: Blend
    features: tuple[str, ...]
    validation: tuple[float, ...]

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
        """Tune the blend, find the number of trees, and fit on all groups.

        Args:
            rows: `TrainingRows` with the feature columns, sorted by window, user, item.
            features: columns to learn from.
            sources: whose z-scores the blend weighs.
            config: parameters of the trees.
            n: list length that counts.
            seed: draws the groups held out, and the trees' feature subsets.
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
        matrix = _matrix(rows, blend, features)
        label, sizes = rows["label"].to_numpy(), group_sizes(rows)
        parameters = _parameters(config, n, seed, threads)
        names = ["blend", *features]
        trees, validation = config.fixed_trees, tuple[float, ...]()
        if len(sizes) >= max(2, config.min_groups_for_early_stopping):
            trees, validation = _find_trees(matrix, label, sizes, names, parameters, config, n, seed)
        data = lgb.Dataset(matrix, label, group=sizes, feature_name=names)
        return cls(lgb.train(parameters, data, trees), blend, tuple(features), validation)

    def score(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Return (n_rows) float32, comparable within a user only."""
        if features.is_empty():
            return np.zeros(0, dtype=np.float32)
        matrix = _matrix(features, self.blend, self.features)
        # The booster is told its threads at training; a loaded one takes them from the environment set up by the CLI.
        return np.asarray(self.booster.predict(matrix), dtype=np.float32)

    def importance(self) -> pl.DataFrame:
        """Return `feature`, `gain` (Float64, total over all splits), largest first, ties by name."""
        gains = self.booster.feature_importance("gain")
        table = pl.DataFrame({"feature": self.booster.feature_name(), "gain": gains})
        return table.sort(["gain", "feature"], descending=[True, False])

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM text and the rest as JSON."""
        # Not save_model: on a full disk it writes to stderr and raises an error of LightGBM's own.
        (folder / "trees.txt").write_text(self.booster.model_to_string(), encoding="utf-8")
        content = {"blend": self.blend.weights, "features": self.features, "validation": self.validation}
        (folder / "ranker.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Read what `save` wrote."""
        content = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        booster = lgb.Booster(model_file=folder / "trees.txt")
        return cls(booster, Blend(content["blend"]), tuple(content["features"]), tuple(content["validation"]))


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


def _find_trees(
    matrix: NDArray[np.float32],
    label: NDArray[np.uint8],
    sizes: NDArray[np.int64],
    names: list[str],
    parameters: dict[str, object],
    config: RankingConfig,
    n: int,
    seed: int,
) -> tuple[int, tuple[float, ...]]:
    """Stop early on held-out groups; return the best number of trees and the curve that shows it."""
    count = min(max(1, round(len(sizes) * config.validation_share)), len(sizes) - 1)
    held_out = np.random.default_rng(seed).permutation(len(sizes)) < count
    row_held_out = np.repeat(held_out, sizes)
    train = lgb.Dataset(matrix[~row_held_out], label[~row_held_out], group=sizes[~held_out], feature_name=names)
    valid = train.create_valid(matrix[row_held_out], label[row_held_out], group=sizes[held_out])
    curve: dict[str, dict[str, list[float]]] = {}
    booster = lgb.train(
        parameters,
        train,
        config.max_trees,
        valid_sets=[valid],
        valid_names=["held_out"],
        callbacks=[lgb.early_stopping(config.patience, verbose=False), lgb.record_evaluation(curve)],
    )
    return max(1, booster.best_iteration), tuple(curve["held_out"][f"ndcg@{n}"])
