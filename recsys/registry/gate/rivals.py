"""The challenger against one rival: the interval, the evidence behind it, and one of four answers."""

from __future__ import annotations

import math

from recsys.config import GateConfig
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.paired import Pairs
from recsys.progress import format_count
from recsys.registry.gate.case import Rival
from recsys.registry.gate.decision import Answer, Check


def widen(pairs: Pairs, plausible_change: float) -> float:
    """Return the factor that an interval is widened by where it is imprecise.

    With the standard error s and a true change drawn from a normal distribution of scale τ around 0, the posterior
    puts 97.5 % on one side of 0 where the estimate is at least 1.96 s √(1 + (s/τ)²): the same estimate is weaker
    evidence if the measurement is coarse against the changes that occur.

    Args:
        pairs: the comparison.
        plausible_change: τ, as a share of the metric.
    """
    scale = plausible_change * get_scale(pairs)
    return math.sqrt(1.0 + (pairs.standard_error / scale) ** 2) if scale > 0 else math.inf


def get_scale(pairs: Pairs) -> float:
    """Return the value that shares of the metric are of: the rival's mean, or ours where the rival has no hit."""
    return pairs.theirs or pairs.ours


def compare(pairs: Pairs, confidence: float, plausible_change: float | None) -> Estimate:
    """Return the difference with its interval; a loss of more than the whole metric is not possible.

    Args:
        pairs: the comparison.
        confidence: of the interval.
        plausible_change: None leaves the interval as it is.
    """
    widening = 1.0 if plausible_change is None else widen(pairs, plausible_change)
    if math.isinf(widening):
        return Estimate(pairs.difference, -1.0, 1.0)
    estimate = pairs.interval(confidence, widening)
    return Estimate(estimate.mean, max(estimate.low, -get_scale(pairs)), min(estimate.high, 1.0))


def answer(estimate: Estimate, margin: float) -> Answer:
    """Return the answer for an interval.

    Args:
        estimate: challenger minus rival.
        margin: the loss that is allowed, in the same unit.

    Returns:
        `better`: surely above 0. `as good`: surely no loss of more than the margin. `worse`: surely below 0, and maybe
        by more than the margin. `cannot tell`: anything else.
    """
    if estimate.low > 0:
        return "better"
    if estimate.low >= -margin:
        return "as good"
    return "worse" if estimate.high < 0 else "cannot tell"


def find_missing_evidence(pairs: Pairs, metric: str, config: GateConfig) -> str | None:
    """Return why the users cannot support a comparison; None if they can."""
    counts = (
        (pairs.users, config.min_users, ""),
        (pairs.users_with_hit, config.min_users_with_hits, " with a hit"),
        (pairs.users_differing, config.min_users_differing, f" whose {metric} differs"),
    )
    if all(count >= needed for count, needed, _ in counts):
        return None
    if not pairs.users_with_hit:
        return f"no hit of either model for any of {format_count(pairs.users, 'user')}"
    if not pairs.users_differing:
        return f"{metric} is the same for all {format_count(pairs.users, 'user')}"
    found = ", ".join(f"{count:,}{what}" for count, _, what in counts)
    needed = ", ".join(f"{needed:,}{what}" for _, needed, what in counts)
    return f"users: {found}; needed: {needed}"


def judge_rival(
    rival: Rival, metric: str, config: GateConfig, *, confidence: float, max_loss: float, widened: bool
) -> Check:
    """Compare the challenger with a rival.

    Args:
        rival: champion, anchor or a baseline.
        metric: such as `ndcg@10`.
        config: the evidence that is needed, and the plausible change.
        confidence: of the interval.
        max_loss: share of the rival's metric within which the challenger is as good.
        widened: widen an imprecise interval; baselines may differ by more than two trainings do.
    """
    pairs = rival.pairs
    if pairs is None:
        return _skip(rival, metric)
    plausible = config.plausible_change if widened else None
    estimate = compare(pairs, confidence, plausible)
    margin = max_loss * get_scale(pairs)
    missing = find_missing_evidence(pairs, metric, config)
    verdict: Answer = answer(estimate, margin) if missing is None else "cannot tell"
    sentence = (
        f"{metric} {pairs.ours:.4f} vs {pairs.theirs:.4f} of {rival.full_name or rival.name} on "
        f"{format_count(pairs.users, 'user')}: {describe_difference(estimate, confidence)}, "
        f"{_explain(verdict, margin, max_loss)}"
    )
    if missing is not None:
        sentence += f" ({missing})"
    if verdict == "cannot tell":
        sentence += describe_power(pairs, confidence, 1.0 if plausible is None else widen(pairs, plausible))
    return Check(
        name=rival.name,
        kind="rival",
        metric=metric,
        figure=pairs.ours,
        against=pairs.theirs,
        difference=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        margin=margin,
        verdict=verdict,
        users=pairs.users,
        sentence=sentence,
    )


def describe_difference(estimate: Estimate, confidence: float) -> str:
    """Return a difference with its interval, such as `+0.0086 (99% CI +0.0062 to +0.0110)`."""
    return f"{estimate.mean:+.4f} ({100 * confidence:.4g}% CI {estimate.low:+.4f} to {estimate.high:+.4f})"


def describe_power(pairs: Pairs, confidence: float, widening: float) -> str:
    """Return the end of a sentence: the smallest difference that this many users could show."""
    if math.isinf(widening):
        return ""
    smallest = pairs.smallest_difference(confidence, widening)
    share = f" ({smallest / pairs.theirs:.1%})" if pairs.theirs else ""
    return f"; with this many users, a difference of {smallest:.4f}{share} or more can be detected"


def _explain(verdict: Answer, margin: float, max_loss: float) -> str:
    allowed = f"the allowed loss of {margin:.4f} ({max_loss:.1%})"
    return {
        "better": "significantly better",
        "as good": f"lower bound within {allowed}",
        "worse": f"significantly worse, and not within {allowed}",
        "cannot tell": f"lower bound not within {allowed}",
    }[verdict]


def _skip(rival: Rival, metric: str) -> Check:
    why = rival.why_not or "no common users"
    return Check(
        name=rival.name,
        kind="rival",
        metric=metric,
        figure=0.0,
        verdict="cannot tell",
        users=0,
        sentence=f"{rival.name} was not compared: {why}",
    )
