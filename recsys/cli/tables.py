"""Tables of results for the terminal; each fits 80 columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from recsys.cli.output import find_width
from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS
from recsys.evaluation.formatting import name_metric, write_number
from recsys.progress import format_count
from recsys.report.grids import write_p, write_share, write_spread

if TYPE_CHECKING:
    from recsys.pipelines.doctor import Finding
    from recsys.pipelines.published import PublishedNight
    from recsys.pipelines.tuning.result import Trial, Tuned

_ACCURACY = ("ndcg", "recall", "mrr", "hit_rate", "precision", "f1", "map", "recall_ips")
# Heads of the table with all metrics, broken so that it fits.
_SHORT_NAMES = {"recall_ips": "recall,\nIPS", "hit_rate": "hit\nrate"}
# Columns of the table of nights that hold words.
_WORDS = ("version", "state", "followed by")
# Lines too short for numbers with their intervals on one line, as of `main_metric_table`.
_STACKED_BELOW = 72
_INTERVAL = re.compile(r"^([+−]?[\d.]+) (\[[^\[\]]+\])$")
# Longest line of a changed setting in the table of trials.
_SETTING_WIDTH = 30


def main_metric_table(metrics: pl.DataFrame, evaluation: EvaluationConfig) -> Table:
    """Lay out the metric that models are compared by, best model first.

    Args:
        metrics: a `MetricTable`.
        evaluation: names the metric, the list length and the confidence.

    Raises:
        DataError: the table lacks our model, the metric or the list length.
    """
    rows = _pick(metrics, (evaluation.metric,), evaluation.n).sort("mean", descending=True, maintain_order=True)
    name = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    title = f"{name}, {format_count(rows['users'][0], 'user')}, {100 * evaluation.confidence:.4g}% intervals"
    table = start_table(title, "model", name, "ours ahead by", "p")
    for row in rows.iter_rows(named=True):
        ahead = write_spread(row, DIFFERENCE, 3, signed=True)
        cells = (row["model"], write_spread(row, MEAN, 3), ahead, write_p(row["p_value"]))
        add_row(table, cells, bold=row["model"] == OURS)
    return table


def other_metrics_table(metrics: pl.DataFrame, evaluation: EvaluationConfig) -> Table:
    """Lay out the means of the other accuracy metrics at the same list length, in the order of the first table."""
    rows = metrics.filter(pl.col("n") == evaluation.n)
    names = [name for name in _ACCURACY if name != evaluation.metric and name in rows["metric"]]
    means = {(row["model"], row["metric"]): row["mean"] for row in rows.iter_rows(named=True)}
    order = rows.filter(pl.col("metric") == evaluation.metric).sort("mean", descending=True, maintain_order=True)
    heads = [_SHORT_NAMES.get(name, name_metric(name)) for name in names]
    table = start_table(f"Other metrics at {evaluation.n}, means", "model", *heads)
    for model in order["model"]:
        add_row(table, (model, *(write_number(means[model, name], 3) for name in names)), bold=model == OURS)
    return table


def beyond_accuracy_table(metrics: pl.DataFrame, catalogue: pl.DataFrame, n: int) -> Table:
    """Lay out what the lists show of the catalogue.

    Args:
        metrics: a `MetricTable` with novelty, diversity and cold_share at n.
        catalogue: a `CatalogueTable`.
        n: list length.
    """
    names = ("novelty", "diversity", "cold_share")
    means = {
        (row["model"], row["metric"]): row["mean"]
        for row in metrics.filter(pl.col("metric").is_in(names), pl.col("n") == n).iter_rows(named=True)
    }
    table = start_table(
        f"Lists of {n} beyond accuracy, means",
        *("model", "novelty,\nbits", "diversity", "cold\nitems", "catalogue\nshown", "Gini of\nexposure"),
    )
    for row in catalogue.iter_rows(named=True):
        novelty, diversity, cold = (means[row["model"], name] for name in names)
        cells = (write_number(novelty, 2), write_number(diversity, 3), write_share(cold), write_share(row["coverage"]))
        add_row(table, (row["model"], *cells, write_number(row["gini"], 2)), bold=row["model"] == OURS)
    return table


def segment_table(segments: pl.DataFrame, rival: str, evaluation: EvaluationConfig) -> Table:
    """Lay out ours against one other model, a row per segment below a row with what the segments are cut by.

    Args:
        segments: a `SegmentTable`.
        rival: the other model.
        evaluation: names the metric, the list length and the confidence.

    Raises:
        DataError: the table has no such rival.
    """
    models = segments["model"].unique(maintain_order=True).to_list()
    if rival not in models:
        raise DataError(
            f"segments: no model '{rival}'; found {', '.join(models) or 'none'}; choose one of these with --against"
        )
    rows = segments.filter(pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n)
    ours = rows.filter(pl.col("model") == OURS).select("dimension", "segment", pl.col("mean").alias("ours"))
    pairs = rows.filter(pl.col("model") == rival).join(ours, on=["dimension", "segment"], maintain_order="left")
    what = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    title = f"{what} by segment against {rival}, {100 * evaluation.confidence:.4g}% intervals"
    table = start_table(title, "segment", "users", "positives", "ours", "other", "ours ahead by")
    for (dimension,), segment_rows in pairs.group_by("dimension", maintain_order=True):
        add_row(table, (f"by {dimension}", *[""] * 5), bold=True)
        for row in segment_rows.iter_rows(named=True):
            # Fewer users than evaluation.segments.min_users: the means are shown, a difference would mislead.
            ahead = write_spread(row, DIFFERENCE, 3, signed=True) if row["enough"] else "too few users"
            means = (write_number(row["ours"], 3), write_number(row["mean"], 3))
            add_row(table, (f"  {row['segment']}", f"{row['users']:,}", f"{row['positives']:,}", *means, ahead))
    return table


def source_table(ledger: pl.DataFrame) -> Table:
    """Lay a `CandidateLedger` out: what each source proposed, and which share of the positives that includes."""
    table = start_table("Candidate sources", "source", "proposed", "recall", "only by it", "share of our lists")
    for row in ledger.iter_rows(named=True):
        shares = [write_share(row[name]) for name in ("recall", "recall_alone", "list_share")]
        add_row(table, (row["source"], f"{row['proposed']:,}", *shares))
    return table


def tuning_table(tuned: Tuned, evaluation: EvaluationConfig, *, full: bool = False) -> Table:
    """Lay out the trials that no other beats in both quality and run time, fastest first.

    The winner and the original config are always shown; with `full`, every complete trial is.
    """
    verdict = tuned.verdict
    chosen = {trial.number for trial in (*verdict.front, verdict.winner)}
    rows = [t for t in tuned.trials if t.state == "complete" and (full or t.number in chosen or not t.changed)]
    table = start_table(
        _title_of_search("Complete trials" if full else "Best trade-offs", tuned, len(rows), evaluation),
        *("trial, changed settings", f"{name_metric(evaluation.metric)}@{evaluation.n}"),
        *("difference to the best", "seconds"),
    )
    for trial in sorted(rows, key=lambda trial: trial.seconds):
        behind = vars(verdict.behind[trial.number])
        cells = (
            _name_trial(trial, tuned),
            write_number(trial.quality, 4),
            "best" if trial == verdict.best else write_spread(behind, ("mean", "low", "high"), 3, signed=True),
            write_number(trial.seconds, 1),
        )
        add_row(table, cells, bold=trial == verdict.winner)
    return table


def _title_of_search(what: str, tuned: Tuned, n_rows: int, evaluation: EvaluationConfig) -> str:
    states = [trial.state for trial in tuned.trials]
    others = [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    before = f" before {tuned.before[:10]}" if tuned.before else ""
    return (
        f"{what}: {n_rows} of {', '.join([format_count(len(states), 'trial'), *others])}; "
        f"{format_count(tuned.users, 'user')}{before}; {100 * evaluation.confidence:.4g}% intervals"
    )


def _name_trial(trial: Trial, tuned: Tuned) -> str:
    """Return the number of a trial, with a line for each changed setting below it."""
    name = f"{trial.number}{' (wins)' if trial == tuned.verdict.winner else ''}"
    settings = trial.describe_changes().split(", ")
    return "\n".join([name, *(f"  {_break_at_dots(setting)}" for setting in settings)])


def _break_at_dots(setting: str) -> str:
    """Break a long setting into indented lines, each after a dot of its name."""
    cut = setting.rfind(".", 0, _SETTING_WIDTH) + 1
    if len(setting) <= _SETTING_WIDTH or not cut:
        return setting
    return f"{setting[:cut]}\n    {_break_at_dots(setting[cut:])}"


def nearest_table(nearest: pl.DataFrame) -> Table:
    """Lay out the items that a search returned (`rank`, `item_id`, `title`, `cosine`)."""
    from recsys.pipelines.show import show_id

    table = start_table("", "rank", "item id", "title", "cosine", words=("rank", "item id", "title"))
    for rank, item_id, title, cosine in nearest.iter_rows():
        add_row(table, (str(rank), show_id(item_id), show_id(title), write_number(cosine, 4)))
    return table


def finding_table(findings: Sequence[Finding]) -> Table:
    """Lay out what `doctor` checked."""
    table = start_table("", "check", "state", "details", words=("state", "details"))
    for finding in findings:
        add_row(table, (finding.name, finding.state, finding.found), bold=finding.state == "problem")
    return table


def night_table(nights: Sequence[PublishedNight]) -> Table:
    """Lay out the published nights."""
    table = start_table("", "run date", "days old", "version", "users", "rows", "state", "followed by", words=_WORDS)
    for night in nights:
        version = (night.version or "?") + (f" + canary {night.canary}" if night.canary else "")
        counts = ["?" if count is None else f"{count:,}" for count in (night.users, night.rows)]
        cells = (night.run_date, str(night.age_days), version, *counts, night.state, ", ".join(night.followers))
        add_row(table, cells, bold=bool(night.followers))
    return table


def run_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out trainings: what they learned from, whether they are better than the best baseline, and their version."""
    words = ("finished", "better?", "version")
    table = start_table("", "run", *words, words=words)
    for row in rows:
        better = row["answer"] or "damaged"
        if row["baseline"] is not None:
            better += f"\n{write_number(row['ours'], 3)} vs {write_number(row['best'], 3)} {row['baseline']}"
        version = f"version {row['version']}\n{row['state']}" if row["version"] else row["state"]
        cells = (f"{row['run']}\n  snapshot {(row['snapshot'] or '?')[:12]}", row["finished"][:10], better, version)
        add_row(table, cells, bold=row["state"] == "champion")
    return table


def start_table(title: str, *heads: str, words: Sequence[str] = ()) -> Table:
    """Return an empty table; the first column and those in `words` are left-aligned, numbers right-aligned."""
    table = Table(
        title=Text(title, "bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for index, head in enumerate(heads):
        justify: Literal["left", "right"] = "left" if index == 0 or head in words else "right"
        # Names are folded first, numbers only if the terminal is too narrow even then.
        table.add_column(Text(head, no_wrap=False), justify=justify, overflow="fold", no_wrap=justify == "right")
    return table


def _pick(metrics: pl.DataFrame, names: Sequence[str], n: int) -> pl.DataFrame:
    """Return the rows of some metrics at one list length.

    Raises:
        DataError: our model or one of the metrics is missing at n.
    """
    rows = metrics.filter(pl.col("n") == n, pl.col("metric").is_in(list(names)))
    missing = sorted(set(names) - set(rows["metric"]))
    if missing or OURS not in rows["model"]:
        found = {name: metrics[name].unique(maintain_order=True).to_list() for name in ("model", "metric", "n")}
        raise DataError(
            f"metric table: no {', '.join(missing) or 'rows'} at n = {n} for model '{OURS}'; found models "
            f"{found['model']}, metrics {found['metric']}, n {found['n']}; set evaluation.n to one of those, "
            "or run 'recsys train' with this config"
        )
    return rows


def add_row(table: Table, cells: Sequence[str], *, bold: bool = False) -> None:
    """Add a row of plain texts, without control characters; where lines are short, intervals go below their numbers."""
    stacked = find_width() < _STACKED_BELOW
    shown = (_INTERVAL.sub(r"\1\n\2", cell) if stacked else cell for cell in map(_make_printable, cells))
    # Texts, not strings: brackets in a catalogue must not be read as styles.
    table.add_row(*(Text(cell, no_wrap=False) for cell in shown), style="bold" if bold else None)


def _make_printable(cell: str) -> str:
    """Return a cell without control characters; its line breaks are ours, for titles have none."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in cell)
