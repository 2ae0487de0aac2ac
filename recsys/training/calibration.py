"""Settings that are `auto` in the config get the value that is best on the newest label window."""

from __future__ import annotations

import math
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
from recsys.candidates.sources.repeat import RepeatSource
from recsys.candidates.statistics import ItemStatistics
from recsys.collab.neighbours import NeighbourModel
from recsys.config import AUTO, Config
from recsys.config.overrides import apply_settings, look_up
from recsys.dataset.histories import Histories
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.metrics import METRICS, find_hits
from recsys.progress import progress_bar
from recsys.training.new_places import NEW_SHARE

# Decays from "the order does not matter" to "only the last items matter", and half-lives from a week to no decay. The
# first value of each is kept unless another is significantly better.
_DECAYS = (0.9, 1.0, 0.98, 0.95, 0.8, 0.7, 0.6, 0.4)
_REPEAT_DECAYS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.4)
HALF_LIFE, DEFAULT_HALF_LIFE = "candidates.popularity_half_life_days", 30.0
_HALF_LIVES = (DEFAULT_HALF_LIFE, 7.0, 90.0, 365.0, None)
_DRAWS = 1000
# Users that values are measured on; more would cost time and change little.
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
    """Return the config with every `auto` replaced, and a line per setting with the chosen value.

    Each value is measured on its own source, alone. The value with the highest mean of the config's metric is chosen if
    the 95 % interval of its gain over the default value, paired by user, is above zero; otherwise the default is kept.
    Without an order, or without a common clock, there is nothing to choose and nothing decays. The share of new items
    in lists is the one among the positives, until a ranker says what it costs (`limit_new_share`).

    Args:
        config: all settings.
        candidate_models: fitted on the histories.
        histories: of all users, as of the window's cutoff.
        users: histories of the users with a positive in the window.
        positives: `user_index` of those users, `item_index`: the items that they consumed.
        recommendable: (n_items) bool.
    """
    sample = _Sample(config, users, positives, recommendable)
    settings: dict[str, Any] = {}
    messages = []
    choices = list(_list_choices(config, candidate_models, histories))
    with progress_bar("Auto settings", sum(len(values) for _, values, _ in choices if len(values) > 1)) as progress:
        for path, values, scorer in choices:
            best = 0
            if len(values) > 1:
                measured = []
                for value in values:
                    measured.append(sample.measure(scorer(value)))
                    progress(1)
                means = [float(values_by_user.mean()) for values_by_user in measured]
                best = int(np.argmax(means))
                if best and compare_paired(measured[best], measured[0], _DRAWS, 0.95, config.seed).low <= 0:
                    best = 0
                metric = f"{config.evaluation.metric}@{config.evaluation.n}"
                reason = (
                    f"{metric} {means[best]:.3f}; {means[0]:.3f} at the default {values[0]}" if best else "default kept"
                )
                messages.append(f"{path} {values[best]} ({reason})")
            settings[path] = values[best]
    if config.generation.rules.min_new_share == AUTO:
        share, message = _find_new_share(config, histories, positives, recommendable)
        settings[NEW_SHARE] = share
        messages.append(message)
    return apply_settings(config, settings), messages


def _find_new_share(
    config: Config, histories: Histories, positives: pl.DataFrame, recommendable: NDArray[np.bool_]
) -> tuple[float, str]:
    """Return the share of a list's places for new items, and a line about it.

    Lists have as many as users took: items that are not recommendable at the cutoff do not count, because no list can
    hold them. The share is rounded to whole places, so where new items are rare there is none.
    """
    users = ItemStatistics.count(histories, None).users
    taken = positives["item_index"].to_numpy()
    taken = taken[recommendable[taken]]
    share = float((users[taken] <= config.candidates.new_item_users).mean()) if len(taken) else 0.0
    n = config.generation.n
    places = math.floor(share * n + 0.5)
    limit = f"at most {places / n:g}" if places else "0"
    return places / n, f"{NEW_SHARE} {limit} ({share:.1%} of what users took was new; {places} of {n} places)"


_Scorer = Callable[[Histories], Scores]


def _list_choices(
    config: Config, candidate_models: CandidateModels, histories: Histories
) -> Iterator[tuple[str, Sequence[float | None], Callable[[Any], _Scorer]]]:
    """Yield the path of each `auto` setting, the values to try, and a function from a value to a scorer."""
    for name, path in NEIGHBOUR_SECTIONS.items():
        if look_up(config, f"{path}.history_decay") == AUTO:
            # A model that no source needs is not fitted.
            model = candidate_models.neighbours.get(name)
            if model is None:
                model = NeighbourModel.blank(histories.n_items, 1.0)
            decays: Sequence[float] = _DECAYS if histories.ordered and model.similarity.nnz else (1.0,)
            yield f"{path}.history_decay", decays, partial(_score_decayed, model)
    path = "candidates.repeat_decay"
    if look_up(config, path) == AUTO:
        decays = _REPEAT_DECAYS if _repeats_by_step(config, histories) else (1.0,)
        yield path, decays, lambda decay: RepeatSource(None, decay).score
    if look_up(config, HALF_LIFE) == AUTO:
        half_lives: Sequence[float | None] = (None,) if histories.cutoff is None else _HALF_LIVES
        yield HALF_LIFE, half_lives, partial(_score_recent, histories)


def _repeats_by_step(config: Config, histories: Histories) -> bool:
    """Whether the source `repeat` can tell new from old only by the order of a history."""
    return "repeat" in config.candidates.depths and histories.ordered and histories.cutoff is None


def _score_decayed(model: NeighbourModel, decay: float) -> _Scorer:
    return NeighbourSource("", "", model.with_decay(decay)).score


def _score_recent(histories: Histories, half_life_days: float | None) -> _Scorer:
    return PopularSource("", "", ItemStatistics.count(histories, half_life_days).recent).score


class _Sample:
    """Measures one source at a time on the positives of some users."""

    def __init__(
        self, config: Config, users: Histories, positives: pl.DataFrame, recommendable: NDArray[np.bool_]
    ) -> None:
        drawn = np.sort(np.random.default_rng(config.seed).permutation(users.n_users)[:_USERS])
        self._users = users.take(users.user_ids.gather(drawn))
        pairs = positives.select("user_index", "item_index").to_numpy()
        matrix = csr_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=(users.n_users, users.n_items))
        self._positives = matrix[drawn]
        self._recommendable, self._repeats = recommendable, config.dataset.repeats
        self._metric, self._n = METRICS[config.evaluation.metric], config.evaluation.n

    def measure(self, score: _Scorer) -> NDArray[np.float64]:
        """Return (n_users) the metric of lists by these scores."""
        return np.concatenate([self._measure(score, first, shard) for first, shard in self._users.split(_SHARD)])

    def _measure(self, score: _Scorer, first: int, shard: Histories) -> NDArray[np.float64]:
        lists = score(shard).find_top(self._n, Exclusions.of(shard, self._recommendable, repeats=self._repeats))
        positives = self._positives[first : first + shard.n_users]
        return self._metric(find_hits(lists, positives), np.diff(positives.indptr), self._n)
