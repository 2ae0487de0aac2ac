"""How many places new items get: as many as users took, unless they cost more than one per cent of the metric."""

import numpy as np
import polars as pl
import pytest
from miniature import change, settings

from recsys.config import Config, parse_config
from recsys.training.new_places import limit_new_share

USERS, OLD, NEW = 20, 30, 10


def make_config(share: float, n: int) -> Config:
    return change(
        parse_config(settings(), "test"),
        generation={"n": n, "rules": {"min_new_share": share}},
        evaluation={"n": 10, "n_values": [10]},
    )


def make_rows(new_are_taken: bool) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Return rows in two windows, scores that list old items first, and which items are new."""
    windows = []
    for window in (0, 1):
        taken = OLD + np.arange(2) if new_are_taken else np.arange(10)
        items = np.tile(np.arange(OLD + NEW), USERS)
        windows.append(
            pl.DataFrame(
                {
                    "window": pl.Series(np.full(len(items), window), dtype=pl.UInt8),
                    "user_index": pl.Series(np.repeat(np.arange(USERS), OLD + NEW), dtype=pl.UInt32),
                    "item_index": pl.Series(items, dtype=pl.UInt32),
                    "label": pl.Series(np.isin(items, taken), dtype=pl.UInt8),
                }
            )
        )
    rows = pl.concat(windows)
    scores = -rows["item_index"].to_numpy().astype(np.float32)
    # In the older window the order is perfect, which must not matter.
    scores[rows["window"].to_numpy() == 1] = rows.filter(window=1)["label"].to_numpy()
    return rows, scores, np.arange(OLD + NEW) >= OLD


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_places_that_cost_nothing_are_all_given(share):
    rows, scores, new = make_rows(new_are_taken=True)
    config = make_config(share, 10)
    chosen, line = limit_new_share(config, rows, scores, new)
    assert chosen.generation.rules.min_new_share == share
    assert "0.0% of the metric" in line
    assert f"{USERS} held-out users" in line


def test_places_that_cost_over_one_per_cent_are_not():
    rows, scores, new = make_rows(new_are_taken=False)
    config = make_config(0.6, 10)
    chosen, line = limit_new_share(config, rows, scores, new)
    # All ten are right without new items, and the last place is worth 1 / log2(11) of the ideal 4.54: 6.4 %.
    assert chosen.generation.rules.min_new_share == 0
    assert line == (
        "generation.rules.min_new_share 0 (1 place costs 6.4% of the metric, users "
        "took new items for 6; 20 held-out users)"
    )


def test_no_place_is_kept_where_nobody_says_what_it_costs():
    rows, scores, new = make_rows(new_are_taken=True)
    older = rows["window"].to_numpy() == 1
    config = make_config(0.5, 10)
    chosen, line = limit_new_share(config, rows.filter(older), scores[older], new)
    assert chosen.generation.rules.min_new_share == 0
    assert "no held-out user" in line


def test_lists_are_those_of_the_rule_where_the_metric_looks_further_than_the_list():
    rows, scores, new = make_rows(new_are_taken=True)
    config = make_config(0.5, 4)
    chosen, _ = limit_new_share(config, rows, scores, new)
    assert chosen.generation.rules.min_new_share == 0.5
