"""Guardrails: each fails on its own, and what cannot be measured refuses nothing."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.config import GateConfig, GuardrailsConfig
from recsys.evaluation.paired import Pairs, pair_values
from recsys.registry.gate.case import Case, Figure, FigureName, SegmentMargin, SegmentPairs
from recsys.registry.gate.decision import Check
from recsys.registry.gate.guardrails import judge_guardrails, judge_segments

RAILS = GuardrailsConfig()
BASE = np.random.default_rng(0).uniform(0.2, 0.8, 1_000)


def scale(factor: float, users: int = 1_000, noise: float = 0.0) -> Pairs:
    """Return a challenger with a factor of the champion's values."""
    moved = BASE[:users] * factor + np.random.default_rng(1).normal(0, noise, users)
    return pair_values(np.clip(moved, 0, 1), BASE[:users])


def judge(margin: SegmentMargin, pairs: Pairs | None) -> Check:
    (check,) = judge_segments([SegmentPairs("users: light", "ndcg@10", margin, pairs)], RAILS, 20, 0.95)
    return check


class TestSegments:
    @pytest.mark.parametrize(
        ("factor", "verdict"), [(1.2, "pass"), (1.0, "pass"), (0.97, "pass"), (0.85, "fail"), (0.5, "fail")]
    )
    def test_a_sure_loss_beyond_the_margin_fails(self, factor: float, verdict: str) -> None:
        check = judge("light_users", scale(factor))
        assert check.verdict == verdict
        assert check.margin == pytest.approx(0.1 * BASE.mean())

    def test_a_large_loss_that_is_not_sure_cannot_tell(self) -> None:
        check = judge("light_users", scale(0.8, 30, noise=0.8))
        assert check.verdict == "cannot tell"
        assert "with this many users, a difference of" in check.sentence

    def test_few_hits_cannot_tell(self) -> None:
        ours, theirs = np.zeros(500), np.where(np.arange(500) < 19, 1.0, 0.0)
        check = judge("cold_item_recall", pair_values(ours, theirs))
        assert check.verdict == "cannot tell"
        assert "only 19 users with a hit" in check.sentence

    def test_each_has_its_own_margin(self) -> None:
        assert judge("light_users", scale(0.87)).verdict == "fail"
        assert judge("segments", scale(0.87)).verdict != "fail"
        assert judge("cold_item_recall", scale(0.87)).verdict == "pass"

    def test_without_users_the_row_says_so(self) -> None:
        check = judge("light_users", None)
        assert (check.verdict, check.users) == ("cannot tell", 0)
        assert check.sentence == "users: light: skipped, no user has a positive in this segment"

    def test_more_segments_need_more_proof(self) -> None:
        # A loss with a p-value between 0.05 / 20 and 0.05.
        theirs = np.full(100, 0.4)
        ours = np.where(np.arange(100) < 50, 0.4, np.where(np.arange(100) < 77, 0.0, 0.6))
        pairs = pair_values(ours, theirs)
        assert 0.0025 < pairs.p_value() < 0.05
        alone = SegmentPairs("genre: drama", "ndcg@10", "segments", pairs)
        lenient = RAILS.model_copy(update={"segments": 0.01})
        (check,) = judge_segments([alone], lenient, 20, 0.95)
        others = [replace(alone, name=f"genre: {number}", pairs=scale(1.0)) for number in range(19)]
        among_many, *_ = judge_segments([alone, *others], lenient, 20, 0.95)
        assert (check.verdict, among_many.verdict) == ("fail", "cannot tell")


def judge_figure(name: FigureName, figure: float | None, against: float | None, **rails: float | None) -> list[Check]:
    case = Case("ndcg@10", 0.1, 500, None, figures=(Figure(name, figure, against, 500),))
    config = GateConfig(guardrails=GuardrailsConfig(**rails))
    return judge_guardrails(case, config, 0.95)[1:]


class TestFigures:
    @pytest.mark.parametrize(
        ("name", "against", "good", "bad"),
        [
            ("coverage", 0.4, 0.2801, 0.2799),
            ("fallback_share", 0.05, 0.1499, 0.1501),
            ("churn", None, 0.9499, 0.9501),
            ("seconds", 2.0, 5.99, 6.01),
            ("bytes", 1e6, 2.99e6, 3.01e6),
        ],
    )
    def test_the_limits(self, name: FigureName, against: float | None, good: float, bad: float) -> None:
        assert [check.verdict for check in judge_figure(name, good, against)] == ["pass"]
        assert [check.verdict for check in judge_figure(name, bad, against)] == ["fail"]

    @pytest.mark.parametrize(("figure", "against"), [(None, 0.4), (0.4, None), (None, None)])
    def test_what_was_not_recorded_is_left_out(self, figure: float | None, against: float | None) -> None:
        (check,) = judge_figure("coverage", figure, against)
        assert check.verdict == "cannot tell"
        assert check.sentence.startswith("coverage: skipped, not measured for the ")

    def test_null_switches_off(self) -> None:
        assert judge_figure("coverage", 0.0, 0.4, coverage=None) == []
        segment = SegmentPairs("users: new", "ndcg@10", "new_users", scale(0.1))
        case = Case("ndcg@10", 0.1, 500, None, segments=(segment,))
        config = GateConfig(guardrails=GuardrailsConfig(new_users=None))
        assert [check.name for check in judge_guardrails(case, config, 0.95)] == ["floor"]


@pytest.mark.parametrize(
    ("figure", "floor", "verdict", "words"),
    [
        (0.1, 0.0, "pass", "ndcg@10 0.1000 on 500 users"),
        (0.0, 0.0, "fail", "no hit at all"),
        (0.1, 0.1, "pass", "at least the floor 0.1000"),
        (0.1, 0.11, "fail", "below the floor 0.1100"),
    ],
)
def test_the_floor(figure: float, floor: float, verdict: str, words: str) -> None:
    config = GateConfig(guardrails=GuardrailsConfig(min_metric=floor))
    (check,) = judge_guardrails(Case("ndcg@10", figure, 500, None), config, 0.95)
    assert check.verdict == verdict
    assert words in check.sentence
