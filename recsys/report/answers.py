"""The first screen: what a product manager asks, each question with a short answer and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
from markupsafe import Markup

from recsys.artifacts.runs import Run
from recsys.evaluation.comparison import OURS
from recsys.evaluation.formatting import name_metric, write_number
from recsys.evaluation.summaries import find_best_baseline, select_row
from recsys.monitoring.monitored_nights import Night as MonitoredNight
from recsys.monitoring.wording import write_figure
from recsys.progress import format_count
from recsys.registry.gate.decision import Answer as GateAnswer
from recsys.report.grids import write_p
from recsys.report.nights import Night
from recsys.report.serving import Serving
from recsys.report.sparkline import draw_sparkline
from recsys.report.trend import Training
from recsys.report.verdict import BLEND

State = Literal["good", "bad", "plain"]
_HIT_RATE = "hit_rate"
# Segments that are named; the rest are counted.
_NAMED = 2
_NIGHTS = 28
_REASON_CHARACTERS = 170


@dataclass(frozen=True)
class Answer:
    """One answered question.

    Attributes:
        label: what is asked, a few words.
        value: the answer.
        note: numbers behind it, a sentence.
        state: whether it is good or bad news; plain: neither.
        target: anchor of the panel with more.
        chart: a small drawing; None: there is none.
    """

    label: str
    value: str
    note: str
    target: str
    state: State = "plain"
    chart: Markup | None = None


def answer_questions(
    run: Run,
    serving: Serving,
    nights: Sequence[Night],
    monitored: Sequence[MonitoredNight],
    trainings: Sequence[Training],
) -> tuple[Answer, ...]:
    """Return the answers in the order of the screen.

    Args:
        run: the measurement.
        serving: the registry's view of it.
        nights: published lists, newest first.
        monitored: monitored nights, oldest first.
        trainings: of the config, oldest first.
    """
    answers = (
        answer_hits(run),
        answer_segments(run),
        answer_coverage(run),
        answer_gate(serving),
        answer_serving(serving, nights),
        answer_trainings(run, trainings),
        answer_nights(monitored),
    )
    return tuple(answer for answer in answers if answer is not None)


def answer_hits(run: Run) -> Answer | None:
    """Return how many users found something in their list, ours against the best baseline."""
    evaluation = run.config.evaluation
    rows = run.metrics.filter(pl.col("metric") == _HIT_RATE, pl.col("n") == evaluation.n)
    if rows.is_empty():
        return None
    ours, baseline = select_row(rows, model=OURS), find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    chose = f"chose at least one of their {evaluation.n} items in the test window"
    if baseline is None:
        return Answer("Users with a hit", f"{ours['mean']:.0%}", f"{chose}.", "metrics")
    theirs = select_row(rows, model=baseline["model"])
    points, low, high = (
        write_number(100 * theirs[name], 0, signed=True) if abs(theirs[name]) >= 0.005 else "0"
        for name in ("difference", "difference_low", "difference_high")
    )
    state: State = "good" if theirs["difference_low"] > 0 else "bad" if theirs["difference_high"] < 0 else "plain"
    note = f"{chose}; second figure: {baseline['model']}. Difference {points} points ({low} to {high})."
    return Answer("Users with a hit", f"{ours['mean']:.0%} vs {theirs['mean']:.0%}", note, "metrics", state)


def answer_segments(run: Run) -> Answer | None:
    """Return for whom ours is significantly worse than the best baseline."""
    evaluation = run.config.evaluation
    baseline = find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    if baseline is None:
        return None
    rows = run.segments.filter(
        pl.col("model") == baseline["model"],
        pl.col("metric") == evaluation.metric,
        pl.col("n") == evaluation.n,
        pl.col("enough"),
    )
    if rows.is_empty():
        return Answer("Worse for", "Unknown", "No segment has enough users for a comparison.", "segments")
    compared = format_count(rows.height, "segment")
    worse = list(rows.filter(pl.col("difference_high") < 0).sort("difference").iter_rows(named=True))
    if not worse:
        note = f"In none of {compared} with enough users is {baseline['model']} significantly better."
        return Answer("Worse for", "No segment", note, "segments", "good")
    shown = pl.DataFrame(worse[:_NAMED]).group_by("dimension", maintain_order=True).agg("segment")
    names = ", ".join(f"{dimension}: {', '.join(segments)}" for dimension, segments in shown.iter_rows())
    more = f" and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
    first = worse[0]
    spread = " to ".join(write_number(first[name], 3, signed=True) for name in ("difference_low", "difference_high"))
    note = (
        f"{name_metric(evaluation.metric)}@{evaluation.n} {write_number(first['difference'], 3, signed=True)} "
        f"({spread}, p {write_p(first['p_value'])}) against {baseline['model']}, "
        f"{format_count(first['users'], 'user')}; {len(worse)} of {compared}."
    )
    return Answer("Worse for", names + more, note, "segments", "bad")


def answer_coverage(run: Run) -> Answer | None:
    """Return how much of the catalogue the lists show, ours against the blend."""
    shown = dict(run.catalogue.select("model", "coverage").iter_rows())
    if OURS not in shown:
        return None
    what = "of the catalogue is in at least one list"
    if BLEND not in shown:
        return Answer("Catalogue shown", f"{shown[OURS]:.0%}", f"{what}.", "beyond")
    value = f"{shown[OURS]:.0%} vs {shown[BLEND]:.0%}"
    return Answer("Catalogue shown", value, f"{what}; second figure: the weighted blend alone.", "beyond")


def answer_gate(serving: Serving) -> Answer:
    """Return what the promotion gate decided about this run's version."""
    entry = serving.judged
    if serving.problem:
        return Answer("Gate", "Unknown", "The registry did not answer when this page was made.", "limits")
    if entry is None:
        version = f"Version {serving.version} was" if serving.version else "This run was"
        return Answer("Gate", "Not judged yet", f"{version} not given to 'recsys promote'.", "limits")
    words: dict[str, tuple[str, State]] = {
        "promote": ("Promoted", "good"),
        "refuse": ("Refused", "bad"),
        "force": ("Promoted by force", "bad"),
    }
    value, state = words[entry.action]
    answer: GateAnswer | None = serving.decision.answer if serving.decision else None
    value += f": {answer}" if answer and answer != "cannot tell" else ""
    return Answer("Gate", value, _shorten(entry.reason), "limits", state)


def answer_serving(serving: Serving, nights: Sequence[Night]) -> Answer:
    """Return which version serves, and since when."""
    lists = f"Newest lists: {nights[0].run_date}, by version {nights[0].facts['model_version']}." if nights else ""
    head = serving.champion
    if head is None or head.to_version is None:
        why = "The registry did not answer." if serving.problem else "No version was promoted yet."
        value = f"Version {nights[0].facts['model_version']}" if nights else "Nothing"
        return Answer("Serving", value, f"{why} {lists}".strip(), "drift")
    own = serving.version
    whose = "from this training" if own == head.to_version else "from another training"
    if own and own != head.to_version:
        whose += f" (this one is version {own})"
    return Answer(
        "Serving", f"Version {head.to_version}", f"{whose}, since {head.time.date()}. {lists}".strip(), "drift"
    )


def answer_trainings(run: Run, trainings: Sequence[Training]) -> Answer | None:
    """Return how the metric moved from training to training."""
    if not trainings:
        return None
    evaluation = run.config.evaluation
    metric = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    values = [training.ours["mean"] for training in trainings]
    if len(values) == 1:
        return Answer("Trainings", write_number(values[0], 3), f"{metric} of the first training.", "trend")
    points = [
        (f"{training.end}: {write_number(value, 3)}", value, False)
        for training, value in zip(trainings, values, strict=True)
    ]
    chart = draw_sparkline(points, None, None, f"{metric} of the trainings")
    value = f"{write_number(values[-2], 3)} \N{RIGHTWARDS ARROW} {write_number(values[-1], 3)}"
    return Answer("Trainings", value, f"{metric} of the last two of {len(values)} trainings.", "trend", chart=chart)


def answer_nights(monitored: Sequence[MonitoredNight]) -> Answer:
    """Return how the last nights went: what users did with the lists or, before that is known, what changed."""
    if not monitored:
        return Answer("Nights", "Not monitored", "'recsys monitor' has not checked a night yet.", "drift")
    nights = monitored[-_NIGHTS:]
    names = ("outcomes.hit_rate", "lists.churn")
    name = next((name for name in names if any(name in night.figures for night in nights)), None)
    alerts = sum(not night.good for night in nights)
    count = format_count(alerts, "night with an alert", "nights with an alert") if alerts else "no alert"
    calm = f"{count} in the last {format_count(len(nights), 'night')}."
    state: State = "bad" if not nights[-1].good else "plain"
    if name is None:
        return Answer("Nights", nights[-1].verdict.capitalize(), calm, "monitor", state)
    points = [
        (f"{night.run_date}: {write_figure(name, night.figures[name])}", night.figures[name], not night.good)
        if name in night.figures
        else (night.run_date, None, False)
        for night in nights
    ]
    newest = next(night.figures[name] for night in reversed(nights) if name in night.figures)
    what = "of users chose an item of their list" if name == names[0] else "of list items replaced last night"
    chart = draw_sparkline(points, None, None, what)
    return Answer("Nights", write_figure(name, newest), f"{what}; {calm}", "monitor", state, chart)


def _shorten(reason: str) -> str:
    text = reason[:1].upper() + reason[1:]
    return text if len(text) <= _REASON_CHARACTERS else text[: _REASON_CHARACTERS - 1].rsplit(" ", 1)[0] + " …"
