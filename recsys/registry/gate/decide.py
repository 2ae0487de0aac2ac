"""The decision: champion, anchor, baselines and guardrails put together."""

from __future__ import annotations

from dataclasses import replace

from recsys.config import GateConfig
from recsys.progress import format_count
from recsys.registry.gate.case import Case, Rival
from recsys.registry.gate.decision import Answer, Check, Decision
from recsys.registry.gate.guardrails import check_floor, judge_guardrails
from recsys.registry.gate.rivals import compare, find_missing_evidence, get_scale, judge_rival

BLEND = "blend"
# The anchor is the only memory of how good a champion once was, so it moves on stronger evidence: a tenth of the
# chance of error that a promotion is allowed.
_ANCHOR_STRICTNESS = 10
_PASSING = ("better", "as good")


def decide(case: Case, config: GateConfig, confidence: float) -> Decision:
    """Decide whether the challenger becomes champion. Pure: the same case gives the same decision.

    Args:
        case: the measurements.
        config: `registry.gate`.
        confidence: `evaluation.confidence`, of losses that refuse: to baselines, and in segments.
    """
    if case.champion is None:
        return _decide_first(case, config, confidence)
    return _decide_challenger(case, case.champion, config, confidence)


def correct_for_tries(confidence: float, tries: int) -> float:
    """Return the confidence after a number of earlier tries on the same window: 1 - α / (tries + 1)².

    A challenger that is tried again and again on one window passes by luck some day. The sum of α / k² over any number
    of tries stays below 1.65 α, while Bonferroni's α / k would grow without bound: the number of tries is not known
    beforehand.
    """
    return 1.0 - (1.0 - confidence) / (tries + 1) ** 2


def _decide_first(case: Case, config: GateConfig, confidence: float) -> Decision:
    """Decide about a first champion: nothing serves yet, so only a proven weakness or no hit at all refuses it."""
    baselines = [_judge_baseline(rival, case, config, confidence) for rival in case.baselines]
    floor = check_floor(case, config.guardrails)
    checks = (*baselines, floor)
    worse = [check.sentence for check in baselines if check.verdict == "worse"]
    if floor.verdict == "fail":
        worse.insert(0, floor.sentence)
    if worse:
        return _refuse("worse", "; ".join(worse), checks)
    verdicts = {check.verdict for check in baselines}
    # A ranker that is the blend alone differs for no user; it is as good, however few the users.
    unsure = [check for check in baselines if check.verdict == "cannot tell" and check.difference]
    held = f"first champion, compared with {format_count(len(baselines), 'baseline')}"
    if unsure or not baselines:
        hardest = max(unsure, key=lambda check: check.against or 0.0).sentence if unsure else floor.sentence
        reason = (
            f"{held}: not significantly worse than any, but inconclusive for {len(unsure)} of them; promoted because "
            f"no version serves yet. Strongest of them: {hardest}"
        )
        return Decision("cannot tell", True, reason, checks, 0.0, True)
    hardest = max(baselines, key=lambda check: check.against or 0.0).sentence
    given: Answer = "better" if verdicts == {"better"} else "as good"
    return Decision(given, True, f"{held}: {given}. Strongest of them: {hardest}", checks, 0.0, True)


def _decide_challenger(case: Case, champion: Rival, config: GateConfig, confidence: float) -> Decision:
    strict = correct_for_tries(config.confidence, case.tries)
    left = max(0.0, config.max_total_loss - case.spent)
    against_champion = judge_rival(
        champion, case.metric, config, confidence=strict, max_loss=min(config.max_loss, left), widened=True
    )
    if left < config.max_loss:
        against_champion = replace(against_champion, sentence=against_champion.sentence + _explain_budget(case, config))
    anchor = case.anchor or champion
    against_anchor = judge_rival(
        anchor, case.metric, config, confidence=strict, max_loss=config.max_total_loss, widened=True
    )
    baselines = [_judge_baseline(rival, case, config, confidence) for rival in _select_strongest(case)]
    guardrails = judge_guardrails(case, config, confidence)
    evidence = _check_evidence(champion, case.metric, config)
    checks = (evidence, against_champion, against_anchor, *baselines, *guardrails)

    worse = [against_champion.sentence] if against_champion.verdict == "worse" else []
    worse += [check.sentence for check in guardrails if check.verdict == "fail"]
    worse += [check.sentence for check in baselines if check.verdict == "worse"]
    repairs = against_champion.verdict == "better" and _has_fallen(case, config, strict)
    if against_anchor.verdict == "worse" and not repairs and anchor.pairs is not champion.pairs:
        worse.append(against_anchor.sentence)
    if worse:
        return _refuse("worse", "; ".join(worse), checks)
    if against_champion.verdict == "cannot tell":
        return _refuse("cannot tell", _explain_doubt(evidence, against_champion), checks)
    # An anchor that could not be measured leaves the budget, which the champion's margin is cut to.
    if anchor.pairs is not None and against_anchor.verdict not in _PASSING and not repairs:
        return _refuse("cannot tell", against_anchor.sentence, checks)
    if against_champion.verdict == "as good" and not _accepts_equal(case, config):
        reason = f"{against_champion.sentence}; {_explain_unwanted(config)}"
        return _refuse("as good", reason, checks)
    return _promote(case, champion, anchor, config, strict, against_champion, checks)


def _promote(
    case: Case,
    champion: Rival,
    anchor: Rival,
    config: GateConfig,
    confidence: float,
    check: Check,
    checks: tuple[Check, ...],
) -> Decision:
    given: Answer = "better" if check.verdict == "better" else "as good"
    stricter = 1.0 - (1.0 - confidence) / _ANCHOR_STRICTNESS
    new_anchor = all(
        rival.pairs is not None and compare(rival.pairs, stricter, config.plausible_change).low > 0
        for rival in (champion, anchor)
    )
    lost = -(check.difference or 0.0) / get_scale(champion.pairs) if champion.pairs else 0.0
    spent = 0.0 if new_anchor else max(lost, -case.spent)
    return Decision(given, True, f"{given}: {check.sentence}", checks, spent, new_anchor)


def _refuse(given: Answer, reason: str, checks: tuple[Check, ...]) -> Decision:
    return Decision(given, False, f"{given}: {reason}", checks, 0.0, False)


def _judge_baseline(rival: Rival, case: Case, config: GateConfig, confidence: float) -> Check:
    """Compare with a baseline; Bonferroni's correction for their number, of which the strongest may be chosen."""
    corrected = 1.0 - (1.0 - confidence) / max(1, len(case.baselines))
    return judge_rival(rival, case.metric, config, confidence=corrected, max_loss=config.max_loss, widened=False)


def _select_strongest(case: Case) -> list[Rival]:
    """Return the blend and the single source with the best metric."""
    blend = [rival for rival in case.baselines if rival.name == BLEND]
    sources = [rival for rival in case.baselines if rival.name != BLEND and rival.pairs is not None]
    strongest = max(sources, key=lambda rival: rival.pairs.theirs if rival.pairs else 0.0, default=None)
    return [*blend, *([] if strongest is None else [strongest])]


def _has_fallen(case: Case, config: GateConfig, confidence: float) -> bool:
    """Return whether the champion itself is worse than the anchor by more than the budget, as after a forced promotion.

    A better challenger then repairs what serves, although it may not be as good as the anchor yet.
    """
    pairs = case.champion_to_anchor
    if pairs is None:
        return False
    estimate = compare(pairs, confidence, config.plausible_change)
    return estimate.high < 0 and estimate.mean < -config.max_total_loss * get_scale(pairs)


def _explain_budget(case: Case, config: GateConfig) -> str:
    return f"; promotions since the anchor have lost {case.spent:.1%} of the {config.max_total_loss:.1%} allowed"


def _accepts_equal(case: Case, config: GateConfig) -> bool:
    return config.accept_equal == "always" or (config.accept_equal == "fresher" and case.fresher)


def _explain_unwanted(config: GateConfig) -> str:
    if config.accept_equal == "fresher":
        return "it was not trained on newer data than the champion (registry.gate.accept_equal: fresher)"
    return "an equal model is not promoted (registry.gate.accept_equal: never)"


def _check_evidence(champion: Rival, metric: str, config: GateConfig) -> Check:
    """Return the check of the evidence itself: how many users, with hits, with a difference."""
    pairs = champion.pairs
    if pairs is None:
        missing: str | None = champion.why_not or "no common users"
        counts = (0, 0, 0)
    else:
        missing = find_missing_evidence(pairs, metric, config)
        counts = (pairs.users, pairs.users_with_hit, pairs.users_differing)
    numbers = (
        f"{format_count(counts[0], 'user')}, {counts[1]:,} with a hit, {counts[2]:,} whose {metric} differs from that "
        f"of {champion.name}"
    )
    return Check(
        name="evidence",
        kind="evidence",
        metric="users",
        figure=float(counts[0]),
        margin=float(config.min_users),
        verdict="pass" if missing is None else "cannot tell",
        users=counts[0],
        sentence=numbers if missing is None else f"{numbers}: {missing}",
    )


def _explain_doubt(evidence: Check, against_champion: Check) -> str:
    return against_champion.sentence if evidence.verdict == "pass" or against_champion.users else evidence.sentence
