"""Guardrails: what a challenger must not lose while its metric holds."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.config import GateConfig, GuardrailsConfig
from recsys.evaluation.paired import Pairs, holm
from recsys.progress import format_count
from recsys.registry.gate.case import Case, Figure, SegmentPairs
from recsys.registry.gate.decision import Check, Verdict
from recsys.registry.gate.rivals import describe_difference, describe_power


def judge_guardrails(case: Case, config: GateConfig, confidence: float) -> list[Check]:
    """Return a check per guardrail that is switched on; one without data says so and refuses nothing."""
    rails = config.guardrails
    segments = [segment for segment in case.segments if getattr(rails, segment.margin) is not None]
    figures = [figure for figure in case.figures if getattr(rails, figure.name) is not None]
    return [
        check_floor(case, rails),
        *judge_segments(segments, rails, config.min_users_with_hits, confidence),
        *(_judge_figure(figure, float(getattr(rails, figure.name))) for figure in figures),
    ]


def check_floor(case: Case, rails: GuardrailsConfig) -> Check:
    """Check the metric itself: above 0, and at least `min_metric`."""
    passed = case.figure > 0 and case.figure >= rails.min_metric
    reason = f"{case.metric} {case.figure:.4f} on {format_count(case.users, 'user')}"
    if not case.figure:
        reason += ": no hit at all"
    elif rails.min_metric:
        reason += f": {'at least' if passed else 'below'} the floor {rails.min_metric:.4f}"
    return Check(
        name="floor",
        kind="guardrail",
        metric=case.metric,
        figure=case.figure,
        margin=rails.min_metric,
        verdict="pass" if passed else "fail",
        users=case.users,
        sentence=reason,
    )


def judge_segments(
    segments: Sequence[SegmentPairs], rails: GuardrailsConfig, min_users_with_hits: int, confidence: float
) -> list[Check]:
    """Compare challenger and champion in each segment.

    A segment fails where a loss is sure (two-sided t test, Holm's correction for the number of segments) and larger
    than the margin. It passes where the loss is surely within the margin, else the users cannot tell; neither refuses.

    Args:
        segments: to compare, each with its own margin.
        rails: the margins.
        min_users_with_hits: segments with fewer users with a hit cannot fail.
        confidence: of the intervals, and of the family of tests.
    """
    measured = [segment for segment in segments if _has_evidence(segment.pairs, min_users_with_hits)]
    p_values = [segment.pairs.p_value() for segment in measured if segment.pairs]
    sure = dict(zip((segment.name for segment in measured), holm(p_values, 1.0 - confidence), strict=True))
    return [
        _judge_segment(segment, float(getattr(rails, segment.margin)), sure.get(segment.name), confidence)
        for segment in segments
    ]


def _has_evidence(pairs: Pairs | None, min_users_with_hits: int) -> bool:
    return pairs is not None and pairs.users_with_hit >= min_users_with_hits


def _judge_segment(segment: SegmentPairs, max_loss: float, sure: bool | None, confidence: float) -> Check:
    """Return the check of one segment; `sure`: whether its difference from 0 is, None without enough evidence."""
    pairs = segment.pairs
    if pairs is None:
        return _report_missing(segment.name, segment.metric, "no user has a positive in this segment")
    margin = max_loss * pairs.theirs
    estimate = pairs.interval(confidence)
    verdict: Verdict = "cannot tell"
    if sure and estimate.mean < -margin:
        verdict = "fail"
    elif sure is not None and estimate.low >= -margin:
        verdict = "pass"
    sentence = (
        f"{segment.name}: {segment.metric} {pairs.ours:.4f} vs {pairs.theirs:.4f} on "
        f"{format_count(pairs.users, 'user')}: {describe_difference(estimate, confidence)}, "
        f"allowed loss {margin:.4f} ({max_loss:.1%})"
    )
    if sure is None:
        sentence += f"; only {format_count(pairs.users_with_hit, 'user')} with a hit"
    if verdict == "cannot tell":
        sentence += describe_power(pairs, confidence, 1.0)
    return Check(
        name=segment.name,
        kind="guardrail",
        metric=segment.metric,
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


def _judge_figure(figure: Figure, setting: float) -> Check:
    name, value, against = figure.name.replace("_", " "), figure.figure, figure.against
    if value is None:
        return _report_missing(name, figure.name, "not measured for the challenger")
    if against is None and figure.name != "churn":
        return _report_missing(name, figure.name, "not measured for the champion", value)
    limit, margin, falls = _set_limit(figure, setting, against or 0.0)
    passed = value >= limit if falls else value <= limit
    rival = "" if figure.name == "churn" else f" (champion: {_format(against or 0.0)})"
    unit = " per 1,000 users" if figure.name in ("seconds", "bytes") else ""
    sentence = f"{name}{unit} {_format(value)}{rival}, allowed: {'at least' if falls else 'at most'} {_format(limit)}"
    return Check(
        name=name,
        kind="guardrail",
        metric=figure.name,
        figure=value,
        against=against,
        difference=None if against is None else value - against,
        margin=margin,
        verdict="pass" if passed else "fail",
        users=figure.users,
        sentence=sentence,
    )


def _set_limit(figure: Figure, setting: float, against: float) -> tuple[float, float, bool]:
    """Return the limit, its distance from the champion's figure, and whether the figure must not fall below it."""
    match figure.name:
        case "coverage":
            return (1.0 - setting) * against, setting * against, True
        case "fallback_share":
            return against + setting, setting, False
        case "churn":
            return setting, setting, False
        case _:
            return setting * against, (setting - 1.0) * against, False


def _format(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:,.0f}"


def _report_missing(name: str, metric: str, why: str, figure: float = 0.0) -> Check:
    return Check(
        name=name,
        kind="guardrail",
        metric=metric,
        figure=figure,
        verdict="cannot tell",
        users=0,
        sentence=f"{name}: skipped, {why}",
    )
