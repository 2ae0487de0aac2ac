"""What a plug-in source promises, checked on every block that it scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.scores import DenseScores, Scores, SharedScores, SummedScores
from recsys.candidates.source import Source
from recsys.dataset.histories import Histories
from recsys.errors import DataError
from recsys.progress import format_count


class CheckedSource:
    """A plug-in source whose scores are checked before anything uses them.

    The source may return any `Scores`, or an (n_users, n_items) float32 array with NaN for items without a score.
    """

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.reason = source.reason
        self.sentences: Any = getattr(source, "sentences", {})
        self._source = source

    def score(self, histories: Histories) -> Scores:
        """Return the source's scores.

        Raises:
            DataError: they break the contract; names the source, what it gave and what is expected.
        """
        scores: Any = self._source.score(histories)
        shape = (histories.n_users, histories.n_items)
        if isinstance(scores, np.ndarray):
            return DenseScores.from_array(_check_array(self.name, "score", scores, shape))
        if lacking := [name for name in ("find_top", "look_up", "to_array") if not hasattr(scores, name)]:
            raise DataError(
                f"source '{self.name}': score returned a {type(scores).__name__} without {', '.join(lacking)}; "
                f"expected Scores, or a float32 array of shape {shape}"
            )
        # Compiled loops read the package's own forms without looking at bounds.
        own = isinstance(scores, DenseScores | SummedScores | SharedScores)
        if own and (fault := scores.find_fault(*shape)):
            raise DataError(
                f"source '{self.name}': score returned {type(scores).__name__} that {fault}; expected finite float32 "
                f"scores of {format_count(shape[0], 'user')} and {format_count(shape[1], 'item')}, with -inf or NaN "
                "where there is no score"
            )
        return _CheckedScores(self.name, scores, shape)


class _CheckedScores:
    """Scores of a plug-in; see `Scores`."""

    def __init__(self, name: str, scores: Scores, shape: tuple[int, int]) -> None:
        self._name, self._scores, self._shape = name, scores, shape

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """See `Scores`."""
        top: Any = self._scores.find_top(depth, exclusions)
        n_users, n_items = self._shape
        where = f"source '{self._name}': find_top({depth})"
        if not isinstance(top, np.ndarray) or top.dtype != np.int32 or top.ndim != 2 or len(top) != n_users:
            raise DataError(f"{where} returned {_describe(top)}; expected int32 of shape ({n_users}, at most {depth})")
        if top.shape[1] > depth:
            raise DataError(f"{where} returned {format_count(top.shape[1], 'item')} per user; expected at most {depth}")
        if top.size and not (top.min() >= -1 and top.max() < n_items):
            raise DataError(
                f"{where} proposed item {int(top.max() if top.max() >= n_items else top.min())} of a catalogue of "
                f"{n_items:,}; expected item numbers from 0 to {n_items - 1}, and -1 where there are no more"
            )
        _check_rows(where, top, exclusions)
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        return _check_array(self._name, "look_up", self._scores.look_up(starts, items), items.shape)

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        return _check_array(self._name, "to_array", self._scores.to_array(), self._shape)


def _check_array(name: str, method: str, scores: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    where = f"source '{name}': {method}"
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.shape != shape:
        raise DataError(f"{where} returned {_describe(scores)}; expected float32 of shape {shape}")
    if np.isinf(scores).any():
        raise DataError(
            f"{where} returned infinite scores ({int(np.isinf(scores).sum()):,} of {scores.size:,}); expected finite "
            "ones, and NaN for items without a score"
        )
    return scores


def _check_rows(where: str, top: NDArray[np.int32], exclusions: Exclusions) -> None:
    ordered = np.sort(top, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise DataError(f"{where} proposed an item twice to the same user; expected each item at most once")
    excluded = exclusions.to_array()
    if excluded[np.arange(len(top))[:, None], np.maximum(top, 0)][top >= 0].any():
        raise DataError(f"{where} proposed an item that is excluded; expected none of `exclusions`")


def _describe(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
