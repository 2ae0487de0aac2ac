"""All trainings of a config over time: is it getting better?"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.artifacts.runs import Run
from recsys.config import EvaluationConfig
from recsys.errors import RecsysError
from recsys.evaluation.comparison import MEAN, OURS
from recsys.evaluation.formatting import name_metric, write_number
from recsys.evaluation.summaries import find_best_baseline, select_row
from recsys.progress import format_count
from recsys.report.chart_style import (
    ACCENT,
    INK,
    MUTED,
    Spec,
    category,
    finish,
    layer,
    mark,
    put_inline,
    quantities,
    quantity,
)
from recsys.report.grids import Grid, Row, write_spread
from recsys.report.layout import Figure, Panel
from recsys.storage.files import read_parquet
from recsys.storage.folders import read_manifest
from recsys.storage.home import runs_folder
from recsys.visuals.curves import space_labels

logger = logging.getLogger(__name__)

_SHOWN = 30
_HEIGHT = 200
_LABEL_HEIGHT = 15
# The name at the end of a line may be wider than the browser measured it.
_PADDING = {"left": 5, "top": 5, "bottom": 5, "right": 20}
_BASELINE = "best baseline"


@dataclass(frozen=True)
class Training:
    """One training in the trend.

    Attributes:
        run: its name.
        end: the day that its data ends before; `all` without times.
        ours: mean of the metric with its interval: `mean`, `low`, `high`.
        baseline: name of the best baseline.
        baseline_mean: its mean; None: ours was measured alone.
    """

    run: str
    end: str
    ours: dict[str, float]
    baseline: str
    baseline_mean: float | None


def read_trainings(home: Path, run: Run) -> list[Training]:
    """Return the newest trainings of a run's config in this home, up to that run, in the order of their data.

    Only runs with the same split and the same metric can be compared; others and damaged ones are left out.
    """
    pattern = re.compile(rf"{re.escape(run.config.name)}-(\d{{4}}-\d{{2}}-\d{{2}}|all)-[0-9a-f]{{8}}")
    folders = [path for path in sorted(runs_folder(home).iterdir()) if pattern.fullmatch(path.name)]
    found = []
    for folder in folders:
        try:
            facts = read_manifest(folder, "")
            if facts.get("protocol") != run.facts["protocol"]:
                continue
            metrics = run.metrics if folder.name == run.name else read_parquet(folder / "metrics.parquet")
            training = _make_training(folder.name, str(facts.get("end") or ""), metrics, run.config.evaluation)
        except (RecsysError, OSError, pl.exceptions.PolarsError) as error:
            logger.warning("trend: run %s is left out: %s", folder.name, error)
            continue
        if training:
            found.append(training)
    # A run that is shown again later must not be judged by its successors.
    order = sorted(found, key=lambda training: (training.end, training.run != run.name, training.run))
    place = next((index for index, training in enumerate(order) if training.run == run.name), len(order) - 1)
    return order[max(0, place + 1 - _SHOWN) : place + 1]


def _make_training(run: str, end: str, metrics: pl.DataFrame, evaluation: EvaluationConfig) -> Training | None:
    known = metrics.filter(pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n)
    if not (known["model"] == OURS).any():
        return None
    ours = select_row(known, model=OURS)
    baseline = find_best_baseline(metrics, evaluation.metric, evaluation.n)
    return Training(
        run,
        end[:10] or "all",
        {name: ours[name] for name in MEAN},
        "" if baseline is None else baseline["model"],
        None if baseline is None else baseline["mean"],
    )


def show_trend(trainings: list[Training], evaluation: EvaluationConfig) -> Panel:
    """Show our metric and the best baseline's, training by training."""
    metric = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    grid = Grid(
        "Trainings, newest first",
        ("data up to", metric, "best baseline", "run"),
        tuple(
            Row(
                (
                    training.end,
                    write_spread(training.ours, MEAN, 3),
                    f"{training.baseline} {write_number(training.baseline_mean, 3)}".strip(),
                    training.run,
                ),
                ours=index == 0,
            )
            for index, training in enumerate(reversed(trainings))
        ),
        words=("run",),
    )
    figures: tuple[Figure, ...] = ()
    note = "The first training of this config with this split. Later ones will be compared with it."
    if len(trainings) > 1:
        figures = (Figure("trend", f"{metric} of each training", draw_trend(trainings, metric)),)
        note = (
            f"{format_count(len(trainings), 'training')} of this config with the same split. Each was measured on the "
            "test window before its own end, so a change can come from the data as well as from the model. If the best "
            "baseline of the same windows changed in the same way, the data is the likely cause."
        )
    question = "Is it getting better from training to training?"
    return Panel("trend", "Trainings over time", question, figures=figures, grids=(grid,), notes=(note,))


def draw_trend(trainings: list[Training], metric: str) -> Spec:
    """Draw a line with its interval for ours, and one for the best baseline, named at their ends."""
    # Numbered: two trainings may end on the same day.
    days = [f"{number}: {training.end}" for number, training in enumerate(trainings, 1)]
    rows = pl.DataFrame(
        {
            "training": days,
            "mean": [training.ours["mean"] for training in trainings],
            "low": [training.ours["low"] for training in trainings],
            "high": [training.ours["high"] for training in trainings],
            "baseline": [training.baseline_mean for training in trainings],
            "name": [training.baseline for training in trainings],
        },
        schema_overrides={"baseline": pl.Float64},
    )
    axis = {"labelExpr": "split(datum.label, ': ')[1]", "labelAngle": 0, "labelOverlap": "greedy", "grid": False}
    x = {"field": "training", "type": "ordinal", "title": "data up to", "sort": None, "axis": axis}
    scale = {"zero": False}
    number = {"field": "training", "type": "ordinal"}
    band = mark("area", {"color": ACCENT, "opacity": 0.15}, x=x, y=quantity("low", scale=scale), y2={"field": "high"})
    ours = mark(
        "line",
        {"color": ACCENT, "strokeWidth": 2.5, "point": {"color": ACCENT, "size": 45}},
        x=x,
        y=quantity("mean", title=metric, scale=scale),
        tooltip=[number, *quantities("mean", "low", "high", pattern=".4f")],
    )
    baseline = mark(
        "line",
        {"color": MUTED, "strokeWidth": 2, "point": {"color": MUTED, "size": 30}},
        x=x,
        y=quantity("baseline"),
        tooltip=[number, category("name"), quantity("baseline", format=".4f")],
    )
    chart = {"layer": [layer(rows, band, baseline, ours), _name_ends(rows, x)]}
    described = f"{metric} of each training: ours with its interval, and the best baseline"
    return finish(chart, described, _HEIGHT) | {"padding": _PADDING}


def _name_ends(rows: pl.DataFrame, x: Spec) -> Spec:
    last = rows.row(-1, named=True)
    known = {OURS: last["mean"], _BASELINE: last["baseline"]}
    named = {name: value for name, value in known.items() if value is not None}
    values = pl.concat([rows["low"], rows["high"], rows["baseline"].drop_nulls()])
    spread = float(values.to_numpy().max()) - float(values.to_numpy().min())
    places = space_labels(list(named.values()), (spread or 1.0) * _LABEL_HEIGHT / _HEIGHT)
    # The baseline's own name: which model is the best may change from training to training.
    names = [f"{name} ({last['name']})" if name == _BASELINE else name for name in named]
    labels = pl.DataFrame({"training": last["training"], "name": names, "place": places})
    style = {"align": "left", "dx": 10, "color": INK, "fontSize": 11, "limit": 180}
    return {"data": put_inline(labels), **mark("text", style, x=x, y=quantity("place"), text=category("name"))}
