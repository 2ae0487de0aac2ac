"""The panels of the page: each a question, and the charts and tables that answer it."""

from __future__ import annotations

from itertools import cycle

import polars as pl

from recsys.artifacts.runs import Run
from recsys.evaluation.candidate_ledger import UNION, select_outcomes
from recsys.evaluation.comparison import MEAN, OURS
from recsys.evaluation.summaries import select_row
from recsys.report import charts, grids
from recsys.report.grids import name_metric, write_number, write_share
from recsys.report.head import find_rival
from recsys.report.layout import Choice, Figure, Panel, Stat

# Measured of lists as they are, whatever the users took.
_BEYOND = ("novelty", "diversity", "cold_share")
_FEATURES_DRAWN = 20


_VERDICT_KEY = (
    ("var(--accent)", "ours is better"),
    ("hollow", "cannot tell: the interval holds 0"),
    ("var(--worse)", "ours is worse"),
)


def compare_models(run: Run) -> Panel:
    """Ours beside every baseline."""
    evaluation = run.config.evaluation
    rows = run.metrics.filter(~pl.col("metric").is_in(_BEYOND))
    n_values = rows["n"].unique().sort().to_list()
    measured = {
        str(metric): sorted(part["n"].unique().to_list())
        for (metric,), part in rows.group_by("metric", maintain_order=True)
    }
    limits = {metric: " ".join(map(str, found)) for metric, found in measured.items() if len(found) < len(n_values)}
    choices = (
        Choice("metric", "Metric", {metric: name_metric(metric) for metric in measured}, evaluation.metric, limits),
        Choice("n", "List length", {str(n): str(n) for n in n_values}, str(evaluation.n), {}),
    )
    means = charts.draw_means(rows, evaluation.metric, evaluation.n)
    differences = charts.draw_differences(rows, evaluation.metric, evaluation.n)
    return Panel(
        "metrics",
        "Metrics against baselines",
        "Is it really better than simpler models, measured on the same users with the same items excluded?",
        choices=choices,
        figures=(
            Figure("means", "Mean of each model", means, wide=False),
            Figure("differences", "Ours minus each model", differences, key=_VERDICT_KEY, wide=False),
        ),
        grids=(grids.list_metrics(rows),),
        notes=(
            f"In brackets {100 * evaluation.confidence:.4g}% intervals from {evaluation.bootstrap_samples:,} bootstrap "
            "samples of the users; p says how often chance alone shows a difference this far from 0.",
        ),
    )


def compare_segments(run: Run) -> Panel:
    """Ours against a chosen model, for some users and some items."""
    evaluation = run.config.evaluation
    label = pl.concat_str(["dimension", "segment"], separator=": ").alias("label")
    rows = run.segments.filter(pl.col("n") == evaluation.n).with_columns(label)
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    others = [model for model in rows["model"].unique(maintain_order=True) if model != OURS]
    question = "For whom is it better, and for whom not?"
    if not others:
        return Panel("segments", "Segments", question, notes=("This run measured no segments.",))
    rival = find_rival(run)
    model = str(rival["model"]) if rival and rival["model"] in others else others[0]
    metric = evaluation.metric if evaluation.metric in metrics else metrics[0]
    few = evaluation.segments.min_users
    return Panel(
        "segments",
        "Segments",
        question,
        choices=(
            Choice("metric", "Metric", {one: f"{name_metric(one)}@{evaluation.n}" for one in metrics}, metric, {}),
            Choice("model", "Against", {one: one for one in others}, model, {}),
        ),
        figures=(
            Figure(
                "segments",
                "Ours minus the chosen model, by segment",
                charts.draw_segments(rows, metric, model),
                key=(*_VERDICT_KEY, ("faint", f"too few users: fewer than {few}")),
            ),
        ),
        grids=(grids.list_segments(rows),),
        notes=(
            "A segment's users are those with an item in it that they took; only these items count. Many segments are "
            "looked at, so one of them stands out now and then by chance.",
        ),
    )


def trace_losses(run: Run) -> Panel:
    """The candidate ledger."""
    ceiling = write_share(run.measured["union_recall"])
    figures = [_draw_outcomes(run), _draw_depths(run)]
    if run.overlap.height:
        options = {"found_share": "find", "proposed_share": "propose"}
        figures.append(
            Figure(
                "overlap",
                "Overlap: share of the row's items that the column has too",
                charts.draw_overlap(run.overlap),
                grids.list_overlap(run.overlap),
                choices=(Choice("share", "Of what the sources", options, "found_share", {}),),
                wide=False,
            )
        )
    return Panel(
        "ledger",
        "The candidate ledger",
        "Where were the items lost that users took and our lists did not show?",
        stats=(*_tell_losses(run), Stat(ceiling, "ceiling of recall", "of the items are found by any source")),
        figures=tuple(figures),
        grids=(grids.list_sources(run.ledger),),
    )


def _draw_outcomes(run: Run) -> Figure:
    outcomes = [(str(outcome), int(count)) for outcome, count in select_outcomes(run.measured["positives"])]
    rows = pl.DataFrame(outcomes, schema={"outcome": pl.String, "positives": pl.Int64}, orient="row")
    rows = rows.with_columns((pl.col("positives") / max(1, rows["positives"].sum())).alias("share"))
    # The last outcome is the good one: it stands in our list.
    shades = [*(f"var(--outcome-{number})" for number in range(1, len(outcomes))), "var(--accent)"]
    colours = {outcome: shade for (outcome, _), shade in zip(outcomes, shades, strict=True)}
    key = tuple(
        (colours[outcome], f"{outcome} {share:.1%}") for outcome, share in rows.select("outcome", "share").iter_rows()
    )
    title = "What became of the items that users took"
    return Figure("outcomes", title, charts.draw_outcomes(rows, colours), grids.list_outcomes(rows), key)


def _draw_depths(run: Run) -> Figure:
    sources = [name for name in run.depths["source"].unique(maintain_order=True) if name != UNION]
    colours = {**dict(zip(sources, cycle(charts.LINE_COLOURS), strict=False)), UNION: "var(--accent)"}
    key = tuple((colour, name) for name, colour in colours.items())
    spec = charts.draw_depths(run.depths, colours)
    return Figure("depths", "Recall by depth", spec, grids.list_depths(run.depths), key, wide=False)


def _tell_losses(run: Run) -> tuple[Stat, ...]:
    """Ours and the two losses, which add up to what a perfect list would reach."""
    losses = run.measured["losses"]
    what = f"{name_metric(losses['metric'])}@{losses['n']}"
    ours = select_row(run.metrics, model=OURS, metric=losses["metric"], n=losses["n"])
    told = {
        f"{what} of our lists": ([ours[name] for name in MEAN], "as measured"),
        "retrieval loss": (losses["retrieval"], "what no order of our candidates could reach"),
        "ranker loss": (losses["ranker"], "what a perfect order of them would add"),
    }
    return tuple(
        Stat(write_number(mean, 3), label, f"[{write_number(low, 3)}, {write_number(high, 3)}] {why}")
        for label, ((mean, low, high), why) in told.items()
    )


def show_training(run: Run) -> Panel:
    """Learning curves and feature importance."""
    total = max(float(run.importance["gain"].sum()), 1e-12)
    importance = run.importance.with_columns((pl.col("gain") / total).alias("share")).join(
        run.shift.select("feature", "shift"), on="feature", how="left", maintain_order="left"
    )
    curves = [
        Figure(
            f"curve-{place}",
            name.replace("_", " "),
            charts.draw_curve(name, values),
            grids.list_curve(name.replace("_", " "), values),
            wide=False,
        )
        for place, (name, values) in enumerate(run.curves.items())
        if values
    ]
    without = [name.replace("_", " ") for name, values in run.curves.items() if not values]
    features = Figure(
        "importance",
        f"Feature importance{f', the first {_FEATURES_DRAWN}' if importance.height > _FEATURES_DRAWN else ''}",
        charts.draw_importance(importance.head(_FEATURES_DRAWN)),
        grids.list_importance(importance),
    )
    return Panel(
        "training",
        "Learning curves and features",
        "Did each part learn, and what does the ranker look at?",
        figures=(*curves, *([features] if importance.height else [])),
        notes=(f"What ranks: {run.measured['ranker']}.", *(f"{name}: no steps." for name in without)),
    )


def look_beyond(run: Run) -> Panel:
    """What lists show of the catalogue."""
    n = run.config.evaluation.n
    none = pl.lit(None, dtype=pl.Float64)
    whole = run.catalogue.unpivot(["coverage", "gini"], index="model", variable_name="metric", value_name="mean")
    columns = ["model", "metric", "mean", "low", "high"]
    each = run.metrics.filter(pl.col("metric").is_in(_BEYOND), pl.col("n") == n).select(columns)
    rows = pl.concat([whole.with_columns(none.alias("low"), none.alias("high")).select(columns), each])
    rows = rows.with_columns(pl.lit(n, dtype=pl.UInt16).alias("n"))
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    return Panel(
        "beyond",
        "Beyond accuracy",
        "How much of the catalogue do the lists show, how new, how mixed?",
        choices=(Choice("metric", "Measure", {one: name_metric(one) for one in metrics}, "coverage", {}),),
        figures=(Figure("beyond", f"In the first {n} places", charts.draw_means(rows, "coverage", n)),),
        grids=(grids.list_beyond(rows),),
        notes=(
            "Coverage: share of the catalogue in anyone's list. Gini: 0 where every item is shown equally often, near "
            "1 where one takes all places. Novelty: how few users know the items. Diversity: how unlike the texts of "
            "one list are. None of them is better when higher by itself.",
        ),
    )
