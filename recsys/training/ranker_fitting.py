"""Fitting the ranker: with a choice of its own, or with that of the evaluation model or of an earlier training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import polars as pl

from recsys.config import Config
from recsys.progress import format_count, logger, progress_bar
from recsys.ranking.ranker import Ranker, count_trees, has_folds
from recsys.ranking.ranker_choice import RankerChoice
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender


def fit_ranker(
    config: Config, rows: pl.DataFrame, recommender: Recommender, choice: RankerChoice | None = None
) -> Ranker:
    """Fit the ranker on the rows of all label windows.

    Args:
        config: all settings.
        rows: `TrainingRows`.
        recommender: has the features and the sources.
        choice: made before; None: it is made here, by folds.
    """
    with progress_bar("Ranker, trees", count_trees(rows, config.ranking, choice)) as progress:
        return Ranker.fit(
            rows,
            name_features(config, recommender),
            recommender.source_names,
            config.ranking,
            n=config.evaluation.n,
            seed=config.seed,
            threads=config.threads,
            choice=choice,
            progress=progress,
        )


def refit_ranker(
    config: Config, rows: pl.DataFrame, recommender: Recommender, evaluated: Ranker, evaluated_rows: pl.DataFrame
) -> tuple[Ranker, list[str]]:
    """Return the ranker of a refit, and sentences on where it differs from the choice of the evaluation model.

    Args:
        config: all settings.
        rows: `TrainingRows` of the refit.
        recommender: has the features and the sources.
        evaluated: the evaluation model's ranker.
        evaluated_rows: what it learned from.
    """
    if lack := _find_lack_of_users(config, rows, evaluated):
        return evaluated, [lack]
    ranker = fit_ranker(config, rows, recommender, evaluated.choice)
    return ranker, _list_differences(ranker, rows, evaluated, evaluated_rows)


def keep_ranker_choice(
    config: Config, rows: pl.DataFrame, recommender: Recommender, earlier: Bundle | None
) -> RankerChoice | None:
    """Return the choice of the training that this one continues, which saves the folds; None if it is to be made.

    It is kept if folds made it for the same problem: the same settings of the ranker, list length, sources and
    features, and if there still are enough users for folds.

    Args:
        config: all settings.
        rows: `TrainingRows` of all label windows.
        recommender: has the features and the sources.
        earlier: the evaluation model that this one continues from; None: it continues from none.
    """
    if earlier is None or not config.continuation.keep_ranker_choice:
        return None
    ranker, before = earlier.ranker, earlier.config
    reasons = {
        "it was not made by folds": ranker.validation.gain is None,
        "there are too few users": not has_folds(rows, config.ranking),
        "settings of the ranker differ": (config.ranking, config.evaluation.n) != (before.ranking, before.evaluation.n),
        "sources or features differ": (set(recommender.source_names), [*name_features(config, recommender)])
        != (set(ranker.blend.weights), [*ranker.features]),
    }
    if differing := [reason for reason, holds in reasons.items() if holds]:
        logger.info("ranker: the choice of the training before is not kept: %s", ", ".join(differing))
        return None
    return replace(ranker.choice, kept=ranker.choice.kept + 1)


def name_features(config: Config, recommender: Recommender) -> list[str]:
    """Return the features that the ranker reads, without those that the config excludes."""
    return _exclude_features(recommender.features, config.ranking.exclude_features)


def _exclude_features(features: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in features if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _find_lack_of_users(config: Config, rows: pl.DataFrame, evaluated: Ranker) -> str:
    """Return why a refit has too few users for trees that were chosen by folds; empty if it has enough."""
    users, least = rows["user_index"].n_unique(), config.ranking.min_users_for_folds
    measured = evaluated.validation.gain is not None
    if not rows.is_empty() and (users >= least or not measured):
        return ""
    return (
        f"the refit has {format_count(users, 'user')} with a positive among the candidates, fewer than "
        f"ranking.min_users_for_folds {least:,}; the ranker of the evaluation model serves"
    )


def _list_differences(ranker: Ranker, rows: pl.DataFrame, evaluated: Ranker, evaluated_rows: pl.DataFrame) -> list[str]:
    """Return where a refitted ranker differs from the choice of the evaluation model."""
    differences = []
    fitted, wanted = ranker.booster.num_trees(), evaluated.booster.num_trees()
    if fitted != wanted:
        differences.append(
            f"the refit has {format_count(fitted, 'tree')}, the evaluation model {wanted}: no further split was "
            "possible"
        )
    for source, weight in evaluated.blend.weights.items():
        score = f"{source}_z"
        silent = rows[score].null_count() == rows.height > 0
        # A source without weight changes no list.
        if weight and silent and evaluated_rows[score].null_count() < evaluated_rows.height:
            differences.append(
                f"source {source} scores no candidates in the refit; it had {weight:.2f} of the evaluation model's "
                "blend"
            )
    return differences
