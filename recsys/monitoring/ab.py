"""A test of one variant against another: differences with intervals, whether they can be trusted, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy import stats

from recsys.config import SegmentsConfig
from recsys.evaluation.confidence_sequence import sequence_p_value, sequence_width
from recsys.evaluation.two_samples import (
    Effect,
    Sample,
    check_sample_ratio,
    compare,
    count_users_needed,
    widen,
)
from recsys.monitoring.experiment import SEGMENTS, Experiment, MetricName
from recsys.monitoring.power import predict_days

Looks = Literal["once", "daily"]
Verdict = Literal["better", "as good", "worse", "cannot tell", "not valid"]

# Below this p-value the numbers of users do not fit the planned shares.
RATIO_ALARM = 0.001
# Fewer users support no interval: in each variant, and with an outcome in both together.
MIN_USERS, MIN_USERS_WITH_OUTCOME = 30, 20
_POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """What is asked of a test.

    Attributes:
        metric: decides; the others are shown next to it.
        looks: `once`: the interval is for a single look at a planned day; `daily`: for a look every day.
        confidence: of the intervals.
        horizon_days: days after which the sequence for daily looks is narrowest.
        share: planned share of users with the treatment; None: unknown, and the numbers of users are not checked.
        lift: relative effect that matters; within it both variants are as good, and the time to show it is predicted;
            None: none.
        segments: whether new, light and heavy users are compared.
    """

    metric: MetricName = "hit"
    looks: Looks = "once"
    confidence: float = 0.95
    horizon_days: float = 28.0
    share: float | None = None
    lift: float | None = None
    segments: bool = False


@dataclass(frozen=True)
class Comparison:
    """One metric.

    Attributes:
        metric: its name.
        once: the effect with the interval for a single planned look.
        daily: the same effect with the interval for daily looks.
        p_value_daily: goes with it.
        unadjusted: the effect without the covariate; the same as `once` where none is used.
    """

    metric: MetricName
    once: Effect
    daily: Effect
    p_value_daily: float | None
    unadjusted: Effect

    def choose(self, looks: Looks) -> Effect:
        """Return the effect with the interval for these looks."""
        return self.once if looks == "once" else self.daily


@dataclass(frozen=True)
class Look:
    """The deciding metric as it was known after a night.

    Attributes:
        run_date: of the night.
        days: since the start.
        once: the effect with the interval for a single look.
        daily: with the interval for daily looks.
    """

    run_date: str
    days: float
    once: Effect
    daily: Effect


@dataclass(frozen=True)
class SampleRatio:
    """Whether the numbers of users fit the planned shares.

    Attributes:
        users: of control and treatment.
        share: planned share of the treatment.
        p_value: tiny where users were lost or added on one side.
    """

    users: tuple[int, int]
    share: float
    p_value: float

    @property
    def alarm(self) -> bool:
        """Whether the numbers do not fit."""
        return self.p_value < RATIO_ALARM


@dataclass(frozen=True)
class Prediction:
    """What it takes to show the wished lift.

    Attributes:
        lift: the wished one.
        users: of both variants together, who are observed as long as these; None where no number is enough.
        days: since the start, at the pace so far; None where more days would not help.
    """

    lift: float
    users: int | None
    days: float | None


@dataclass(frozen=True)
class SegmentEffect:
    """The deciding metric in one segment; `effect` is None where it has too few users.

    Intervals are corrected for the number of segments (Bonferroni), and are for a single planned look.
    """

    segment: str
    users: tuple[int, int]
    effect: Effect | None


@dataclass(frozen=True)
class Result:
    """A finished comparison of two variants.

    Attributes:
        variants: control and treatment.
        versions: model versions of each.
        first: first run date; last: last one.
        days: from the first list until the last list's end, or the last event.
        plan: what was asked.
        comparisons: a row per metric, the deciding one first.
        looks: the deciding metric after each night; empty for a table of users.
        sample_ratio: None where the planned share is unknown.
        smallest_lift: smallest true lift that as many users show in 80 % of tests, with the looks of the plan.
        prediction: None where no lift is wished.
        segments: empty unless asked for.
        verdict: the answer.
        sentence: the answer with its numbers.
        notes: what else a reader should know.
    """

    variants: tuple[str, str]
    versions: tuple[tuple[str, ...], tuple[str, ...]]
    first: str
    last: str
    days: float
    plan: Plan
    comparisons: tuple[Comparison, ...]
    looks: tuple[Look, ...]
    sample_ratio: SampleRatio | None
    smallest_lift: float | None
    prediction: Prediction | None
    segments: tuple[SegmentEffect, ...]
    verdict: Verdict
    sentence: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)


def compare_metric(experiment: Experiment, metric: MetricName, plan: Plan, nights: int | None = None) -> Comparison:
    """Compare the variants by one metric, as known after some nights.

    Raises:
        DataError: the outcomes lack the metric, or a variant has fewer than 2 users.
    """
    sample = experiment.sample(metric, nights)
    days = experiment.count_days(nights or len(experiment.nights))
    return compare_sample(metric, sample, days, plan)


def compare_sample(metric: MetricName, sample: Sample, days: float, plan: Plan) -> Comparison:
    """Compare two groups of users by one number each, observed for some days."""
    chosen = sample.without_useless_covariate()
    once = compare(chosen, plan.confidence, _POWER)
    unadjusted = once
    if chosen.before is not None:
        unadjusted = compare(Sample(sample.values, sample.treated), plan.confidence, _POWER)
    width = sequence_width(days, plan.horizon_days, plan.confidence)
    p_value = None
    if once.low is not None:
        p_value = sequence_p_value(once.statistic, days, plan.horizon_days, plan.confidence)
    return Comparison(metric, once, widen(once, width), p_value, unadjusted)


def list_looks(experiment: Experiment, plan: Plan) -> tuple[Look, ...]:
    """Return the deciding metric as it was known after each night on which both variants had users."""
    if experiment.outcomes is None:
        return ()
    looks = []
    for number in range(1, len(experiment.nights) + 1):
        if not experiment.has_both(number):
            continue
        compared = compare_metric(experiment, plan.metric, plan, number)
        night = experiment.nights[number - 1]
        looks.append(Look(night.run_date, experiment.count_days(number), compared.once, compared.daily))
    return tuple(looks)


def compare_segments(experiment: Experiment, config: SegmentsConfig, plan: Plan) -> tuple[SegmentEffect, ...]:
    """Compare the variants among new, light and heavy users, by their history before the test."""
    names = experiment.segment_users(config)
    if names is None:
        return ()
    sample = experiment.sample(plan.metric)
    confidence = 1 - (1 - plan.confidence) / len(SEGMENTS)
    effects = []
    for name in SEGMENTS:
        inside = names == name
        treated = int((inside & sample.treated).sum())
        users = (int(inside.sum()) - treated, treated)
        enough = min(users) >= MIN_USERS
        effect = compare(sample.select(inside).without_useless_covariate(), confidence, _POWER) if enough else None
        effects.append(SegmentEffect(name, users, effect))
    return tuple(effects)


def find_smallest_lift(effect: Effect, days: float, plan: Plan) -> float | None:
    """Return the smallest lift that shows with the looks of the plan: daily looks need a larger one."""
    if effect.smallest_lift is None or plan.looks == "once":
        return effect.smallest_lift
    needed = float(stats.norm.ppf(_POWER))
    single = float(stats.norm.ppf((1 + plan.confidence) / 2))
    return (
        effect.smallest_lift * (sequence_width(days, plan.horizon_days, plan.confidence) + needed) / (single + needed)
    )


def predict(experiment: Experiment, looks: Sequence[Look], plan: Plan) -> Prediction | None:
    """Predict what it takes to show the wished lift; None where none is wished."""
    if plan.lift is None:
        return None
    sample = experiment.sample(plan.metric).without_useless_covariate()
    users = count_users_needed(sample, plan.lift, plan.confidence, _POWER)
    known = [(look.days, find_smallest_lift(look.once, look.days, plan)) for look in looks]
    pairs = [(days, lift) for days, lift in known if lift is not None and lift > 0]
    days = predict_days([day for day, _ in pairs], [lift for _, lift in pairs], plan.lift) if pairs else None
    return Prediction(plan.lift, users, days)


def check_ratio(experiment: Experiment, plan: Plan) -> SampleRatio | None:
    """Check the numbers of users against the planned shares; None where no share is planned."""
    if plan.share is None:
        return None
    treated = int(experiment.users["treated"].sum())
    users = (experiment.users.height - treated, treated)
    return SampleRatio(users, plan.share, check_sample_ratio(*users, plan.share))


def decide(compared: Comparison, sample: Sample, ratio: SampleRatio | None, plan: Plan) -> Verdict:
    """Return the verdict on the deciding metric.

    An interval above or below 0 is *better* or *worse*; one inside plus and minus the lift that matters is *as good*;
    everything else, and data too small for an interval, is *cannot tell*. Where the numbers of users do not fit the
    planned shares the test is *not valid*, whatever it shows.
    """
    if ratio is not None and ratio.alarm:
        return "not valid"
    effect = compared.choose(plan.looks)
    if lacks_evidence(sample) or effect.low is None or effect.high is None:
        return "cannot tell"
    if effect.low > 0:
        return "better"
    if effect.high < 0:
        return "worse"
    if plan.lift is not None and effect.lift_low is not None and effect.lift_high is not None:
        return "as good" if -plan.lift < effect.lift_low and effect.lift_high < plan.lift else "cannot tell"
    return "cannot tell"


def lacks_evidence(sample: Sample) -> bool:
    """Return whether there are too few users, or too few with an outcome, for an interval to be trusted."""
    treated = int(sample.treated.sum())
    few_users = min(treated, len(sample.treated) - treated) < MIN_USERS
    return few_users or int((sample.values != 0).sum()) < MIN_USERS_WITH_OUTCOME
