"""The half-life of popularity by lists: what trees of older label windows find in the newest."""

import numpy as np
import polars as pl
import pytest
from miniature import settings

from recsys.config import AUTO, Config, parse_config
from recsys.config.overrides import apply_settings
from recsys.training.calibration import DEFAULT_HALF_LIFE, HALF_LIFE
from recsys.training.half_life import choose_by_lists, list_rivals

FEATURES, SOURCES = ["item_recent", "popular_z"], ["popular"]


def configure(half_life: float | str | None, **changes: object) -> Config:
    return apply_settings(parse_config(settings(), "test"), {HALF_LIFE: half_life, **changes})


def make_rows(signs: tuple[int, ...], users: int = 60) -> pl.DataFrame:
    """Twelve candidates a user and window, one taken; `item_recent` points to it or, with sign -1, away from it."""
    rng, windows = np.random.default_rng(0), []
    for window, sign in enumerate(signs):
        label = np.zeros((users, 12), dtype=np.uint8)
        label[np.arange(users), rng.integers(0, 12, users)] = 1
        windows.append(
            pl.DataFrame(
                {
                    "window": pl.repeat(window, users * 12, dtype=pl.UInt8, eager=True),
                    "user_index": np.repeat(np.arange(users, dtype=np.uint32), 12),
                    "item_index": np.tile(np.arange(12, dtype=np.uint32), users),
                    "label": label.ravel(),
                    "position": pl.Series([None] * users * 12, dtype=pl.UInt16),
                    "item_recent": (float(sign) * label.ravel() + rng.normal(0, 0.5, users * 12)).astype(np.float32),
                    "popular_z": rng.normal(size=users * 12).astype(np.float32),
                }
            )
        )
    return pl.concat(windows)


STEADY, SHIFTING = make_rows((1, 1, 1)), make_rows((-1, 1, 1))


@pytest.fixture(scope="module")
def rivals() -> list[Config]:
    ranking = {"ranking.min_data_in_leaf": 5, "ranking.min_users_for_folds": 20, "ranking.feature_fraction": 1.0}
    return list_rivals(configure(AUTO, **ranking), configure(7.0, **ranking), 3)


def test_the_default_is_compared_with_what_suits_popularity_alone(rivals):
    assert [rival.candidates.half_life_days for rival in rivals] == [7.0, DEFAULT_HALF_LIFE]


@pytest.mark.parametrize(
    ("before", "chosen", "windows"),
    [
        pytest.param(AUTO, 7.0, 1, id="no older window"),
        pytest.param(AUTO, DEFAULT_HALF_LIFE, 3, id="the default already"),
        pytest.param(AUTO, None, 3, id="no decay, as without a clock"),
        pytest.param(7.0, 7.0, 3, id="the config says it"),
    ],
)
def test_nothing_is_compared_where_there_is_nothing_to_choose(before, chosen, windows):
    config = configure(chosen)
    assert list_rivals(configure(before), config, windows) == [config]


@pytest.mark.parametrize(("rows", "best", "days"), [((STEADY, SHIFTING), 0, "7"), ((SHIFTING, STEADY), 1, "30")])
def test_the_half_life_is_chosen_whose_trees_still_hold_in_the_newest_window(rivals, rows, best, days):
    # Within a window both predict alike: only the newest window shows that what the trees learned no longer holds.
    number, message = choose_by_lists(rivals, rows, FEATURES, SOURCES)
    assert number == best
    assert message.startswith(f"{HALF_LIFE} {days} (lists of the newest label window by trees of the older ones: ndcg@")
    assert message.endswith("60 users)")


def test_equal_lists_keep_what_suits_popularity(rivals):
    number, message = choose_by_lists(rivals, (STEADY, STEADY), FEATURES, SOURCES)
    assert number == 0
    assert "+0.000 [+0.000, +0.000]" in message


def test_positives_that_one_of_them_does_not_propose_count_against_it(rivals):
    # A third of the users lose the candidate that they took: no positive is left, so their rows are gone.
    few = STEADY.filter((pl.col("window") > 0) | (pl.col("user_index") >= 20))
    number, message = choose_by_lists(rivals, (few, STEADY), FEATURES, SOURCES)
    assert number == 1
    assert message.endswith("60 users)")


def test_too_few_users_keep_what_suits_popularity(rivals):
    few = [rows.filter((pl.col("window") > 0) | (pl.col("user_index") < 19)) for rows in (SHIFTING, STEADY)]
    number, message = choose_by_lists(rivals, few, FEATURES, SOURCES)
    assert (number, message) == (0, f"{HALF_LIFE} 7 (kept: a label window has 19 users, fewer than 20)")
