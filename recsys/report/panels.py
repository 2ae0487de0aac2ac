"""The panels of the page: a question each, with the charts and tables that answer it."""

from __future__ import annotations

import polars as pl

from recsys.artifacts.runs import Run
from recsys.evaluation.candidate_ledger import UNION, select_outcomes
from recsys.evaluation.comparison import MEAN, OURS
from recsys.evaluation.formatting import name_metric, write_number
from recsys.evaluation.summaries import find_best_baseline, select_row
from recsys.progress import format_count
from recsys.report import charts, grids, ledger_charts
from recsys.report.grids import write_share
from recsys.report.layout import Choice, Figure, Panel, Stat
from recsys.report.trade_off import show_trade_off
from recsys.report.verdict import is_blend_only
from recsys.visuals.curves import split_curve
from recsys.visuals.palette import OUTCOME_ROLES, colour_sources

# Properties of the lists alone; the positives do not count.
_BEYOND = ("novelty", "diversity", "cold_share")
_FEATURES_DRAWN = 20

_VERDICT_KEY = (
    ("var(--accent)", "ours is better"),
    ("hollow", "cannot tell: the interval includes 0"),
    ("var(--worse)", "ours is worse"),
)


def compare_models(run: Run) -> Panel:
    """Compare ours with every baseline."""
    evaluation = run.config.evaluation
    rows = run.metrics.filter(~pl.col("metric").is_in(_BEYOND))
    n_values = rows["n"].unique().sort().to_list()
    measured = {
        str(metric): sorted(part["n"].unique().to_list())
        for (metric,), part in rows.group_by("metric", maintain_order=True)
    }
    limits = {
        metric: " ".join(map(str, lengths)) for metric, lengths in measured.items() if len(lengths) < len(n_values)
    }
    choices = (
        Choice("metric", "Metric", {metric: name_metric(metric) for metric in measured}, evaluation.metric, limits),
        Choice("n", "List length", {str(n): str(n) for n in n_values}, str(evaluation.n), {}),
    )
    means = charts.draw_means(rows, evaluation.metric, evaluation.n)
    differences = charts.draw_differences(rows, evaluation.metric, evaluation.n)
    return Panel(
        "metrics",
        "Metrics against baselines",
        "Is it better than simpler models, on the same users and with the same exclusions?",
        choices=choices,
        figures=(
            Figure("means", "Mean of each model", means, wide=False),
            Figure("differences", "Ours minus each model", differences, key=_VERDICT_KEY, wide=False),
        ),
        grids=(grids.list_metrics(rows),),
        notes=(
            f"In brackets: {100 * evaluation.confidence:.4g}% intervals from {evaluation.bootstrap_samples:,} "
            "bootstrap samples of the users. p: how often chance alone gives a difference at least this far from 0.",
        ),
    )


def compare_segments(run: Run) -> Panel:
    """Compare ours with a chosen model within each segment of users or items."""
    evaluation = run.config.evaluation
    label = pl.concat_str(["dimension", "segment"], separator=": ").alias("label")
    rows = run.segments.filter(pl.col("n") == evaluation.n).with_columns(label)
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    others = [model for model in rows["model"].unique(maintain_order=True) if model != OURS]
    question = "For whom is it better, and for whom is it not?"
    if not others:
        return Panel("segments", "Segments", question, notes=("This run measured no segments.",))
    baseline = find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    model = str(baseline["model"]) if baseline and baseline["model"] in others else others[0]
    metric = evaluation.metric if evaluation.metric in metrics else metrics[0]
    few = evaluation.segments.min_users
    return Panel(
        "segments",
        "Segments",
        question,
        choices=(
            Choice("metric", "Metric", {name: f"{name_metric(name)}@{evaluation.n}" for name in metrics}, metric, {}),
            Choice("model", "Against", {name: name for name in others}, model, {}),
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
            "A segment's users are those with a test positive in it, and only those positives count. "
            + _expect_false_alarms(rows.filter("enough")["label"].n_unique(), evaluation.confidence),
        ),
    )


def _expect_false_alarms(segments: int, confidence: float) -> str:
    """Say how many intervals exclude 0 by chance alone."""
    expected = round(segments * (1 - confidence))
    alarms = {0: "fewer than one false alarm", 1: "about one false alarm"}.get(
        expected, f"about {expected} false alarms"
    )
    return f"With {format_count(segments, 'segment')} of enough users, expect {alarms}."


def trace_losses(run: Run) -> Panel:
    """Show what became of the test positives, and what each source contributed."""
    ceiling = write_share(run.measured["union_recall"])
    figures = [_draw_outcomes(run), _draw_depths(run)]
    if run.overlap.height:
        options = {"found_share": "find", "proposed_share": "propose"}
        figures.append(
            Figure(
                "overlap",
                "Overlap: share of the row's items that the column also has",
                ledger_charts.draw_overlap(run.overlap),
                grids.list_overlap(run.overlap),
                choices=(Choice("share", "Of what the sources", options, "found_share", {}),),
                wide=False,
            )
        )
    return Panel(
        "ledger",
        "The candidate ledger",
        "Where were the test positives lost that our lists do not show?",
        stats=(
            *_split_losses(run),
            Stat(
                ceiling, "candidate recall", "share of the positives that any source proposed; recall cannot exceed it"
            ),
        ),
        figures=tuple(figures),
        grids=(grids.list_sources(run.ledger),),
    )


def _draw_outcomes(run: Run) -> Figure:
    outcomes = [(str(outcome), int(count)) for outcome, count in select_outcomes(run.measured["positives"])]
    rows = pl.DataFrame(outcomes, schema={"outcome": pl.String, "positives": pl.Int64}, orient="row")
    rows = rows.with_columns((pl.col("positives") / max(1, rows["positives"].sum())).alias("share"))
    colours = {outcome: f"var(--{OUTCOME_ROLES[outcome]})" for outcome, _ in outcomes}
    key = tuple(
        (colours[outcome], f"{outcome} {share:.1%}") for outcome, share in rows.select("outcome", "share").iter_rows()
    )
    title = "What became of the test positives"
    return Figure("outcomes", title, ledger_charts.draw_outcomes(rows, colours), grids.list_outcomes(rows), key)


def _draw_depths(run: Run) -> Figure:
    sources = [name for name in run.depths["source"].unique(maintain_order=True) if name != UNION]
    colours = {source: f"var(--{role})" for source, role in colour_sources(sources).items()} | {UNION: "var(--ink)"}
    spec = ledger_charts.draw_depths(run.depths, colours)
    return Figure("depths", "Recall by depth", spec, grids.list_depths(run.depths), wide=False)


def _split_losses(run: Run) -> tuple[Stat, ...]:
    """Return our metric and the losses; together they add up to the metric of a perfect list."""
    losses = run.measured["losses"]
    what = f"{name_metric(losses['metric'])}@{losses['n']}"
    ours = select_row(run.metrics, model=OURS, metric=losses["metric"], n=losses["n"])
    parts = {
        f"{what} of our lists": ([ours[name] for name in MEAN], "measured"),
        f"{what} lost by retrieval": (losses["retrieval"], "because no source proposed the item"),
        f"{what} lost by ranking": (losses["ranker"], "because it was proposed but ranked too low"),
    }
    if "rules" in losses:
        parts[f"{what} lost to rules"] = (losses["rules"], "because a rule or an exclusion removed it")
    return tuple(
        Stat(write_number(mean, 3), label, f"[{write_number(low, 3)}, {write_number(high, 3)}] {meaning}")
        for label, ((mean, low, high), meaning) in parts.items()
    )


def show_training(run: Run) -> Panel:
    """Show learning curves, feature importance and what the evaluation model decided."""
    without = [name.replace("_", " ") for name, values in run.curves.items() if not values]
    return Panel(
        "training",
        "Learning curves and features",
        "Did each part learn, and which features does the ranker use?",
        figures=(*_draw_curves(run), *([_draw_importance(run)] if run.importance.height else [])),
        notes=(
            *_describe_encoder(run),
            *_describe_ranker(run),
            *(f"{name}: not trained in this run." for name in without),
        ),
    )


def _draw_curves(run: Run) -> list[Figure]:
    parts = run.measured.get("curve_parts")
    curves = [split_curve(name, values, parts) for name, values in run.curves.items()]
    return [
        Figure(f"curve-{index}", curve.title, charts.draw_curve(curve), grids.list_curve(curve), wide=False)
        for index, curve in enumerate(curves)
        if curve.values
    ]


def _draw_importance(run: Run) -> Figure:
    total = max(float(run.importance["gain"].sum()), 1e-12)
    importance = run.importance.with_columns((pl.col("gain") / total).alias("share")).join(
        run.shift.select("feature", "shift"), on="feature", how="left", maintain_order="left"
    )
    limit = f", the first {_FEATURES_DRAWN}" if importance.height > _FEATURES_DRAWN else ""
    unused = " in trees that were tried and do not rank" if is_blend_only(run.metrics) else ""
    return Figure(
        "importance",
        f"Feature importance{unused}{limit}",
        charts.draw_importance(importance.head(_FEATURES_DRAWN)),
        grids.list_importance(importance),
    )


def _describe_encoder(run: Run) -> tuple[str, ...]:
    """Describe how much of the untouched encoder the encoder keeps, if that was left to the data."""
    chosen = run.measured.get("encoder")
    return (f"Encoder, chosen before the test window and kept for the refit: {chosen}.",) if chosen else ()


def _describe_ranker(run: Run) -> tuple[str, ...]:
    """Describe the ranker, and where the refit that serves differs from the model that was measured."""
    measured = run.measured
    return (
        f"Ranker, chosen on the evaluation model and kept for the refit: {measured['ranker']}.",
        *(
            f"The refit that serves differs from the evaluation model: {difference.rstrip('.')}."
            for difference in measured.get("refit_differences") or ()
        ),
    )


def show_beyond_accuracy(run: Run) -> Panel:
    """Show what the lists present of the catalogue, whatever users interacted with."""
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
        "How much of the catalogue do the lists show, how new and how diverse are they, and what does that cost?",
        figures=(
            show_trade_off(run),
            Figure(
                "beyond",
                f"One measure of the lists of {n}",
                charts.draw_means(rows, "coverage", n),
                choices=(Choice("metric", "Measure", {name: name_metric(name) for name in metrics}, "coverage", {}),),
            ),
        ),
        grids=(grids.list_beyond(rows),),
        notes=(
            "Coverage: share of the catalogue in at least one list. Gini: 0 if every item is shown equally often, near "
            "1 if one item fills all lists. Novelty: how few users have interacted with the items. Diversity: how "
            "different the texts within a list are. Higher is not always better.",
        ),
    )
