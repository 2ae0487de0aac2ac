"""The quick look at order, in worlds where it says everything or nothing."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from miniature import settings
from worlds import at, make_interactions, make_items

from recsys.config import AUTO, Config, parse_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import Fold, Window
from recsys.training.order import measure_order
from recsys.training.text_models import _decide_on_sequence

NAMES = [f"i{number:02}" for number in range(40)]
ITEMS = make_items(*NAMES)
NOBODY = make_interactions()
CONFIG = apply_settings(parse_config(settings(), "test"), {"candidates.depths": {"popular": 5, "sequence": 5}})


def make_histories(
    users: int = 60, *, chained: bool = True, ordered: bool = True, cutoff: float | None = None
) -> Histories:
    """Each user takes nine items, one a day: a run of the catalogue's order, or the same items shuffled."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        run = (np.arange(9) + rng.integers(0, 40)) % 40
        taken = run if chained else rng.permutation(run)
        rows += [(f"u{user:03}", NAMES[item], day) for day, item in enumerate(taken)]
    interactions = make_interactions(*rows, ordered=ordered)
    return build_histories(interactions, ITEMS, None if cutoff is None else at(cutoff))


@pytest.mark.parametrize(("cutoff", "days"), [(None, None), (9, 1.0), (9, 3.0)])
@pytest.mark.parametrize("chained", [True, False])
def test_order_is_clear_where_items_follow_each_other(chained: bool, cutoff: float | None, days: float | None) -> None:
    found = measure_order(make_histories(chained=chained, cutoff=cutoff), days, CONFIG)
    assert found is not None
    assert found.n_users == 60
    assert found.is_clear == chained
    assert found.gain.mean == pytest.approx(found.ordered - found.shuffled)
    assert found.describe().startswith(f"transitions have ndcg@{CONFIG.evaluation.n} {found.ordered:.3f} in order")
    if chained:
        # The next item of a run is certain.
        assert found.ordered > 0.9


def test_the_same_data_give_the_same_figures() -> None:
    assert measure_order(make_histories(), None, CONFIG) == measure_order(make_histories(), None, CONFIG)


def test_what_was_taken_before_the_days_is_not_asked_for() -> None:
    # Everything is older than the window before the cutoff.
    assert measure_order(make_histories(cutoff=30), 5.0, CONFIG) is None


def test_without_an_order_or_users_nothing_is_measured() -> None:
    assert measure_order(make_histories(ordered=False), None, CONFIG) is None
    assert measure_order(make_histories(users=29), None, CONFIG) is None
    assert measure_order(make_histories(users=0), None, CONFIG) is None


def decide(histories: Histories, use: object, depths: dict[str, int] | None = None) -> Config:
    changes: dict[str, Any] = {"text.sequence.use": use}
    if depths:
        changes["candidates.depths"] = depths
    window = Window("label 1", at(9), at(9) + timedelta(days=3), NOBODY, NOBODY)
    return _decide_on_sequence(apply_settings(CONFIG, changes), histories, Fold((window,), NOBODY, at(12)))


@pytest.mark.parametrize(
    ("use", "chained", "fits"),
    [(AUTO, True, True), (AUTO, False, False), (True, False, True), (False, True, False)],
)
def test_the_source_is_used_where_asked_for_or_where_order_is_clear(use: object, chained: bool, fits: bool) -> None:
    decided = decide(make_histories(chained=chained, cutoff=9), use)
    assert list(decided.candidates.depths) == (["popular", "sequence"] if fits else ["popular"])
    assert decided.text.sequence.use is fits


def test_a_source_that_is_alone_stays_and_one_that_is_off_is_not_looked_at() -> None:
    histories = make_histories(chained=False, cutoff=9)
    assert decide(histories, AUTO, {"sequence": 5}).candidates.depths == {"sequence": 5}
    assert decide(histories, AUTO, {"popular": 5}).text.sequence.use == AUTO
