"""Settings left to the data: what the config says is `auto` becomes what serves the newest label window best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.models import NEIGHBOUR_SECTIONS, CandidateModels
from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.scores import Scores
from recsys.candidates.sources.popular import PopularSource
from recsys.candidates.statistics import ItemStatistics
from recsys.collab.neighbours import NeighbourModel
from recsys.config import AUTO, Config
from recsys.config.overrides import apply_settings, look_up
from recsys.dataset.histories import Histories
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.metrics import METRICS, find_hits

# From "the order says nothing" to "little but the last items counts", and from last week to always. The first of each
# stays unless another is surely better.
_DECAYS = (0.9, 1.0, 0.98, 0.95, 0.8, 0.7, 0.6, 0.4)
_HALF_LIVES = (30.0, 7.0, 90.0, 365.0, None)
_DRAWS = 1000
# Users who are asked; more would cost time and change little.
_USERS = 1_000
# Users scored at a time.
_SHARD = 250


def calibrate(
    config: Config,
    candidate_models: CandidateModels,
    histories: Histories,
    users: Histories,
    positives: pl.DataFrame,
    recommendable: NDArray[np.bool_],
) -> tuple[Config, list[str]]:
    """Return the config with every `auto` replaced, and a line for each that tells what was chosen.

    Each value is tried on the source it belongs to, alone. The one with the highest mean of the config's metric wins
    where the 95 % interval of its gain over the usual value, paired by user, is above zero; else the usual one stays.
    Where there is no order, or no common clock, there is nothing to choose and nothing decays.

    Args:
        config: all settings.
        candidate_models: fitted on the histories.
        histories: of everybody, as of the window's cut-off.
        users: of those who took something in the window.
        positives: `user_index` of those users, `item_index`: what they took.
        recommendable: (n_items) bool.
    """
    question = _Question(config, users, positives, recommendable)
    settings: dict[str, Any] = {}
    told = []
    for path, values, scorer in _list_choices(config, candidate_models, histories):
        best = 0
        if len(values) > 1:
            measured = [question.measure(scorer(value)) for value in values]
            means = [float(one.mean()) for one in measured]
            best = int(np.argmax(means))
            if best and compare_paired(measured[best], measured[0], _DRAWS, 0.95, config.seed).low <= 0:
                best = 0
            metric = f"{config.evaluation.metric}@{config.evaluation.n}"
            told.append(f"{path} {values[best]} ({metric} {means[best]:.4f}; {means[0]:.4f} at {values[0]})")
        settings[path] = values[best]
    return apply_settings(config, settings), told


_Scorer = Callable[[Histories], Scores]


def _list_choices(
    config: Config, candidate_models: CandidateModels, histories: Histories
) -> Iterator[tuple[str, Sequence[float | None], Callable[[Any], _Scorer]]]:
    """Yield each `auto`: its path, the values to try, and what scores users under one of them."""
    for name, path in NEIGHBOUR_SECTIONS.items():
        if look_up(config, f"{path}.history_decay") == AUTO:
            # A model that nothing needs is not fitted.
            model = candidate_models.neighbours.get(name)
            if model is None:
                model = NeighbourModel.blank(histories.n_items, 1.0)
            decays: Sequence[float] = _DECAYS if histories.ordered and model.similarity.nnz else (1.0,)
            yield f"{path}.history_decay", decays, partial(_score_decayed, model)
    path = "candidates.popularity_half_life_days"
    if look_up(config, path) == AUTO:
        half_lives: Sequence[float | None] = (None,) if histories.cutoff is None else _HALF_LIVES
        yield path, half_lives, partial(_score_recent, histories)


def _score_decayed(model: NeighbourModel, decay: float) -> _Scorer:
    return NeighbourSource("", "", model.with_decay(decay)).score


def _score_recent(histories: Histories, half_life_days: float | None) -> _Scorer:
    return PopularSource("", "", ItemStatistics.count(histories, half_life_days).recent).score


class _Question:
    """What some users took, asked of one source at a time."""

    def __init__(
        self, config: Config, users: Histories, positives: pl.DataFrame, recommendable: NDArray[np.bool_]
    ) -> None:
        drawn = np.sort(np.random.default_rng(config.seed).permutation(users.n_users)[:_USERS])
        self._users = users.take(users.user_ids.gather(drawn))
        pairs = positives.select("user_index", "item_index").to_numpy()
        taken = csr_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=(users.n_users, users.n_items))
        self._positives = taken[drawn]
        self._recommendable, self._repeats = recommendable, config.dataset.repeats
        self._metric, self._n = METRICS[config.evaluation.metric], config.evaluation.n

    def measure(self, score: _Scorer) -> NDArray[np.float64]:
        """Return (n_users) what lists by these scores reach."""
        return np.concatenate([self._measure(score, first, shard) for first, shard in self._users.split(_SHARD)])

    def _measure(self, score: _Scorer, first: int, shard: Histories) -> NDArray[np.float64]:
        lists = score(shard).find_top(self._n, Exclusions.of(shard, self._recommendable, repeats=self._repeats))
        positives = self._positives[first : first + shard.n_users]
        return self._metric(find_hits(lists, positives), np.diff(positives.indptr), self._n)
