"""The half-life of popularity that makes the better lists: the one that suits popularity alone, or the default."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config
from recsys.config.overrides import apply_settings, look_up
from recsys.evaluation.intervals import compare_paired
from recsys.progress import format_count
from recsys.ranking.groups import Groups
from recsys.ranking.ranker import score_by_forests
from recsys.ranking.training_rows import find_starts, thin_negatives
from recsys.training.calibration import DEFAULT_HALF_LIFE, HALF_LIFE

_DRAWS = 1000
# A single forest varies with its seed by as much as there is to see, so the mean of several small ones is measured.
_FORESTS, _TREES, _FASTER, _ROWS = 4, 30, 3.0, 200_000


def list_rivals(before: Config, chosen: Config, n_windows: int) -> list[Config]:
    """Return the settings that lists are compared with: those chosen, and where popularity has the default half-life.

    Popularity is a source, and many features of the trees rest on it, so the half-life with the best source can make
    worse lists. Only older label windows can show that: trees that learned from the same window do not see how it
    differs from the next.

    Args:
        before: the settings of the training.
        chosen: the same with every `auto` measured; see `calibrate`.
        n_windows: number of label windows.

    Returns:
        One or two; one if the half-life was not left to the data, is the default, or there is no older window.
    """
    left_open = look_up(before, HALF_LIFE) != look_up(chosen, HALF_LIFE)
    if n_windows < 2 or not left_open or chosen.candidates.half_life_days in (None, DEFAULT_HALF_LIFE):
        return [chosen]
    return [chosen, apply_settings(chosen, {HALF_LIFE: DEFAULT_HALF_LIFE})]


def choose_by_lists(
    rivals: Sequence[Config], rows: Sequence[pl.DataFrame], features: Sequence[str], sources: Sequence[str]
) -> tuple[int, str]:
    """Choose the settings with the better lists of the newest label window, by trees of the older ones.

    Args:
        rivals: two settings that differ in the half-life of popularity.
        rows: `TrainingRows` of all label windows by the settings.
        features: columns to learn from.
        sources: whose z-scores the blend weighs.

    Returns:
        The index of the settings whose lists have the larger mean of nDCG, the first if the windows have too few users
        to tell (`ranking.min_users_for_folds`), and a line about it.
    """
    config, n = rivals[0], rivals[0].evaluation.n
    newest = [each.filter(pl.col("window") == 0) for each in rows]
    older = [each.filter(pl.col("window") > 0) for each in rows]
    days = [f"{each.candidates.half_life_days:g}" for each in rivals]
    users, least = min(each["user_index"].n_unique() for each in (*newest, *older)), config.ranking.min_users_for_folds
    if users < least:
        return 0, f"{HALF_LIFE} {days[0]} (kept: a label window has {format_count(users, 'user')}, fewer than {least})"
    scores = [_score(*each, features, sources, n) for each in zip(rivals, older, newest, strict=True)]
    first, second = _measure(newest, scores, n)
    gain = compare_paired(second, first, _DRAWS, 0.95, config.seed)
    best = int(gain.mean > 0)
    return best, (
        f"{HALF_LIFE} {days[best]} (lists of the newest label window by trees of the older ones: ndcg@{n} "
        f"{first.mean():.3f} with {days[0]}, {second.mean():.3f} with {days[1]}, {gain.mean:+.3f} [{gain.low:+.3f}, "
        f"{gain.high:+.3f}], {format_count(len(first), 'user')})"
    )


def _score(
    config: Config,
    older: pl.DataFrame,
    newest: pl.DataFrame,
    features: Sequence[str],
    sources: Sequence[str],
    n: int,
) -> NDArray[np.float32]:
    """Return (n_rows) scores of the newest window by trees of the older ones."""
    scores = score_by_forests(
        thin_negatives(older, _ROWS, config.seed),
        newest,
        features,
        sources,
        config.ranking.model_copy(update={"learning_rate": _FASTER * config.ranking.learning_rate}),
        n=n,
        seeds=range(config.seed, config.seed + _FORESTS),
        trees=_TREES,
        threads=config.threads,
    )
    return scores.astype(np.float32)


def _measure(
    newest: Sequence[pl.DataFrame], scores: Sequence[NDArray[np.float32]], n: int
) -> list[NDArray[np.float64]]:
    """Return (n_users) nDCG@n by each scores, where every positive counts that any of them has among its rows."""
    groups = [Groups(rows) for rows in newest]
    users = [rows["user_index"].to_numpy()[find_starts(rows)[:-1]] for rows in newest]
    everyone = np.unique(np.concatenate(users))
    places = [np.searchsorted(everyone, own) for own in users]
    totals = np.zeros(len(everyone), dtype=np.int64)
    for group, place in zip(groups, places, strict=True):
        totals[place] = np.maximum(totals[place], group.totals)
    values = [np.zeros(len(everyone)) for _ in groups]
    for value, group, place, score in zip(values, groups, places, scores, strict=True):
        value[place] = group.measure(score, n, totals[place])
    return values
