"""Examples of a fine-tuning that continues: what is new, and as much of what is old."""

import numpy as np
import pytest
from worlds import at, make_interactions, make_items

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.training.examples import count_batches, draw_batches

CONFIG = FineTuneConfig(batch_size=4, draw="interactions")


@pytest.fixture(scope="module")
def daily() -> Histories:
    """Three users who took an item a day, from day 1 to day 20."""
    items = make_items(*(f"i{number:02d}" for number in range(20)))
    rows = [(f"u{user}", f"i{number:02d}", number + 1) for user in range(3) for number in range(20)]
    return build_histories(make_interactions(*rows), items, at(21))


@pytest.mark.parametrize(("days", "new"), [(0.5, 0), (1.5, 1), (4.5, 4), (15.5, 15)])
def test_as_many_old_interactions_as_new_ones(daily: Histories, days: float, new: int) -> None:
    batches = draw_batches(daily, np.ones(20, dtype=np.int64), CONFIG, np.random.default_rng(0), days)
    drawn = [entry for batch in batches for entry in batch.entries]
    ages = daily.ages[drawn]
    assert (ages < days).sum() == 3 * new
    # The first item of a user has none before it, so 19 of the 20 are examples.
    assert (ages > days).sum() == 3 * min(new, 19 - new)
    assert len(set(drawn)) == len(drawn)
    assert len(batches) == count_batches(daily, CONFIG, days)


def test_old_ones_are_drawn_at_random(daily: Histories) -> None:
    def draw(seed: int) -> set[int]:
        batches = draw_batches(daily, np.ones(20, dtype=np.int64), CONFIG, np.random.default_rng(seed), 4.5)
        return {int(entry) for batch in batches for entry in batch.entries}

    assert draw(0) == draw(0)
    old = draw(0) ^ draw(1)
    assert len(old) > 5
    assert (daily.ages[[*old]] > 4.5).all()
