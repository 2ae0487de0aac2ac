"""Lists by rule: what is chosen, in which order rules are dropped, and that nothing else changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys.candidates.group_stats import find_best
from recsys.candidates.merge import CandidateRows
from recsys.config import RulesConfig
from recsys.dataset.user_items import UserItems
from recsys.ranking.rules import Rules, penalise_shown

NAN = np.nan
# Items 0 to 5: by author 0, 0, 0, 1, 1, none; 4 and 5 are new; 3 is old; texts of 0 and 1 are the same.
AUTHORS = csr_array(np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], dtype=np.float32))
TEXTS = np.array([[1, 0, 0], [1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float32)
AGES = np.array([1, 1, 1, 99, NAN, 1], dtype=np.float32)
NEW = np.array([False, False, False, False, True, True])


def make_rules(**config: Any) -> Rules:
    settings = RulesConfig(**config)
    return Rules(settings, dict.fromkeys(settings.max_per_value, AUTHORS), NEW, AGES, TEXTS)


def make_candidates(starts: list[int], items: Sequence[int]) -> CandidateRows:
    """Candidates that no source has scored."""
    nothing = np.zeros((0, len(items)))
    items = np.array(items, dtype=np.int32)
    return CandidateRows(np.array(starts), items, nothing.astype(np.uint16), nothing.astype(np.float32))


def choose(rules: Rules, scores: list[float], n: int, items: list[int] | None = None) -> tuple[list[int], list[int]]:
    items = list(range(len(scores))) if items is None else items
    rows = make_candidates([0, len(items)], items)
    best, dropped = rules.choose(rows, np.array(scores, dtype=np.float32), n)
    return [items[row] if row >= 0 else -1 for row in best[0]], dropped[0].tolist()


FALLING = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def test_without_rules_the_best_come_first():
    assert not make_rules().active
    assert choose(make_rules(), [0.1, NAN, 0.9, 0.9, 0.2, 0.0], 4) == ([2, 3, 4, 0], [0] * 4)
    assert choose(make_rules(), [0.1, NAN], 3) == ([0, -1, -1], [0] * 3)


def test_no_more_of_a_value_than_the_limit():
    rules = make_rules(max_per_value={"author": 1})
    assert choose(rules, FALLING, 3) == ([0, 3, 5], [0] * 3)
    # The fourth place can only be filled without the rule.
    assert choose(rules, FALLING, 4) == ([0, 3, 5, 1], [0, 0, 0, 2])
    assert rules.describe(0) == "ranker"
    assert rules.describe(2) == "ranker without max_per_value"


def test_several_columns_each_have_their_limit():
    rules = make_rules(max_per_value={"author": 2, "publisher": 1})
    assert choose(rules, FALLING, 3)[0] == [0, 3, 5]


def test_a_share_is_new():
    rules = make_rules(min_new_share=0.5)
    assert choose(rules, FALLING, 4) == ([0, 1, 4, 5], [0] * 4)
    # One new one is all there is.
    assert choose(rules, FALLING[:5], 4) == ([0, 1, 4, 2], [0, 0, 0, 1])
    # The share is rounded up: half of three is two.
    assert choose(rules, FALLING, 3) == ([0, 4, 5], [0] * 3)
    # New ones that are good anyhow count.
    assert choose(rules, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 4)[0] == [5, 4, 3, 2]


def test_the_share_is_one_of_the_list_that_is_served():
    rules = make_rules(min_new_share=0.5)
    rows = make_candidates([0, 6], range(6))
    scores = np.array(FALLING, dtype=np.float32)
    longer, dropped = rules.choose(rows, scores, 4, length=6)
    assert longer[0].tolist() == [0, 1, 4, 5, 2, 3]
    assert dropped[0].tolist() == [0] * 6


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_longer_list_begins_with_the_list_that_is_served(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, n, more = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 8)), data.draw(st.integers(0, 12))
    config = RulesConfig(
        max_item_age_days=data.draw(st.sampled_from([None, 5.0])),
        max_per_value=data.draw(st.sampled_from([{}, {"author": 1}])),
        min_new_share=data.draw(st.sampled_from([0.0, 0.3, 1.0])),
        diversity=data.draw(st.sampled_from([0.0, 0.4])),
        diversity_pool=data.draw(st.integers(1, 20)),
    )
    authors = csr_array((rng.random((40, 4)) < 0.3).astype(np.float32))
    texts = rng.normal(size=(40, 5)).astype(np.float32)
    rules = Rules(config, {"author": authors}, rng.random(40) < 0.3, rng.random(40).astype(np.float32) * 10, texts)
    rows = make_candidates([0, count], np.sort(rng.permutation(40)[:count]))
    scores = rng.choice([0.0, 0.5, 1.0], count).astype(np.float32)
    served, longer = rules.choose(rows, scores, n), rules.choose(rows, scores, n, length=n + more)
    for whole, beginning in zip(longer, served, strict=True):
        assert np.array_equal(whole[:, :n], beginning)


def test_old_items_only_fill_up():
    rules = make_rules(max_item_age_days=30)
    assert choose(rules, FALLING, 5) == ([0, 1, 2, 4, 5], [0] * 5)
    assert choose(rules, FALLING, 6) == ([0, 1, 2, 4, 5, 3], [0] * 5 + [3])
    # An item of exactly that age is not too old.
    assert choose(make_rules(max_item_age_days=1), FALLING, 5) == ([0, 1, 2, 4, 5], [0] * 5)
    assert choose(make_rules(max_item_age_days=99), FALLING, 6) == ([0, 1, 2, 3, 4, 5], [0] * 6)
    assert rules.describe(3) == "ranker without max_item_age_days"


def test_rules_are_dropped_in_their_order():
    rules = make_rules(max_item_age_days=30, max_per_value={"author": 1}, min_new_share=0.5)
    items, dropped = choose(rules, FALLING, 6)
    # 0, then new ones for half of the list; what is lacking without that share, without the limit, and old at last.
    assert (items, dropped) == ([0, 4, 5, 1, 2, 3], [0, 0, 0, 2, 2, 3])
    assert rules.describe(2) == "ranker without min_new_share, max_per_value"


def test_diversity_puts_unlike_texts_apart():
    assert choose(make_rules(diversity=0.01), FALLING, 3)[0] == [0, 1, 2]
    # Item 1 has the text of item 0; 2 is near both.
    assert choose(make_rules(diversity=0.5), FALLING, 3)[0] == [0, 3, 4]
    # Beyond the pool the order is that of the scores.
    assert choose(make_rules(diversity=0.5, diversity_pool=2), FALLING, 4)[0] == [0, 1, 2, 3]


def test_what_was_shown_counts_less():
    rows = CandidateRows(
        np.array([0, 2, 4]),
        np.array([1, 3, 1, 2], dtype=np.int32),
        np.zeros((0, 4), np.uint16),
        np.zeros((0, 4), np.float32),
    )
    shown = UserItems(
        np.array([0, 2, 3]), np.array([3, 7, 2], dtype=np.int32), np.array([0.5, 9, 0.25], dtype=np.float32)
    )
    scores = np.ones(4, dtype=np.float32)
    assert penalise_shown(rows, scores, shown).tolist() == [1, 0.5, 1, 0.75]
    assert scores.tolist() == [1] * 4


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_lists_are_as_long_as_they_can_be_and_hold_nothing_twice(data):
    count, n = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    config = RulesConfig(
        max_item_age_days=data.draw(st.sampled_from([None, 5.0])),
        max_per_value=data.draw(st.sampled_from([{}, {"author": 1}, {"author": 3}])),
        min_new_share=data.draw(st.sampled_from([0.0, 0.3, 1.0])),
        diversity=data.draw(st.sampled_from([0.0, 0.4, 1.0])),
        diversity_pool=data.draw(st.integers(1, 40)),
    )
    authors = csr_array((rng.random((40, 4)) < 0.3).astype(np.float32))
    texts = rng.normal(size=(40, 5)).astype(np.float32)
    rules = Rules(config, {"author": authors}, rng.random(40) < 0.3, rng.random(40).astype(np.float32) * 10, texts)
    items = np.sort(rng.permutation(40)[:count]).astype(np.int32)
    rows = CandidateRows(
        np.array([0, 0, count]), items, np.zeros((0, count), np.uint16), np.zeros((0, count), np.float32)
    )
    scores = rng.choice([0.0, 0.5, 1.0, NAN], count).astype(np.float32)
    best, dropped = rules.choose(rows, scores, n)
    assert (best[0] == -1).all()
    chosen = best[1][best[1] >= 0]
    assert len(chosen) == len(set(chosen.tolist())) == min(n, int((~np.isnan(scores)).sum()))
    assert not np.isnan(scores[chosen]).any()
    levels = dropped[1][: len(chosen)]
    assert (np.diff(levels) >= 0).all()
    if config.max_item_age_days:
        assert (rules.ages[items[chosen[levels < 3]]] <= 5).all()
    if config.max_per_value:
        kept = authors[items[chosen[levels < 2]]].sum(axis=0)
        assert kept.max(initial=0) <= config.max_per_value["author"]
    if not rules.active:
        assert np.array_equal(best, find_best(scores, rows.starts, n))


@pytest.mark.parametrize("rule", [{"max_per_value": {"author": 1}}, {"diversity": 0.3}])
def test_nobody_gets_no_list(rule):
    rows = CandidateRows(
        np.array([0]), np.zeros(0, np.int32), np.zeros((0, 0), np.uint16), np.zeros((0, 0), np.float32)
    )
    assert make_rules(**rule).choose(rows, np.zeros(0, dtype=np.float32), 3)[0].shape == (0, 3)
