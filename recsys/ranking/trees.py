"""Trees laid out for speed: the same sums as LightGBM's own, to the last bit, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError
from recsys.progress import format_count
from recsys.storage.compilation import compiled

# Rows that one tree scores together; their features stay in the processor's cache.
_ROWS = 128
_MOST_LEAVES = 64
_ZERO = np.float32(1e-35)
# How LightGBM writes infinity.
_ENDLESS = 1e300


@dataclass(frozen=True)
class Forest:
    """A booster's trees as flat arrays, each tree's leaves numbered from the left (Lucchese et al. 2016, SIGIR).

    Each node has a bit mask of the leaves that a row can still reach after it turns right there. The masks of all nodes
    where a row turns right are combined, in any order; then the lowest remaining bit is the row's leaf. So there is no
    branch to predict, and many rows are scored at once.

    Attributes:
        starts: (n_trees + 1) int32, first node of each tree.
        features: (n_nodes) int32.
        thresholds: (n_nodes) float32; a row with more turns right.
        missing_right: (n_nodes) bool; a row without the feature turns right.
        masks: (n_nodes) uint32 or uint64, bits of the leaves that a row on the right can still reach.
        leaf_starts: (n_trees) int32, first leaf of each tree.
        leaves: (n_leaves) float64.
        roots: (n_trees) int32, the node each tree begins with, -1 for a tree of one leaf.
        children: (n_nodes, 2) int32, the node to the left and to the right; -1 - leaf where that is a leaf.
        means: (n_nodes) float64, mean leaf of the training rows that passed the node.
    """

    starts: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    missing_right: NDArray[np.bool_]
    masks: NDArray[Any]
    leaf_starts: NDArray[np.int32]
    leaves: NDArray[np.float64]
    roots: NDArray[np.int32]
    children: NDArray[np.int32]
    means: NDArray[np.float64]

    @classmethod
    def from_text(cls, text: str) -> Forest:
        """Lay out the trees of a booster, as LightGBM writes it as text.

        LightGBM itself is not needed: with scikit-learn, its import takes longer than laying out the trees.

        Raises:
            ArtifactError: a tree has over 64 leaves, splits by category or takes zeros for missing; the trees that
                recsys fits do not.
        """
        reader = _Reader()
        for tree in text.split("\nTree=")[1:]:
            reader.read(_parse_tree(tree))
        nodes = reader.nodes
        masks = np.array([node.mask for node in nodes], dtype=np.uint64)
        return cls(
            starts=np.array(reader.starts, dtype=np.int32),
            features=np.array([node.feature for node in nodes], dtype=np.int32),
            thresholds=np.array([node.threshold for node in nodes], dtype=np.float32),
            missing_right=np.array([node.missing_right for node in nodes], dtype=np.bool_),
            masks=masks if reader.most_leaves > 32 else masks.astype(np.uint32),
            leaf_starts=np.array(reader.leaf_starts, dtype=np.int32),
            leaves=np.array(reader.leaves, dtype=np.float64),
            roots=np.array(reader.roots, dtype=np.int32),
            children=np.array([node.children for node in nodes], dtype=np.int32).reshape(-1, 2),
            means=np.array([node.mean for node in nodes], dtype=np.float64),
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
            scores,
        )
        return scores

    def explain(
        self, columns: Sequence[NDArray[np.float32]], groups: NDArray[np.int32], n_groups: int
    ) -> NDArray[np.float64]:
        """Return (n_rows, n_groups) float64: what each group of features adds to the rows' scores.

        A split adds the change in the mean of the training rows (Saabas 2014). That is cheaper than Shapley values; as
        for them, the sum over all features is the score minus the mean over the training rows.

        Args:
            columns: as for `score`.
            groups: (n_features) int32, the group of each feature, -1 for none.
            n_groups: how many groups there are.
        """
        matrix = np.stack(columns)
        added = np.zeros((matrix.shape[1], n_groups), dtype=np.float64)
        _explain(
            matrix,
            self.roots,
            self.children,
            self.features,
            self.thresholds,
            self.missing_right,
            self.leaves,
            self.means,
            groups,
            added,
        )
        return added


@dataclass(frozen=True)
class _Node:
    feature: int
    threshold: np.float32
    missing_right: bool
    mask: int
    children: tuple[int, int]
    mean: float


def _parse_tree(text: str) -> dict[str, Any]:
    """Return a tree of the text form as nested nodes."""
    lines = dict(line.split("=", 1) for line in text.split("\n\n")[0].splitlines()[1:] if "=" in line)
    columns = {name: values.split() for name, values in lines.items()}
    leaves = [
        {"leaf_value": float(value), "leaf_count": int(count)}
        for value, count in zip(columns["leaf_value"], columns.get("leaf_count") or ["1"], strict=True)
    ]
    nodes: list[dict[str, Any]] = []
    for feature, threshold, kind in zip(
        *(columns.get(name, ()) for name in ("split_feature", "threshold", "decision_type")), strict=True
    ):
        # Bit 0: by category; bit 1: a missing value turns left; bits 2 and 3: what is missing.
        bits = int(kind)
        nodes.append(
            {
                "split_feature": int(feature),
                "threshold": float(threshold),
                "by_category": bool(bits & 1),
                "default_left": bool(bits & 2),
                "missing_type": ("None", "Zero", "NaN")[bits >> 2],
            }
        )
    for side in ("left_child", "right_child"):
        for node, child in zip(nodes, map(int, columns.get(side, ())), strict=True):
            node[side] = nodes[child] if child >= 0 else leaves[-1 - child]
    return nodes[0] if nodes else leaves[0]


class _Reader:
    """Flattens trees, one after the other.

    Attributes:
        nodes: of all trees; the nodes of a tree are adjacent, in any order.
        starts: first node of each tree, and the end.
        leaves: values of the leaves, tree by tree, from the left.
        leaf_starts: first leaf of each tree.
        roots: the node each tree begins with.
        most_leaves: of any tree.
    """

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self.starts = [0]
        self.leaves: list[float] = []
        self.leaf_starts: list[int] = []
        self.roots: list[int] = []
        self.most_leaves = 0

    def read(self, tree: dict[str, Any]) -> None:
        """Append a tree."""
        self.leaf_starts.append(len(self.leaves))
        root, _, _ = self._walk(tree)
        self.roots.append(max(root, -1))
        self.starts.append(len(self.nodes))
        count = len(self.leaves) - self.leaf_starts[-1]
        self.most_leaves = max(self.most_leaves, count)
        if count > _MOST_LEAVES:
            raise ArtifactError(
                f"trees: a tree has {format_count(count, 'leaf', 'leaves')}, expected at most {_MOST_LEAVES}; train "
                "again"
            )

    def _walk(self, part: dict[str, Any]) -> tuple[int, float, int]:
        """Return the subtree's node index or, for a leaf, -1 - leaf index, its mean and its number of training rows."""
        if "leaf_value" in part:
            self.leaves.append(part["leaf_value"])
            return -len(self.leaves), part["leaf_value"], part.get("leaf_count", 1)
        if part["by_category"] or part["missing_type"] == "Zero":
            raise ArtifactError(
                "trees: found a categorical split or zeros as missing values, expected neither; train again"
            )
        first = len(self.leaves) - self.leaf_starts[-1]
        left, left_mean, left_count = self._walk(part["left_child"])
        out_of_reach = (1 << (len(self.leaves) - self.leaf_starts[-1])) - (1 << first)
        right, right_mean, right_count = self._walk(part["right_child"])
        count = left_count + right_count
        mean = (left_mean * left_count + right_mean * right_count) / max(1, count)
        # If no value was missing in training, LightGBM reads a missing value as 0.
        missing = part["threshold"] < 0.0 if part["missing_type"] == "None" else not part["default_left"]
        threshold, mask = _round_down(part["threshold"]), (2**64 - 1) & ~out_of_reach
        self.nodes.append(_Node(part["split_feature"], threshold, missing, mask, (left, right), mean))
        return len(self.nodes) - 1, mean, count


def _round_down(threshold: float) -> np.float32:
    """Return the largest float32 that is not above a threshold: float32 values compare alike with both.

    LightGBM treats values within `_ZERO` of 0 as 0, so a threshold among them separates smaller values from the rest.
    """
    if abs(threshold) <= float(_ZERO):
        return _ZERO if threshold >= 0 else np.nextafter(-_ZERO, np.float32(-np.inf))
    if threshold >= _ENDLESS:
        return np.float32(np.inf)
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
        # In float64, which has enough bits to compare.
        return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


@compiled()
def _score(  # type: ignore[no-untyped-def]
    matrix, starts, features, thresholds, missing_right, masks, leaf_starts, leaves, scores
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
            own = leaves[leaf_starts[tree] :]
            for row in range(count):
                scores[first + row] += own[_find_lowest_bit(np.uint64(reach[row]))]


@compiled()
def _find_lowest_bit(bits):  # type: ignore[no-untyped-def]
    # The number of bits below it, counted without a branch or a table, so that the loop handles many rows at once.
    below = (bits & (~bits + np.uint64(1))) - np.uint64(1)
    below -= (below >> np.uint64(1)) & np.uint64(0x5555555555555555)
    below = (below & np.uint64(0x3333333333333333)) + ((below >> np.uint64(2)) & np.uint64(0x3333333333333333))
    below = (below + (below >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (below * np.uint64(0x0101010101010101)) >> np.uint64(56)


@compiled()
def _explain(  # type: ignore[no-untyped-def]
    matrix, roots, children, features, thresholds, missing_right, leaves, means, groups, added
):
    for row in range(matrix.shape[1]):
        for node in roots:
            while node >= 0:
                value = matrix[features[node], row]
                turns = missing_right[node] if np.isnan(value) else value > thresholds[node]
                below = children[node, 1] if turns else children[node, 0]
                group = groups[features[node]]
                if group >= 0:
                    added[row, group] += (means[below] if below >= 0 else leaves[-1 - below]) - means[node]
                node = below
