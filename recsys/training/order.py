"""A quick look at whether the order of histories helps to predict what comes next, before anything costly learns it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.neighbour_source import NeighbourSource
from recsys.collab.neighbours import fit_transitions
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.evaluation.intervals import Estimate, compare_paired
from recsys.evaluation.metrics import METRICS, find_hits
from recsys.progress import format_count

# Users whose histories transitions are counted in, and users who are asked; more would cost time and change little.
_LEARNED_FROM, _ASKED = 20_000, 2_000
# Below so many users an interval says nothing.
_FEWEST = 30
# From "the last items matter most" to "all items matter alike".
_DECAYS = (0.6, 0.9, 1.0)
_DRAWS = 1000
_SHARD = 500


@dataclass(frozen=True)
class OrderGain:
    """What transitions gain by the order of histories.

    Attributes:
        metric: such as `ndcg@10`.
        ordered: its mean by transitions of the histories.
        shuffled: the same after each history was shuffled.
        gain: their difference, paired by user.
        n_users: that were asked.
    """

    metric: str
    ordered: float
    shuffled: float
    gain: Estimate
    n_users: int

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval of the gain is above zero."""
        return self.gain.low > 0

    def describe(self) -> str:
        """Return the figures as one clause."""
        return (
            f"transitions have {self.metric} {self.ordered:.3f} in order and {self.shuffled:.3f} shuffled "
            f"({self.gain.mean:+.3f} [{self.gain.low:+.3f}, {self.gain.high:+.3f}], "
            f"{format_count(self.n_users, 'user')})"
        )


def measure_order(histories: Histories, days: float | None, config: Config) -> OrderGain | None:
    """Measure what the order of histories adds to the prediction of what comes after them.

    The end of the histories is held out as a window of the protocol is: the items first taken in the last days, or
    each user's last item. Transitions are counted in what is before it, once in order and once with each history
    shuffled, which leaves what items have users in common. Each predicts with the decay that suits it best.

    Args:
        histories: as of the cutoff of the oldest label window.
        days: length of that window; None if windows have no common clock.
        config: the metric, the transitions and the seed.

    Returns:
        The gain; None without an order, or with too few users to tell.
    """
    if not histories.ordered:
        return None
    rng = np.random.default_rng(config.seed)
    drawn = histories.pick(np.sort(rng.permutation(histories.n_users)[:_LEARNED_FROM]))
    late = drawn.steps_back == 0 if days is None else drawn.ages <= days
    taken = late & drawn.consumed & (True if days is None else drawn.first_ages <= days)
    past = drawn.keep_entries(np.flatnonzero(~late))
    positives = csr_array(
        (np.ones(int(taken.sum()), dtype=bool), (drawn.users[taken], drawn.items[taken])),
        shape=(drawn.n_users, drawn.n_items),
    )
    # A single item has no order.
    able = np.flatnonzero((np.diff(positives.indptr) > 0) & (past.lengths > 1))
    if len(able) < _FEWEST:
        return None
    asked = np.sort(rng.permutation(able)[:_ASKED])
    shuffled = past.keep_entries(np.lexsort((rng.random(len(past.items)), past.users)))
    values = [max(_measure(each, asked, positives[asked], config), key=np.mean) for each in (past, shuffled)]
    return OrderGain(
        f"{config.evaluation.metric}@{config.evaluation.n}",
        float(values[0].mean()),
        float(values[1].mean()),
        compare_paired(values[0], values[1], _DRAWS, 0.95, config.seed),
        len(asked),
    )


def _measure(
    histories: Histories, asked: NDArray[np.int64], positives: csr_array, config: Config
) -> Iterator[NDArray[np.float64]]:
    """Yield (n_asked) the metric of lists by transitions, for each decay."""
    model = fit_transitions(histories, config.collab.transitions)
    users, recommendable = histories.pick(asked), np.ones(histories.n_items, dtype=bool)
    metric, n = METRICS[config.evaluation.metric], config.evaluation.n
    for decay in _DECAYS:
        source = NeighbourSource("", "", model.with_decay(decay))
        lists = [
            source.score(shard).find_top(n, Exclusions.of(shard, recommendable, repeats=False))
            for _, shard in users.split(_SHARD)
        ]
        yield metric(find_hits(np.concatenate(lists), positives), np.diff(positives.indptr), n)
