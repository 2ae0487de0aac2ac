"""Trees laid out for speed: the same sums as LightGBM's own, to the last bit, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.errors import ArtifactError

# Rows that go through a tree together; their features stay in the processor's cache.
_ROWS = 128
# Multiplied with a single bit this puts a number of its own into the six highest bits (a de Bruijn sequence).
_SEQUENCE = 0x03F79D71B4CB0A89
_PLACES = np.zeros(64, dtype=np.uint8)
_PLACES[[((_SEQUENCE << bit) & (2**64 - 1)) >> 58 for bit in range(64)]] = np.arange(64)
_MOST_LEAVES = 64
_ZERO = np.float32(1e-35)
# How LightGBM writes infinity.
_ENDLESS = 1e300


@dataclass(frozen=True)
class Forest:
    """A booster's trees as flat arrays, each tree's leaves numbered from the left (Lucchese et al. 2016, SIGIR).

    A node says which leaves are out of reach once a row turns right at it, as bits. Where all nodes of a tree have had
    their say, in any order, the lowest bit that is left is the row's leaf: no branch to predict, and many rows at once.

    Attributes:
        starts: (n_trees + 1) int32, first node of each tree.
        features: (n_nodes) int32.
        thresholds: (n_nodes) float32; a row with more turns right.
        missing_right: (n_nodes) bool; a row without the feature turns right.
        masks: (n_nodes) uint32 or uint64, bits of the leaves that a row on the right can still reach.
        leaf_starts: (n_trees) int32, first leaf of each tree.
        leaves: (n_leaves) float64.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    missing_right: NDArray[np.bool_]
    masks: NDArray[Any]
    leaf_starts: NDArray[np.int32]
    leaves: NDArray[np.float64]

    @classmethod
    def read(cls, booster: lgb.Booster) -> Forest:
        """Lay out a booster's trees.

        Raises:
            ArtifactError: a tree has over 64 leaves, splits by category or takes zeros for missing; ours do not.
        """
        reader = _Reader()
        trees = [reader.read(one["tree_structure"]) for one in booster.dump_model()["tree_info"]]
        counts, leaf_counts = ([len(part) for part in parts] for parts in zip(*trees, strict=True))
        nodes = [node for part, _ in trees for node in part]
        features, thresholds, missing_right, masks = zip(*nodes, strict=True) if nodes else ((), (), (), ())
        wide = max(leaf_counts) > 32
        return cls(
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            features=np.array(features, dtype=np.int32),
            thresholds=np.array(thresholds, dtype=np.float32),
            missing_right=np.array(missing_right, dtype=np.bool_),
            masks=np.array(masks, dtype=np.uint64) if wide else (np.array(masks, dtype=np.uint64)).astype(np.uint32),
            leaf_starts=(np.cumsum(leaf_counts) - leaf_counts).astype(np.int32),
            leaves=np.array([leaf for _, part in trees for leaf in part], dtype=np.float64),
        )

    def score(self, columns: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return (n_rows) float64, what `booster.predict` returns for rows of these (n_rows) float32 features."""
        matrix = np.stack(columns)
        scores = np.zeros(matrix.shape[1], dtype=np.float64)
        _score(
            matrix,
            self.starts,
            self.features,
            self.thresholds,
            self.missing_right,
            self.masks,
            self.leaf_starts,
            self.leaves,
            _PLACES,
            scores,
        )
        return scores


_Node = tuple[int, np.float32, bool, int]


class _Reader:
    def read(self, tree: dict[str, Any]) -> tuple[list[_Node], list[float]]:
        """Return a tree's nodes and the values of its leaves from the left."""
        nodes: list[_Node] = []
        leaves: list[float] = []
        self._walk(tree, nodes, leaves)
        if len(leaves) > _MOST_LEAVES:
            raise ArtifactError(f"trees: one has {len(leaves)} leaves, expected at most {_MOST_LEAVES}; train again")
        return nodes, leaves

    def _walk(self, part: dict[str, Any], nodes: list[_Node], leaves: list[float]) -> None:
        if "leaf_value" in part:
            leaves.append(part["leaf_value"])
            return
        if part["decision_type"] != "<=" or part["missing_type"] == "Zero":
            raise ArtifactError("trees: a split by category, or zeros that stand for missing; train again")
        first = len(leaves)
        self._walk(part["left_child"], nodes, leaves)
        left = (1 << len(leaves)) - (1 << first)
        # Where training saw nothing missing, LightGBM takes it for 0.
        missing = part["threshold"] < 0.0 if part["missing_type"] == "None" else not part["default_left"]
        nodes.append((part["split_feature"], _round_down(part["threshold"]), missing, 2**64 - 1 - left))
        self._walk(part["right_child"], nodes, leaves)


def _round_down(threshold: float) -> np.float32:
    """Return the largest float32 that is not above: what is at most the one is at most the other.

    LightGBM takes values this side of `_ZERO` for 0, so a threshold among them parts those below from the rest.
    """
    if abs(threshold) <= float(_ZERO):
        return _ZERO if threshold >= 0 else np.nextafter(-_ZERO, np.float32(-np.inf))
    if threshold >= _ENDLESS:
        return np.float32(np.inf)
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
        # As Python's numbers, which have the bits to tell.
        return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


@njit(nogil=True, cache=True)
def _score(  # type: ignore[no-untyped-def]
    matrix, starts, features, thresholds, missing_right, masks, leaf_starts, leaves, places, scores
):
    n_rows = matrix.shape[1]
    reach = np.empty(_ROWS, dtype=masks.dtype)
    every = ~(reach[0] & ~reach[0])
    for first in range(0, n_rows, _ROWS):
        count = min(_ROWS, n_rows - first)
        for tree in range(len(leaf_starts)):
            reach[:] = every
            for node in range(starts[tree], starts[tree + 1]):
                values = matrix[features[node], first : first + count]
                threshold, mask = thresholds[node], masks[node]
                if missing_right[node]:
                    for row in range(count):
                        reach[row] &= every if values[row] <= threshold else mask
                else:
                    for row in range(count):
                        reach[row] &= mask if values[row] > threshold else every
            leaf = leaf_starts[tree]
            for row in range(count):
                bits = np.uint64(reach[row])
                lowest = bits & (~bits + np.uint64(1))
                place = places[(lowest * np.uint64(_SEQUENCE)) >> np.uint64(58)]
                scores[first + row] += leaves[leaf + place]
