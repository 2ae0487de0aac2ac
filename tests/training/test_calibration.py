from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from miniature import settings
from scipy.sparse import csr_array
from worlds import at, make_interactions, make_items

from recsys.candidates.models import NEIGHBOUR_SECTIONS, CandidateModels
from recsys.collab.neighbours import NeighbourModel
from recsys.config import AUTO, Config, parse_config
from recsys.config.overrides import apply_settings, look_up
from recsys.dataset.histories import Histories, build_histories
from recsys.training.calibration import calibrate

NAMES = ["a", "b", "c", "d", "e", "f", "x", "y"]
ITEMS = make_items(*NAMES)
HALF_LIFE = "candidates.popularity_half_life_days"


def left_to_the_data(**changes: Any) -> Config:
    """The miniature's settings with every `auto` there is."""
    paths = [f"{path}.history_decay" for path in NEIGHBOUR_SECTIONS.values()]
    config = apply_settings(parse_config(settings(), "test"), dict.fromkeys([*paths, HALF_LIFE], AUTO))
    return apply_settings(config, {path.replace("__", "."): value for path, value in changes.items()})


def make_histories(ordered: bool = True, cutoff: float | None = 10) -> Histories:
    rows = [(user, item, day) for user in "uvw" for day, item in enumerate("abcd")]
    rows = rows if cutoff is not None else [row[:2] for row in rows]
    return build_histories(make_interactions(*rows, ordered=ordered), ITEMS, None if cutoff is None else at(cutoff))


def point(**arrows: dict[str, float]) -> NeighbourModel:
    """Neighbours by hand: from item to item, so strongly."""
    matrix = np.zeros((len(NAMES), len(NAMES)), dtype=np.float32)
    for item, targets in arrows.items():
        for target, weight in targets.items():
            matrix[NAMES.index(item), NAMES.index(target)] = weight
    return NeighbourModel(csr_array(matrix), 0.5)


# The oldest item says y, more strongly than the newest says x: who forgets enough finds x first.
TORN = point(a={"y": 1.5}, d={"x": 1.0})


def ask(config: Config, histories: Histories, wanted: str, model: NeighbourModel = TORN) -> tuple[Config, list[str]]:
    models = cast(CandidateModels, SimpleNamespace(neighbours=dict.fromkeys(NEIGHBOUR_SECTIONS, model)))
    positives = pl.DataFrame(
        {"user_index": np.arange(histories.n_users), "item_index": np.full(histories.n_users, NAMES.index(wanted))}
    )
    return calibrate(config, models, histories, histories, positives, np.ones(len(NAMES), dtype=bool))


def test_each_decay_is_the_one_that_finds_what_was_taken():
    config = left_to_the_data()
    forgetful, told = ask(config, make_histories(), "x")
    faithful, _ = ask(config, make_histories(), "y")
    for path in NEIGHBOUR_SECTIONS.values():
        # 1.5 times the cube of the decay is below 1 from .8 on, and the first of equals is taken: .9 is not enough.
        assert look_up(forgetful, f"{path}.history_decay") == 0.8
        assert look_up(faithful, f"{path}.history_decay") == 0.9
    n = config.evaluation.n
    assert f"collab.ease.history_decay 0.8 (ndcg@{n} 1.000; {1 / np.log2(3):.3f} at the default 0.9)" in told


def test_what_a_source_says_nothing_about_fills_no_list():
    # Only y is pointed at. Items at 0 are no proposals: x must not be found for standing early in the catalogue.
    _, told = ask(left_to_the_data(), make_histories(), "x", point(a={"y": 1.0}))
    assert any(line == "collab.ease.history_decay 0.9 (default kept)" for line in told)


def test_what_the_config_says_is_left_alone():
    config = left_to_the_data(collab__ease__history_decay=0.33, **{HALF_LIFE.replace(".", "__"): 4.0})
    chosen, told = ask(config, make_histories(), "x")
    assert (chosen.collab.ease.history_decay, chosen.candidates.half_life_days) == (0.33, 4.0)
    assert chosen.collab.transitions.history_decay == 0.8
    assert not any("ease" in line or "half_life" in line for line in told)


def test_without_an_order_or_a_clock_nothing_decays():
    chosen, told = ask(left_to_the_data(), make_histories(ordered=False, cutoff=None), "x")
    assert {look_up(chosen, f"{path}.history_decay") for path in NEIGHBOUR_SECTIONS.values()} == {1.0}
    assert chosen.candidates.popularity_half_life_days is None
    assert told == []


def test_a_model_without_neighbours_is_not_asked():
    chosen, told = ask(left_to_the_data(), make_histories(), "x", point())
    assert chosen.collab.transitions.history_decay == 1.0
    assert not any("transitions" in line for line in told)


@pytest.mark.parametrize(("wanted", "half_lives"), [("x", {30.0}), ("y", {365.0, None})])
def test_popularity_fades_as_fast_as_fashion(wanted, half_lives):
    # y was everybody's a hundred days ago, x is some people's now.
    old = [(f"o{number}", "y", 0) for number in range(6)]
    new = [(f"n{number}", "x", 100) for number in range(3)]
    histories = build_histories(make_interactions(*old, *new, ("u", "a", 100), ("v", "a", 99)), ITEMS, at(101))
    users = histories.take(pl.Series(["u", "v"]))
    models = cast(CandidateModels, SimpleNamespace(neighbours=dict.fromkeys(NEIGHBOUR_SECTIONS, point())))
    positives = pl.DataFrame({"user_index": [0, 1], "item_index": [NAMES.index(wanted)] * 2})
    config = left_to_the_data()
    chosen, _ = calibrate(config, models, histories, users, positives, np.ones(len(NAMES), dtype=bool))
    assert chosen.candidates.popularity_half_life_days in half_lives


def test_items_that_no_list_may_hold_do_not_count():
    histories = make_histories()
    models = cast(CandidateModels, SimpleNamespace(neighbours=dict.fromkeys(NEIGHBOUR_SECTIONS, TORN)))
    positives = pl.DataFrame({"user_index": np.arange(3), "item_index": np.full(3, NAMES.index("x"))})
    allowed = np.array([name != "y" for name in NAMES])
    # Without y in the way every decay puts x first, and the usual one stays.
    chosen, _ = calibrate(left_to_the_data(), models, histories, histories, positives, allowed)
    assert chosen.collab.ease.history_decay == 0.9


def test_what_is_not_surely_better_does_not_move_a_setting():
    histories = make_histories()
    models = cast(CandidateModels, SimpleNamespace(neighbours=dict.fromkeys(NEIGHBOUR_SECTIONS, TORN)))
    # One of three users took x, which .8 puts first; the others took nothing that any decay could show.
    positives = pl.DataFrame({"user_index": [0, 1, 2], "item_index": [NAMES.index(name) for name in "xef"]})
    chosen, _ = calibrate(left_to_the_data(), models, histories, histories, positives, np.ones(len(NAMES), dtype=bool))
    assert chosen.collab.ease.history_decay == 0.9


@pytest.mark.parametrize(
    ("wanted", "cutoff", "decays"), [("a", None, {1.0}), ("d", None, {0.6, 0.4}), ("d", 10, {1.0})]
)
def test_repeats_fade_by_steps_where_no_clock_is_common(wanted, cutoff, decays):
    # Everybody has had a three times and d once, last.
    rows = [(user, item, day) for user in "uvw" for day, item in enumerate("aaabcd")]
    rows = rows if cutoff is not None else [row[:2] for row in rows]
    histories = build_histories(make_interactions(*rows), ITEMS, None if cutoff is None else at(cutoff))
    config = left_to_the_data(dataset__repeats=True, candidates__depths={"repeat": 5, "ease": 5, "transitions": 5})
    config = apply_settings(config, {"candidates.repeat_decay": AUTO})
    chosen, told = ask(config, histories, wanted, point())
    assert chosen.candidates.decay_of_repeats in decays
    assert any("repeat_decay" in line for line in told) == (cutoff is None)


def test_a_config_without_repeats_has_nothing_to_ask_about_them():
    chosen, told = ask(left_to_the_data(), make_histories(cutoff=None), "x")
    assert chosen.candidates.decay_of_repeats == 1.0
    assert not any("repeat_decay" in line for line in told)


@pytest.mark.parametrize(("new", "old", "places"), [(1, 9, 1), (3, 2, 6), (1, 30, 0), (0, 4, 0), (4, 0, 10)])
def test_new_items_get_as_many_places_as_users_take_of_them(new, old, places):
    # a is everybody's; x and y are nobody's, and no list can hold y.
    known = [(f"u{number:02}", "a", 1) for number in range(40)]
    histories = build_histories(make_interactions(*known), ITEMS, at(10))
    items = [NAMES.index("x")] * new + [NAMES.index("a")] * old + [NAMES.index("y")] * 2
    positives = pl.DataFrame({"user_index": np.arange(len(items)), "item_index": items})
    models = cast(CandidateModels, SimpleNamespace(neighbours={}))
    allowed = np.array([name != "y" for name in NAMES])
    config = left_to_the_data(generation__n=10, generation__rules__min_new_share=AUTO, candidates__new_item_users=3)
    users = histories.select(slice(0, len(items)))
    chosen, told = calibrate(config, models, histories, users, positives, allowed)
    assert chosen.generation.rules.new_share == chosen.generation.rules.min_new_share == places / 10
    limit = f"at most {places / 10:g}" if places else "0"
    taken = f"{new / (new + old):.1%} of what users took was new"
    assert f"generation.rules.min_new_share {limit} ({taken}" in told[-1]
    kept, _ = calibrate(left_to_the_data(), models, histories, users, positives, allowed)
    assert kept.generation.rules.min_new_share == 0
