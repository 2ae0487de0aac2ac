"""The ranker: LightGBM LambdaMART over the candidates' features and the blend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import RankingConfig
from recsys.errors import DataError
from recsys.progress import format_count
from recsys.ranking.blend import Blend, mix
from recsys.ranking.growing import grow_mean, grow_side_by_side
from recsys.ranking.ranker_choice import RankerChoice, Validation, choose_by_folds
from recsys.ranking.training_rows import to_dataset
from recsys.ranking.trees import Forest
from recsys.storage.files import read_json, write_json

if TYPE_CHECKING:
    import lightgbm as lgb

# Used where there are too few users for folds: with half of the blend, a prototype was never worse than the blend.
_SAFE_SHARE = 0.5


@dataclass(frozen=True)
class Ranker:
    """Trees (Burges 2010, MSR-TR-2010-82) that start from the blend and correct it by the features.

    Attributes:
        trees_text: the trees, as LightGBM writes them.
        blend: its score is the first feature.
        features: the other feature columns, in order.
        choice: how many trees there are, and how much of the blend is added to them.
        held_out: (n_rows) float32 scores of the training rows by folds that did not learn from their user; None: no
            folds were made, or the ranker was loaded.
    """

    trees_text: str
    blend: Blend
    features: tuple[str, ...]
    choice: RankerChoice
    held_out: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

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
        progress: Callable[[int], None] = lambda _: None,
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
            progress: called with the number of trees after each; see `count_trees`.

        Raises:
            DataError: no candidate is a positive; there is nothing to learn.
        """
        if rows.is_empty():
            raise DataError(
                "training rows: no candidate of any label window is a positive; "
                "use longer label windows, larger candidates.depths or more data"
            )
        blend = Blend.tune(rows, sources, n)
        matrix = _matrix(rows, blend.score_rows(rows), features)
        parameters = _parameters(config, n, seed, threads)
        data = to_dataset(matrix, rows, parameters, ["blend", *features])
        held_out = None
        if choice is None:
            choice = RankerChoice(config.fixed_trees, _SAFE_SHARE)
            if has_folds(rows, config):
                choice, held_out = choose_by_folds(
                    matrix, data, rows, sources, parameters, config, n, seed, threads, progress
                )
        booster = grow_mean(parameters, data, choice.trees, progress)
        ranker = cls(booster.model_to_string(), blend, tuple(features), choice, held_out)
        # The text has fewer digits of the gains.
        vars(ranker)["booster"] = booster
        return ranker

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
    def booster(self) -> lgb.Booster:
        """The trees in LightGBM, which is imported for this."""
        import lightgbm as lgb

        return lgb.Booster(model_str=self.trees_text)

    @cached_property
    def forest(self) -> Forest:
        """The trees, laid out for speed."""
        return Forest.from_text(self.trees_text)

    def describe(self) -> str:
        """Return in words what ranks the candidates, and why."""
        measured = self.validation.gain
        gain = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*measured) if measured else ""
        kept = self.choice.kept
        earlier = f", {format_count(kept, 'training')} ago" if kept else ""
        if self.blend_share is None:
            return (
                f"the weighted blend only ({self.blend.describe()}): the trees gained {gain} nDCG on "
                f"held-out users{earlier}"
            )
        trees = f"LightGBM, {format_count(self.booster.num_trees(), 'tree')}"
        if self.blend_share:
            trees += f" + {self.blend_share:g} × weighted blend"
        gained = f"; {gain} nDCG over the weighted blend on held-out users{earlier}" if gain else ""
        return f"{trees}{gained} (blend: {self.blend.describe()})"

    def importance(self) -> pl.DataFrame:
        """Return `feature`, `gain` (Float64, total over all splits), largest first, ties by name."""
        gains = self.booster.feature_importance("gain")
        table = pl.DataFrame({"feature": self.booster.feature_name(), "gain": gains})
        return table.sort(["gain", "feature"], descending=[True, False])

    def save(self, folder: Path) -> None:
        """Write the trees as LightGBM text and the rest as JSON."""
        # Not save_model: on a full disk it writes to stderr and raises a LightGBMError.
        (folder / "trees.txt").write_text(self.trees_text, encoding="utf-8")
        content = {
            "blend": self.blend.weights,
            "features": self.features,
            "trees": self.choice.trees,
            "blend_share": self.blend_share,
            "kept": self.choice.kept,
            "validation": {**asdict(self.validation), "shares": list(self.validation.shares.items())},
        }
        write_json(folder / "ranker.json", content, sort_keys=False)

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """Read what `save` wrote."""
        content = read_json(folder / "ranker.json")
        trees = (folder / "trees.txt").read_text(encoding="utf-8")
        measured = content["validation"]
        gain = tuple(measured["gain"]) if measured["gain"] else None
        validation = Validation(tuple(measured["curve"]), dict(measured["shares"]), measured["blend"], gain)
        choice = RankerChoice(content["trees"], content["blend_share"], validation, content.get("kept", 0))
        return cls(trees, Blend(content["blend"]), tuple(content["features"]), choice)


def score_by_forests(
    rows: pl.DataFrame,
    scored: pl.DataFrame,
    features: Sequence[str],
    sources: Sequence[str],
    config: RankingConfig,
    *,
    n: int,
    seeds: Sequence[int],
    trees: int,
    threads: int,
) -> NDArray[np.float64]:
    """Return the mean score of several forests that differ in their seeds, which is steadier than that of one.

    Args:
        rows: `TrainingRows` to learn from.
        scored: rows with the same columns.
        features: columns to learn from.
        sources: whose z-scores the blend weighs.
        config: parameters of the trees.
        n: list length that the trees aim at.
        seeds: of each forest's feature subsets.
        trees: of each forest.
        threads: how many forests are grown at once, each on one thread.

    Returns:
        (n_scored) float64.
    """
    blend = Blend.tune(rows, sources, n)
    parameters = _parameters(config, n, seeds[0], threads)
    data = to_dataset(_matrix(rows, blend.score_rows(rows), features), rows, parameters, ["blend", *features])
    columns = list(_matrix(scored, blend.score_rows(scored), features).T)
    alone = parameters | {"num_threads": 1}
    boosters = grow_side_by_side(
        [partial(grow_mean, alone | {"feature_fraction_seed": seed}, data, trees) for seed in seeds], threads
    )
    # Added up in the order of the seeds.
    scores = sum(Forest.from_text(booster.model_to_string()).score(columns) for booster in boosters)
    return np.asarray(scores) / len(seeds)


def count_trees(rows: pl.DataFrame, config: RankingConfig, choice: RankerChoice | None) -> int:
    """Return how many trees `Ranker.fit` grows at most, those of the folds included."""
    if choice is not None:
        return choice.trees
    return (config.folds + 1) * config.max_trees if has_folds(rows, config) else config.fixed_trees


def has_folds(rows: pl.DataFrame, config: RankingConfig) -> bool:
    """Whether the rows have enough users for folds."""
    return rows["user_index"].n_unique() >= max(config.folds, config.min_users_for_folds)


def _matrix(rows: pl.DataFrame, blend: NDArray[np.float32], features: Sequence[str]) -> NDArray[np.float32]:
    return np.column_stack([blend, rows.select(features).to_numpy().astype(np.float32, copy=False)])


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
