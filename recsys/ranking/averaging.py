"""The mean of a forest over its growth."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightgbm as lgb


def average_over_growth(booster: lgb.Booster, trees: int) -> None:
    """Weigh the first trees so that scores become the mean of the scores after 1, 2, … and all of them.

    Tree i of n, from 0, gets the weight (n - i) / n. Late trees fit what is particular to the label windows, and how
    many of them help in the next window is not known before. The mean over all numbers of trees, like the averaging of
    weights over a training (Polyak and Juditsky 1992, SIAM J. Control Optim.), depends less on that number and on the
    seed.

    Args:
        booster: changed in place.
        trees: how many are used; later ones keep their weight.
    """
    leaves = [int(count) for count in re.findall(r"^num_leaves=(\d+)$", booster.model_to_string(), re.MULTILINE)]
    for tree, count in enumerate(leaves[:trees]):
        weight = (trees - tree) / trees
        for leaf in range(count):
            booster.set_leaf_output(tree, leaf, weight * booster.get_leaf_output(tree, leaf))
