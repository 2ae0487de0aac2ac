"""The decision: champion, anchor, budget, baselines, guardrails and first champions."""

import json
from dataclasses import replace

import pytest

from recsys.config import GateConfig
from recsys.evaluation.paired import Pairs
from recsys.registry.gate.case import Case, Figure, Rival
from recsys.registry.gate.decide import correct_for_tries, decide
from recsys.registry.gate.decision import Decision, decision_table

CONFIG = GateConfig()
MEAN = 0.1


def pairs(change: float, error: float = 0.004, users: int = 5_000, mean: float = MEAN) -> Pairs:
    """Return a comparison with a given change and standard error, both as shares of the rival's metric."""
    size = users + 2
    squares = size * ((error * mean) ** 2 * (size - 1) + (users * change * mean / size) ** 2) - 2
    return Pairs(users, mean * (1 + change), mean, squares, users // 3, users // 4)


def case(change: float, error: float = 0.004, **parts: object) -> Case:
    compared = pairs(change, error)
    rival = Rival("champion version 3", compared)
    return replace(Case("ndcg@10", compared.ours, compared.users, rival, rival, fresher=True), **parts)  # type: ignore[arg-type]


def judge(judged: Case, **settings: object) -> Decision:
    return decide(judged, CONFIG.model_copy(update=settings), 0.95)


class TestAnswers:
    def test_better_becomes_champion_and_anchor(self) -> None:
        decision = judge(case(+0.05))
        assert (decision.answer, decision.promoted, decision.new_anchor, decision.spent) == ("better", True, True, 0.0)
        assert decision.sentence.startswith("better: ndcg@10 0.1050 vs 0.1000 of champion version 3 on 5,000 users")

    @pytest.mark.parametrize("change", [0.0, -0.005])
    def test_as_good_spends_what_it_loses(self, change: float) -> None:
        decision = judge(case(change))
        assert (decision.answer, decision.promoted, decision.new_anchor) == ("as good", True, False)
        assert decision.spent == pytest.approx(-change)

    @pytest.mark.parametrize(
        ("accept", "fresher", "promoted"),
        [
            ("never", True, False),
            ("never", False, False),
            ("fresher", True, True),
            ("fresher", False, False),
            ("always", False, True),
        ],
    )
    def test_as_good_is_promoted_where_the_settings_ask_for_it(
        self, accept: str, fresher: bool, promoted: bool
    ) -> None:
        decision = judge(case(0.0, fresher=fresher), accept_equal=accept)
        assert (decision.answer, decision.promoted) == ("as good", promoted)
        assert ("accept_equal" in decision.sentence) is not promoted
        # Neither matters for a better one.
        assert judge(case(0.05, fresher=fresher), accept_equal=accept).promoted

    def test_worse_and_cannot_tell_are_refused(self) -> None:
        for change, error, expected in ((-0.1, 0.004, "worse"), (0.0, 0.05, "cannot tell"), (0.3, 0.3, "cannot tell")):
            decision = judge(case(change, error))
            assert (decision.answer, decision.promoted, decision.spent) == (expected, False, 0.0)
            assert decision.sentence.startswith(f"{expected}: ndcg@10")

    def test_no_common_user(self) -> None:
        rival = Rival("champion version 3", None, why_not="no user has ndcg@10 with both")
        decision = judge(Case("ndcg@10", 0.1, 50, rival, rival))
        assert (decision.answer, decision.promoted) == ("cannot tell", False)
        assert "no user has ndcg@10 with both" in decision.sentence

    def test_a_lenient_gate_promotes_any_difference(self) -> None:
        settings = {"accept_equal": "always", "max_loss": 1.0, "max_total_loss": 1.0}
        assert judge(case(-0.6, 0.3), **settings).promoted


class TestTries:
    def test_later_tries_need_more(self) -> None:
        assert correct_for_tries(0.95, 0) == 0.95
        assert correct_for_tries(0.95, 1) == pytest.approx(1 - 0.05 / 4)
        # Over any number of tries the chance of error stays below α π² / 6.
        assert sum(1 - correct_for_tries(0.95, tries) for tries in range(10_000)) < 0.05 * 1.645

    def test_the_same_challenger_passes_only_at_first(self) -> None:
        judged = case(0.012)
        assert judge(judged).answer == "better"
        again = judge(replace(judged, tries=5))
        assert again.answer != "better"

    def test_losses_that_refuse_do_not_become_unsure(self) -> None:
        worse_than_blend = case(0.05, baselines=(Rival("blend", pairs(-0.1)),))
        assert judge(replace(worse_than_blend, tries=100)).answer == "worse"


class TestAnchor:
    def test_a_slow_decline_is_refused(self) -> None:
        declined = case(-0.002, anchor=Rival("anchor version 1", pairs(-0.06)))
        decision = judge(declined)
        assert (decision.answer, decision.promoted) == ("worse", False)
        assert "of anchor version 1" in decision.sentence

    def test_an_anchor_that_is_maybe_lost_cannot_tell(self) -> None:
        decision = judge(case(-0.002, anchor=Rival("anchor version 1", pairs(-0.012, 0.006))))
        assert (decision.answer, decision.promoted) == ("cannot tell", False)
        assert "of anchor version 1" in decision.sentence

    def test_the_margin_is_what_the_budget_leaves(self) -> None:
        small_loss = case(-0.003)
        assert judge(small_loss).promoted
        spent = judge(replace(small_loss, spent=0.012))
        assert not spent.promoted
        assert "promotions since the anchor have lost 1.2% of the 2.0% allowed" in spent.sentence
        # A better challenger needs no budget, and gains back what was lost.
        better = judge(case(+0.02, spent=0.012, anchor=Rival("anchor version 1", pairs(+0.005))))
        assert (better.promoted, better.new_anchor) == (True, False)
        assert better.spent == -0.012

    def test_an_anchor_that_saw_the_window_leaves_the_budget(self) -> None:
        unseen = case(-0.003, anchor=Rival("anchor version 1", None, why_not="it has seen the window"))
        decision = judge(unseen)
        assert (decision.promoted, decision.new_anchor) == (True, False)
        assert any(check.sentence.endswith("it has seen the window") for check in decision.checks)
        assert not judge(replace(unseen, spent=0.019)).promoted

    def test_it_moves_on_stronger_evidence_only(self) -> None:
        # 2.9 standard errors: enough at 99 %, not at 99.9 %.
        decision = judge(case(0.0116))
        assert (decision.answer, decision.promoted, decision.new_anchor) == ("better", True, False)

    def test_a_better_challenger_repairs_a_fallen_champion(self) -> None:
        anchor = Rival("anchor version 1", pairs(-0.1))
        forced = case(+0.05, anchor=anchor, champion_to_anchor=pairs(-0.15))
        decision = judge(forced)
        assert (decision.answer, decision.promoted, decision.new_anchor) == ("better", True, False)
        # The champion is as good as the anchor: then the two comparisons contradict, and the anchor counts.
        assert not judge(replace(forced, champion_to_anchor=pairs(0.0))).promoted


class TestBaselines:
    def test_worse_than_the_blend_is_refused(self) -> None:
        decision = judge(case(0.05, baselines=(Rival("blend", pairs(-0.08)), Rival("source als", pairs(0.3)))))
        assert (decision.answer, decision.promoted) == ("worse", False)
        assert "of blend" in decision.sentence

    def test_only_the_strongest_source_counts(self) -> None:
        sources = tuple(Rival(f"source {name}", pairs(0.0, mean=mean)) for name, mean in (("a", 0.05), ("b", 0.09)))
        decision = judge(case(0.05, baselines=sources))
        assert [check.name for check in decision.checks if check.name.startswith("source")] == ["source b"]

    def test_guardrails_refuse_a_better_challenger(self) -> None:
        decision = judge(case(0.05, figures=(Figure("coverage", 0.1, 0.4, 5_000),)))
        assert (decision.answer, decision.promoted) == ("worse", False)
        assert decision.sentence == ("worse: coverage 0.1000 (champion: 0.4000), allowed: at least 0.2800")


class TestFirstChampion:
    def first(self, *baselines: Pairs, figure: float = 0.1) -> Case:
        named = tuple(Rival(f"source {number}", compared) for number, compared in enumerate(baselines))
        return Case("ndcg@10", figure, 120, None, baselines=named)

    def test_better_than_all(self) -> None:
        decision = judge(self.first(pairs(0.3), pairs(0.2)))
        assert (decision.answer, decision.promoted, decision.new_anchor) == ("better", True, True)
        assert decision.sentence.startswith("first champion, compared with 2 baselines: better")

    def test_surely_worse_than_a_single_source_is_refused(self) -> None:
        decision = judge(self.first(pairs(0.3), pairs(-0.2), pairs(0.1)))
        assert (decision.answer, decision.promoted) == ("worse", False)
        assert "of source 1" in decision.sentence

    def test_few_users_get_a_champion_and_are_told(self) -> None:
        decision = judge(self.first(pairs(0.1, 0.3, users=120), pairs(-0.1, 0.3, users=120)))
        assert (decision.answer, decision.promoted, decision.new_anchor) == ("cannot tell", True, True)
        assert "inconclusive for 2 of them; promoted because no version serves yet" in decision.sentence

    def test_a_ranker_that_is_the_blend_alone_is_as_good(self) -> None:
        blend = Rival("blend", Pairs(5_000, 0.1, 0.1, 0.0, 1_500, 0))
        first = self.first(pairs(0.3))
        decision = judge(replace(first, baselines=(*first.baselines, blend)))
        assert (decision.answer, decision.promoted) == ("as good", True)

    def test_no_hit_or_below_the_floor_is_refused(self) -> None:
        assert "no hit at all" in judge(self.first(figure=0.0)).sentence
        floor = CONFIG.guardrails.model_copy(update={"min_metric": 0.2})
        decision = judge(self.first(pairs(0.3)), guardrails=floor)
        assert (decision.promoted, decision.answer) == (False, "worse")
        assert "below the floor 0.2000" in decision.sentence

    def test_more_baselines_need_more_proof(self) -> None:
        # 2.2 standard errors below: sure alone, not among twenty.
        loss = pairs(-0.088, 0.04)
        assert not judge(self.first(loss)).promoted
        assert judge(self.first(loss, *[pairs(0.2)] * 19)).promoted


def test_a_decision_is_plain_json_and_its_table_fits() -> None:
    figures = (Figure("bytes", 9.1e6, 9.0e6, 5_000), Figure("churn", 0.4, None, 5_000))
    decision = judge(case(0.05, figures=figures))
    content = json.loads(json.dumps(decision.to_dict()))
    assert content["answer"] == "better"
    assert [check["name"] for check in content["checks"]] == [check.name for check in decision.checks]
    table = decision_table(decision)
    assert table.columns == ["check", "figure", "difference", "margin", "verdict"]
    widths = [max(len(value) for value in [name, *table[name]]) for name in table.columns]
    assert sum(widths) + 16 <= 80
