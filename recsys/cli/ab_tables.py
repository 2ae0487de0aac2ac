"""Tables and remarks of `recsys ab`; each table fits 80 columns."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from recsys.cli.tables import start_table
from recsys.evaluation.two_samples import Effect
from recsys.monitoring.ab import Result
from recsys.monitoring.verdict import (
    METRIC_NAMES,
    describe_looks,
    describe_prediction,
    write_effect,
    write_mean,
)
from recsys.progress import format_count
from recsys.report.grids import write_p


def metric_table(result: Result) -> Table:
    """Lay out every metric: both means, and the lift with the interval of the plan's looks; the first one decides."""
    control, treatment = result.variants
    users = result.comparisons[0].once.users
    title = (
        f"{treatment} against {control}, {result.first} to {result.last}, "
        f"{users[1]:,} and {format_count(users[0], 'user')}"
    )
    table = start_table(title, "metric", _head(control), _head(treatment), "lift", "p")
    for number, compared in enumerate(result.comparisons):
        effect = compared.choose(result.plan.looks)
        p_value = effect.p_value if result.plan.looks == "once" else compared.p_value_daily
        means = [write_mean(compared.metric, mean) for mean in effect.means]
        cells = (METRIC_NAMES[compared.metric], *means, write_effect(effect), write_p(p_value))
        _add(table, cells, bold=number == 0)
    return table


def segment_effect_table(result: Result) -> Table:
    """Lay out the deciding metric by segment of users."""
    title = (
        f"{METRIC_NAMES[result.plan.metric]} by segment, corrected for {format_count(len(result.segments), 'segment')}"
    )
    table = start_table(title, "users", *map(_head, result.variants), "lift", "p")
    for row in result.segments:
        effect = row.effect
        counts = [f"{count:,}" for count in row.users]
        lift, p_value = ("too few users", "–") if effect is None else (write_effect(effect), write_p(effect.p_value))
        _add(table, (row.segment, *counts, lift, p_value))
    return table


def list_remarks(result: Result) -> dict[str, str]:
    """Return what the verdict rests on, by name."""
    remarks = {"interval": describe_looks(result.plan)}
    compared = result.comparisons[0]
    other = compared.daily if result.plan.looks == "once" else compared.once
    remarks["daily looks" if result.plan.looks == "once" else "single look"] = write_effect(other)
    remarks["adjustment"] = _describe_adjustment(compared.once, compared.unadjusted)
    ratio = result.sample_ratio
    if ratio is not None:
        state = "does not fit" if ratio.alarm else "fits"
        found = ratio.users[1] / sum(ratio.users)
        remarks["sample ratio"] = (
            f"{found:.2%} of the users, planned {ratio.share:.4g}: {state}, p {write_p(ratio.p_value)}"
        )
    if result.smallest_lift is not None:
        remarks["power"] = f"a true lift of ±{result.smallest_lift:.1%} would be detected in 80% of such tests"
    if result.prediction is not None:
        remarks["time"] = describe_prediction(result.prediction, result.days)
    return remarks


def _add(table: Table, cells: tuple[str, ...], *, bold: bool = False) -> None:
    # Texts, not strings: brackets in a variant's name must not be read as styles.
    table.add_row(*map(Text, cells), style="bold" if bold else None)


def _head(variant: str) -> str:
    return variant if len(variant) <= 12 else f"{variant[:11]}…"


def _describe_adjustment(once: Effect, unadjusted: Effect) -> str:
    if once.variance_left is None:
        return "none: behaviour before the test does not reduce the variance"
    return (
        f"by behaviour before the test (CUPED), which leaves {once.variance_left:.0%} of the variance; "
        f"without it {write_effect(unadjusted)}"
    )
