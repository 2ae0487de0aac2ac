"""Tables of the page: the numbers behind the charts, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS
from recsys.evaluation.drift import ListDrift, ScoreDrift
from recsys.evaluation.formatting import name_metric, write_number
from recsys.visuals.curves import Curve


@dataclass(frozen=True)
class Row:
    """One row: a name, then cells.

    Attributes:
        cells: texts, the first the name of the row.
        ours: highlighted.
        doubtful: too few users for a conclusion.
        failed: a limit that was not kept.
        chosen: values of the panel's choices for which the row is shown; empty: always shown.
    """

    cells: tuple[str, ...]
    ours: bool = False
    doubtful: bool = False
    failed: bool = False
    chosen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        caption: what it shows.
        head: column heads; the first column names the rows.
        rows: from top to bottom.
        words: headings of the text columns other than the first.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    words: tuple[str, ...] = ()


def write_spread(row: Mapping[str, Any], names: tuple[str, str, str], digits: int = 4, *, signed: bool = False) -> str:
    """Write a mean with its interval, as `0.123 [0.110, 0.136]`; a dash for None."""
    middle, low, high = (write_number(row[name], digits, signed=signed) for name in names)
    return "–" if row[names[0]] is None else f"{middle} [{low}, {high}]"


def write_p(value: float | None) -> str:
    """Write a p-value rounded up to three digits, so that none shows as 0; the smallest is a bound."""
    if value is None:
        return "–"
    thousandths = math.ceil(1000 * value - 1e-9)
    return "≤ 0.001" if thousandths <= 1 else f"{thousandths / 1000:.3f}"


def list_metrics(rows: pl.DataFrame) -> Grid:
    """Lay `MetricTable` rows out, best first within each metric and n; switched by `metric` and `n`."""
    ordered = rows.sort("mean", descending=True, maintain_order=True)
    return Grid(
        "Each model's mean with its interval, and ours minus that model, paired by user",
        ("model", "mean", "ours minus model", "p"),
        tuple(
            Row(
                (
                    row["model"],
                    write_spread(row, MEAN),
                    write_spread(row, DIFFERENCE, signed=True),
                    write_p(row["p_value"]),
                ),
                ours=row["model"] == OURS,
                chosen={"metric": row["metric"], "n": str(row["n"])},
            )
            for row in ordered.iter_rows(named=True)
        ),
    )


def list_segments(rows: pl.DataFrame) -> Grid:
    """Lay `SegmentTable` rows with their `label` out, ours and the other; switched by `metric` and `model`."""
    keys = ["label", "metric"]
    ours = rows.filter(pl.col("model") == OURS).select(*keys, *(pl.col(name).alias(f"our_{name}") for name in MEAN))
    pairs = rows.filter(pl.col("model") != OURS).join(ours, on=keys, how="left", maintain_order="left")
    return Grid(
        "Ours and the chosen model, by segment",
        ("segment", "users", "positives", "ours", "other", "ours minus other", "p"),
        tuple(
            Row(
                (
                    row["label"] if row["enough"] else f"{row['label']} (too few users)",
                    f"{row['users']:,}",
                    f"{row['positives']:,}",
                    write_spread(row, ("our_mean", "our_low", "our_high")),
                    write_spread(row, MEAN),
                    write_spread(row, DIFFERENCE, signed=True),
                    write_p(row["p_value"]),
                ),
                doubtful=not row["enough"],
                chosen={"metric": row["metric"], "model": row["model"]},
            )
            for row in pairs.iter_rows(named=True)
        ),
    )


def list_outcomes(outcomes: pl.DataFrame) -> Grid:
    """Lay out what became of the positives (`outcome`, `positives`, `share`)."""
    rows = (Row((outcome, f"{count:,}", write_share(share))) for outcome, count, share in outcomes.iter_rows())
    return Grid("What became of the test positives", ("outcome", "positives", "share"), tuple(rows))


def list_sources(ledger: pl.DataFrame) -> Grid:
    """Lay a `CandidateLedger` out."""
    shares = ("recall", "recall_alone", "list_share")
    return Grid(
        "What each source proposed, and the positives among it",
        ("source", "proposed", "positives found", "recall", "found by it alone", "share of our lists"),
        tuple(
            Row((row["source"], f"{row['proposed']:,}", f"{row['found']:,}", *(f"{row[name]:.1%}" for name in shares)))
            for row in ledger.iter_rows(named=True)
        ),
    )


def list_depths(depths: pl.DataFrame) -> Grid:
    """Lay `LedgerDepths` out, a row per depth and a column per source."""
    wide = depths.pivot("source", index="depth", values="recall").sort("depth")
    rows = (Row((f"{depth:,}", *(write_share(share) for share in shares))) for depth, *shares in wide.iter_rows())
    return Grid("Recall by number of items proposed per user", tuple(wide.columns), tuple(rows))


def list_overlap(overlap: pl.DataFrame) -> Grid:
    """Lay `LedgerOverlap` out, a row per source and a column per other; switched by `share`."""

    def rows() -> Iterator[Row]:
        for share in ("found_share", "proposed_share"):
            wide = overlap.pivot("other", index="source", values=share)
            for source, *shares in wide.iter_rows():
                yield Row((source, *(write_share(share) for share in shares)), chosen={"share": share})

    others = overlap["other"].unique(maintain_order=True)
    return Grid("Share of the row's items that the column also has", ("source", *others), tuple(rows()))


def list_curve(curve: Curve) -> Grid:
    """Lay a learning curve out."""
    several = len(curve.parts) > 1
    rows = (Row((f"{at:,}{f' ({part})' if several else ''}", write_number(value))) for part, at, value in curve.values)
    return Grid(curve.title, (curve.unit, "value"), tuple(rows))


def list_importance(importance: pl.DataFrame) -> Grid:
    """Lay out `feature`, `gain`, `share`, `loss` and `shift`, which is null for the blend."""
    rows = (
        Row(
            (
                row["feature"],
                f"{row['gain']:,.1f}",
                f"{row['share']:.1%}",
                write_number(row["loss"], 4),
                write_number(row["shift"], 2),
            )
        )
        for row in importance.iter_rows(named=True)
    )
    columns = ("feature", "gain", "share", "loss when shuffled", "shift")
    return Grid("Total gain of each feature in the trees, and nDCG lost when it is shuffled", columns, tuple(rows))


def list_beyond(rows: pl.DataFrame) -> Grid:
    """Lay `model`, `metric`, `mean`, `low`, `high` out, a row per model and a column per metric."""
    metrics = rows["metric"].unique(maintain_order=True)
    cells = {(row["model"], row["metric"]): row for row in rows.iter_rows(named=True)}

    def write(model: str, metric: str) -> str:
        row = cells.get((model, metric))
        if row is None:
            return "–"
        return write_number(row["mean"], 3) if row["low"] is None else write_spread(row, MEAN, 3)

    return Grid(
        "What each model's lists show of the catalogue",
        ("model", *map(name_metric, metrics)),
        tuple(
            Row((model, *(write(model, metric) for metric in metrics)), ours=model == OURS)
            for model in rows["model"].unique(maintain_order=True)
        ),
    )


def list_nights(lists: ListDrift, scores: ScoreDrift | None) -> Grid:
    """Lay out how much two nights differ, each number with its meaning."""
    facts = [
        ("users in both nights", f"{lists.users:,}", ""),
        (
            "list items replaced",
            write_share(lists.churn),
            "mean share of a user's items that were not there the night before",
        ),
        ("Jaccard", write_number(lists.jaccard, 3), "items in both lists over items in either; 1: the same items"),
        ("rank-biased overlap", write_number(lists.rbo, 3), "1: the same items in the same order"),
        ("new users", write_share(lists.users_new), "share of this night's users without a list the night before"),
        ("users gone", write_share(lists.users_gone), "share of the users before who have no list this night"),
        ("new items", write_share(lists.items_new), "share of this night's items that no list had the night before"),
    ]
    if scores:
        facts += [
            (
                "PSI of the scores",
                write_number(scores.psi, 3),
                "rule of thumb: stable below 0.1, a large shift above 0.25",
            ),
            ("KS of the scores", write_number(scores.ks, 3), "largest gap between the two cumulative distributions"),
        ]
    return Grid("This night and the one before", ("measure", "value", "meaning"), tuple(map(Row, facts)), ("meaning",))


def list_bins(bins: pl.DataFrame) -> Grid:
    """Lay the score bins (`bin`, `night`, `share`) out, a row per bin."""
    wide = bins.pivot("night", index="bin", values="share").select("bin", "before", "now")
    rows = (Row((name, write_share(before), write_share(now))) for name, before, now in wide.iter_rows())
    return Grid("Share of the scores in each bin", ("score", "before", "now"), tuple(rows))


def write_share(share: float | None) -> str:
    """Write a share as a percentage; a dash for None."""
    return "–" if share is None else f"{share:.1%}"
