"""The result of a test in one place: every comparison, the verdict, and the sentence that gives its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.config import SegmentsConfig
from recsys.evaluation.formatting import format_p_value
from recsys.evaluation.two_samples import Effect
from recsys.monitoring.ab import (
    MIN_USERS,
    MIN_USERS_WITH_OUTCOME,
    Comparison,
    Plan,
    Prediction,
    Result,
    SampleRatio,
    Verdict,
    check_ratio,
    compare_metric,
    compare_segments,
    decide,
    find_smallest_lift,
    lacks_evidence,
    list_looks,
    predict,
)
from recsys.monitoring.experiment import Experiment, MetricName
from recsys.monitoring.nights import VariantNight, describe_gaps
from recsys.progress import format_count, track

# What a metric measures, for sentences.
METRIC_NAMES: dict[MetricName, str] = {
    "hit": "users with a hit",
    "hits": "hits per user",
    "ndcg": "nDCG per night",
    "conversion": "users with an event",
    "events": "events per user",
    "value": "value per user",
}
_SHARES = ("hit", "conversion")


def judge(
    experiment: Experiment,
    nights: Sequence[VariantNight],
    variants: tuple[str, str],
    plan: Plan,
    segments: SegmentsConfig,
    notes: Sequence[str] = (),
) -> Result:
    """Compare both variants by every metric and decide by that of the plan.

    Args:
        experiment: the users and their outcomes.
        nights: of `find_test`, those of the experiment first.
        variants: control and treatment.
        plan: what is asked.
        segments: where segments of users begin and end.
        notes: further remarks for the reader.

    Raises:
        DataError: the outcomes lack the metric of the plan.
    """
    days = experiment.count_days(len(experiment.nights))
    sample = experiment.sample(plan.metric)
    names = [plan.metric, *(name for name in experiment.metrics if name != plan.metric)]
    comparisons = tuple(compare_metric(experiment, name, plan) for name in track(names, "Metrics"))
    looks = list_looks(experiment, plan)
    ratio = check_ratio(experiment, plan)
    verdict = decide(comparisons[0], sample, ratio, plan)
    smallest = None if lacks_evidence(sample) else find_smallest_lift(comparisons[0].once, days, plan)
    control, treatment = (
        tuple(dict.fromkeys(version for night in nights for version in night.versions[name])) for name in variants
    )
    return Result(
        variants=variants,
        versions=(control, treatment),
        first=experiment.nights[0].run_date,
        last=experiment.nights[-1].run_date,
        days=days,
        plan=plan,
        comparisons=comparisons,
        looks=looks,
        sample_ratio=ratio,
        smallest_lift=smallest,
        prediction=predict(experiment, looks, plan),
        segments=compare_segments(experiment, segments, plan) if plan.segments else (),
        verdict=verdict,
        sentence=describe(verdict, variants, comparisons[0], ratio, smallest, plan, len(sample.treated)),
        notes=(*notes, *_note(experiment, nights, ratio, plan)),
    )


def describe(
    verdict: Verdict,
    variants: tuple[str, str],
    compared: Comparison,
    ratio: SampleRatio | None,
    smallest: float | None,
    plan: Plan,
    users: int,
) -> str:
    """Return the verdict as a sentence."""
    control, treatment = variants
    if verdict == "not valid" and ratio is not None:
        return (
            f"not valid: {format_count(ratio.users[0], 'user')} saw {control} and {ratio.users[1]:,} saw {treatment}, "
            f"but the planned share of {treatment} is {ratio.share:.4g} ({format_p_value(ratio.p_value)}); users were "
            "lost or added in one variant, so do not trust any difference; find the cause, then restart the test"
        )
    effect = compared.choose(plan.looks)
    old, new = (write_mean(plan.metric, mean) for mean in effect.means)
    measured = f"{METRIC_NAMES[plan.metric]} {new} against {old}"
    numbers = f"{measured}, {write_effect(effect)}"
    if verdict == "cannot tell" and smallest is None:
        return (
            f"cannot tell: too little data ({format_count(users, 'user')}, {measured}); an interval needs {MIN_USERS} "
            f"users per variant and {MIN_USERS_WITH_OUTCOME} users with an outcome"
        )
    if verdict == "cannot tell":
        return (
            f"cannot tell {treatment} from {control}: {numbers}; a true difference of ±{smallest:.1%} would be "
            "detected in 80% of such tests"
        )
    if verdict == "as good":
        return f"{treatment} is as good as {control}, within ±{plan.lift:.1%}: {numbers}"
    return f"{treatment} is {verdict} than {control}: {numbers}"


def describe_looks(plan: Plan) -> str:
    """Return what the leading interval is good for."""
    percent = f"{100 * plan.confidence:.4g}%"
    if plan.looks == "daily":
        return f"{percent} confidence sequence: valid at every look; stop as soon as it excludes 0"
    return f"{percent} interval for one look on a planned day; use --looks daily to look every day"


def describe_prediction(prediction: Prediction, days: float) -> str:
    """Return what it takes to show the wished lift."""
    wished = f"to detect {prediction.lift:+.1%}"
    users = (
        "no number of users is enough"
        if prediction.users is None
        else f"{format_count(prediction.users, 'user')} observed for the same time"
    )
    if prediction.days is None:
        return f"{wished}: {users}; more days with these users are not enough"
    left = max(0.0, prediction.days - days)
    if not left:
        return f"{wished}: {users}; {format_count(round(days), 'day')} are enough"
    return (
        f"{wished}: {users}, or about {format_count(round(left), 'more day')} at this pace ({prediction.days:,.0f} in "
        "total)"
    )


def write_effect(effect: Effect) -> str:
    """Write a lift with its interval in percent; the difference where there is no lift."""
    if effect.low is None or effect.high is None:
        return f"{effect.difference:+.4g}"
    if effect.lift is None or effect.lift_low is None or effect.lift_high is None:
        return _minus(f"{effect.difference:+.4g} [{effect.low:+.4g}, {effect.high:+.4g}]")
    return _minus(f"{effect.lift:+.1%} [{effect.lift_low:+.1%}, {effect.lift_high:+.1%}]")


def write_mean(metric: MetricName, mean: float) -> str:
    """Write the mean of a metric: shares of users in percent."""
    return _minus(f"{mean:.2%}" if metric in _SHARES else f"{mean:,.4f}" if abs(mean) < 100 else f"{mean:,.2f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _note(
    experiment: Experiment, nights: Sequence[VariantNight], ratio: SampleRatio | None, plan: Plan
) -> Sequence[str]:
    notes = []
    if experiment.changed:
        share = experiment.changed / (experiment.changed + experiment.users.height)
        notes.append(f"{format_count(experiment.changed, 'user')} ({share:.1%}) saw both variants and are excluded")
    if experiment.strangers:
        notes.append(f"{format_count(experiment.strangers, 'user')} of the outcomes had no list and are excluded")
    if experiment.missing:
        notes.append(f"{format_count(experiment.missing, 'user')} with a list are not in the table and count as 0")
    if unobserved := len(nights) - len(experiment.nights):
        notes.append(
            f"the events end at {experiment.observed_until:%Y-%m-%d %H:%M} UTC, before the last "
            f"{format_count(unobserved, 'night')}, which "
            f"{'is' if unobserved == 1 else 'are'} excluded"
        )
    if gaps := describe_gaps(nights):
        notes.append(f"lists {gaps}")
    if ratio is None:
        notes.append("the sample ratio was not checked, because the planned share is unknown; set it with --share")
    if experiment.outcomes is None:
        # A user table holds no days.
        notes.append("the outcomes have no dates: each value counts as observed over all nights of the test")
    if experiment.before is None:
        notes.append("no history before the test, so there is no adjustment (CUPED) and no segments")
    if plan.looks == "daily" and experiment.outcomes is None and len(experiment.nights) == 1:
        notes.append("after one night, the interval for daily looks is very wide")
    return notes
