"""One comparison: the four answers, the evidence that they need, and the widening of imprecise intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import GateConfig
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.paired import Pairs, pair_values
from recsys.registry.gate.case import Rival
from recsys.registry.gate.decision import Check
from recsys.registry.gate.rivals import answer, compare, find_missing_evidence, judge_rival, widen

CONFIG = GateConfig()


def judge(pairs: Pairs | None, max_loss: float = 0.02, widened: bool = True, config: GateConfig = CONFIG) -> Check:
    rival = Rival("champion version 3", pairs, why_not="it has seen the window")
    return judge_rival(rival, "ndcg@10", config, confidence=0.95, max_loss=max_loss, widened=widened)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.02, "better"),
        # A sure but small loss is within the margin.
        (-0.009, -0.001, "as good"),
        (-0.010, 0.02, "as good"),
        (0.0, 0.0, "as good"),
        (-0.011, -0.001, "worse"),
        (-0.5, -0.4, "worse"),
        (-0.011, 0.001, "cannot tell"),
        (-1.0, 1.0, "cannot tell"),
    ],
)
def test_the_answers(low: float, high: float, expected: str) -> None:
    assert answer(Estimate((low + high) / 2, low, high), 0.01) == expected


ENDS = st.floats(-1, 1)


@given(ENDS, ENDS, ENDS, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_interval_or_a_larger_margin_is_never_a_worse_answer(
    one: float, other: float, shift: float, margin: float, more: float
) -> None:
    order = {"worse": 0, "cannot tell": 1, "as good": 2, "better": 3}
    low, high = sorted((one, other))
    given_answer = order[answer(Estimate(0.0, low, high), margin)]
    assert order[answer(Estimate(0.0, low, high), margin + more)] >= given_answer
    assert order[answer(Estimate(0.0, low + abs(shift), high + abs(shift)), margin)] >= given_answer


class TestEvidence:
    def test_enough(self) -> None:
        ours = np.concatenate([np.full(20, 0.5), np.zeros(30)])
        theirs = np.concatenate([np.full(10, 0.5), np.full(10, 0.4), np.zeros(30)])
        assert find_missing_evidence(pair_values(ours, theirs), "ndcg@10", CONFIG) is None

    @pytest.mark.parametrize(
        ("hits", "differing", "users", "message"),
        [
            (0, 0, 200, "no hit of either model for any of 200 users"),
            (100, 0, 200, "ndcg@10 is the same for all 200 users"),
            (30, 20, 49, "users: 49, 30 with a hit, 20 whose ndcg@10 differs; needed: 50, 20 with a hit, 10 whose"),
            (19, 19, 200, "users: 200, 19 with a hit, 19 whose ndcg@10 differs"),
            (30, 9, 200, "users: 200, 30 with a hit, 9 whose ndcg@10 differs"),
        ],
    )
    def test_too_little(self, hits: int, differing: int, users: int, message: str) -> None:
        theirs = np.where(np.arange(users) < hits, 0.4, 0.0)
        ours = np.where(np.arange(users) < differing, 0.9, theirs)
        pairs = pair_values(ours, theirs)
        missing = find_missing_evidence(pairs, "ndcg@10", CONFIG)
        assert missing is not None
        assert missing.startswith(message)
        check = judge(pairs, max_loss=1.0)
        assert check.verdict == "cannot tell"
        assert message in check.sentence

    def test_equal_values_are_no_pass_however_many_users(self) -> None:
        values = np.full(100_000, 0.4)
        check = judge(pair_values(values, values), max_loss=1.0)
        assert check.verdict == "cannot tell"
        assert "is the same for all 100,000 users" in check.sentence
        assert "with this many users, a difference of 0.0" in check.sentence


class TestWidening:
    def test_by_hand(self) -> None:
        # 98 users without a difference and two pseudo-users: a standard error of √(2 / 100 / 99) = 0.014213.
        pairs = pair_values(np.full(98, 0.5), np.full(98, 0.5))
        assert pairs.standard_error == pytest.approx(math.sqrt(2 / 100 / 99))
        assert widen(pairs, 0.02) == pytest.approx(math.sqrt(1 + (math.sqrt(2 / 100 / 99) / 0.01) ** 2))
        plain, widened = compare(pairs, 0.95, None), compare(pairs, 0.95, 0.02)
        assert widened.high / plain.high == pytest.approx(widen(pairs, 0.02))

    def test_precise_intervals_stay_as_they_are(self) -> None:
        generator = np.random.default_rng(0)
        theirs = generator.uniform(0.2, 0.8, 100_000)
        pairs = pair_values(np.clip(theirs + generator.normal(0, 0.05, 100_000), 0, 1), theirs)
        assert widen(pairs, 0.02) < 1.001

    def test_a_loss_of_more_than_everything_is_not_possible(self) -> None:
        ours, theirs = np.array([0.0] * 9 + [0.1]), np.array([0.1] * 5 + [0.0] * 5)
        assert compare(pair_values(ours, theirs), 0.95, 0.02).low == -pair_values(ours, theirs).theirs

    def test_without_any_hit_nothing_is_known(self) -> None:
        assert compare(pair_values(np.zeros(5), np.zeros(5)), 0.95, 0.02) == Estimate(0.0, -1.0, 1.0)


def test_the_sentence_has_the_numbers() -> None:
    generator = np.random.default_rng(1)
    theirs = generator.uniform(0.2, 0.8, 1_000)
    pairs = pair_values(theirs * 0.8, theirs)
    check = judge(pairs)
    assert check.sentence.startswith(
        f"ndcg@10 {pairs.ours:.4f} vs {pairs.theirs:.4f} of champion version 3 on 1,000 users: "
        f"{pairs.difference:+.4f} (95% CI {check.low:+.4f} to {check.high:+.4f}), significantly worse, and not within "
        "the allowed loss "
    )
    assert check.margin == pytest.approx(0.02 * pairs.theirs)


def test_a_rival_that_was_not_measured_says_why() -> None:
    check = judge(None)
    assert check.verdict == "cannot tell"
    assert check.sentence == "champion version 3 was not compared: it has seen the window"
