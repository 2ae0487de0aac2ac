"""The first screen: answers from tables, the registry and the monitored nights."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.artifacts.runs import Run, read_run
from recsys.monitoring.monitored_nights import Night
from recsys.registry.gate.decision import Check, Decision
from recsys.registry.promotion_log import Action, Entry
from recsys.registry.run_record import RunRecord
from recsys.report.answers import answer_questions
from recsys.report.head import make_head
from recsys.report.limits import show_limits
from recsys.report.nights import find_nights
from recsys.report.serving import Serving
from recsys.report.trend import Training
from recsys.report.watch import show_watch

CHECKS = (
    Check(
        name="champion version <b>2</b>", kind="rival", metric="ndcg@10", figure=0.15, against=0.17, difference=-0.02,
        low=-0.03, high=-0.01, margin=0.003, verdict="worse", users=90, sentence="it is worse",
    ),
    Check(name="coverage", kind="guardrail", metric="coverage", figure=0.5, margin=0.1, verdict="pass", users=9,
          sentence="kept"),
    Check(name="churn", kind="guardrail", metric="churn", figure=0.5, verdict="cannot tell", users=9, sentence="few"),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(handmade_home: Path) -> Run:
    return read_run(handmade_home, "mini")


def entry(action: Action, version: str, number: int = 1) -> Entry:
    when = datetime(2025, 2, 3, 4, tzinfo=UTC)
    return Entry(
        *(number, when, "anna", "host", action, "recsys", None, version, "as good: " + "long " * 60, None, None),
        *("1.0", None, 0.0, None, {}, ""),
    )


def serving(action: Action | None, version: str = "3", champion: str = "3") -> Serving:
    record = RunRecord("id", datetime(2025, 2, 3, 3, 5, tzinfo=UTC), "1.0+abc", version)
    decision = Decision("worse", False, "worse: it is worse", CHECKS, 0.0, False)
    judged = entry(action, version) if action else None
    return Serving("", record, judged, decision if action == "refuse" else None, entry("promote", champion))


def night(day: int, verdict: str = "calm", **figures: float) -> Night:
    alert = {"sentence": "<i>fewer</i> events", "figure": "arrival.events", "value": 3.0, "expected": 9.0,
             "low": 5.0, "high": 20.0}  # fmt: skip
    return Night(
        *(f"2025-02-{day:02}", "", "s", "3", "c"),
        "alert" if verdict == "alert" else "calm",
        {name.replace("__", "."): value for name, value in figures.items()},
        {},
        alerts=[alert] if verdict == "alert" else [],
    )


def ask(run: Run, registry: Serving, nights: list[Night], trainings: list[Training]) -> dict[str, tuple[str, str]]:
    answers = answer_questions(run, registry, [], nights, trainings)
    return {answer.label: (answer.value, answer.state) for answer in answers}


def test_the_answers_of_a_measured_run_before_it_is_judged(run: Run) -> None:
    found = ask(run, replace(serving(None), champion=None), [], [])
    assert found["Users with a hit"] == ("54% vs 52%", "plain")
    assert found["Worse for"] == ("No segment", "good")
    assert found["Catalogue shown"] == ("90% vs 81%", "plain")
    assert found["Gate"] == ("Not judged yet", "plain")
    assert found["Serving"] == ("Nothing", "plain")
    assert found["Nights"] == ("Not monitored", "plain")


def test_segments_that_lose_are_named_worst_first(run: Run) -> None:
    loses = pl.col("segment").is_in(["light", "heavy", "warm"])
    worst = pl.when(loses).then(pl.col("users") / -1000)
    segments = run.segments.with_columns(
        difference=worst.otherwise("difference"), difference_high=worst.otherwise("difference_high")
    )
    (answer,) = [
        answer
        for answer in answer_questions(replace(run, segments=segments), serving(None), [], [], [])
        if answer.label == "Worse for"
    ]
    assert (answer.value, answer.state) == ("items: warm, users: light and 1 more", "bad")
    assert answer.note.startswith("nDCG@10 −0.058 (")
    assert answer.note.endswith("against text_zero_shot, 58 users; 3 of 5 segments.")


@pytest.mark.parametrize(
    ("action", "champion", "gate", "serves"),
    [
        ("promote", "3", ("Promoted", "good"), "from this training, since 2025-02-03."),
        ("refuse", "2", ("Refused: worse", "bad"), "from another training (this one is version 3), since 2025-02-03."),
        ("force", "3", ("Promoted by force", "bad"), "from this training, since 2025-02-03."),
    ],
)
def test_gate_and_champion(run: Run, action: Action, champion: str, gate: tuple[str, str], serves: str) -> None:
    answers = {answer.label: answer for answer in answer_questions(run, serving(action, "3", champion), [], [], [])}
    assert (answers["Gate"].value, answers["Gate"].state) == gate
    assert len(answers["Gate"].note) <= 172
    assert (answers["Serving"].value, answers["Serving"].note) == (f"Version {champion}", serves)


def test_a_registry_without_an_answer_leaves_the_gate_unknown(run: Run) -> None:
    assert ask(run, Serving(problem="no route"), [], [])["Gate"] == ("Unknown", "plain")
    panel = show_limits(Serving(problem="no route"), [], run.config.generation.sanity, 10)
    assert panel.notes == ("The gate's checks are not shown: no route",)


def test_trainings_and_nights_have_drawings(run: Run) -> None:
    ours = {"mean": 0.15, "low": 0.1, "high": 0.2}
    trainings = [
        Training("a", "2025-01-01", ours, "blend", 0.1),
        Training("b", "2025-01-08", {**ours, "mean": 0.16}, "", None),
    ]
    nights = [night(day, outcomes__hit_rate=0.1 + day / 100) for day in range(1, 4)]
    answers = {answer.label: answer for answer in answer_questions(run, serving(None), [], nights, trainings)}
    assert answers["Trainings"].value == "0.150 → 0.160"
    assert (answers["Nights"].value, answers["Nights"].state) == ("13.0%", "plain")
    assert all(str(answers[label].chart).startswith("<svg") for label in ("Trainings", "Nights"))
    bad = ask(run, serving(None), [*nights, night(4, "alert", lists__churn=0.4)], trainings)
    assert bad["Nights"] == ("13.0%", "bad")


def test_the_head_warns_where_the_refit_differs_and_names_times_and_code(run: Run) -> None:
    measured = run.measured | {"refit_differences": ["30 trees instead of 40"]}
    now = datetime(2025, 2, 3, 6, 7, tzinfo=UTC)
    head = make_head(replace(run, measured=measured), serving(None), (), now)
    assert head.warnings == ("What serves is not exactly what was measured: 30 trees instead of 40.",)
    assert head.made.startswith("Trained 2025-02-03 03:05 UTC by recsys 1.0+abc. Page made by recsys ")
    assert head.made.endswith(", 2025-02-03 06:07 UTC.")
    assert make_head(run, Serving(), (), None).warnings == ()


def test_limits_pass_or_fail(run: Run, handmade_home: Path) -> None:
    sanity = run.config.generation.sanity
    panel = show_limits(serving("refuse"), find_nights(handmade_home, "mini", None), sanity, 10)
    gate, lists = panel.grids
    assert [(row.cells[0], row.cells[3], row.failed) for row in gate.rows] == [
        ("champion version <b>2</b>", "worse", True),
        ("coverage", "pass", False),
        ("churn", "cannot tell", False),
    ]
    assert [row.cells[3] for row in lists.rows] == ["pass", "pass"]
    assert [(stat.value, stat.note) for stat in panel.stats] == [
        ("1 of 3", "1 failed, 1 without enough evidence"),
        ("2 of 2", ""),
    ]
    strict = sanity.model_copy(update={"max_churn": 0.1})
    rows = show_limits(Serving(), find_nights(handmade_home, "mini", None), strict, 10).grids[0].rows
    assert [row.failed for row in rows] == [True, False]


def test_the_panel_of_the_monitor_has_alerts_and_drawings() -> None:
    assert show_watch([]) is None
    nights = [night(1, lists__churn=0.2), night(2, "alert", lists__churn=0.4)]
    panel = show_watch(nights)
    assert panel is not None
    assert [stat.value for stat in panel.stats] == ["Alert", "1"]
    assert panel.grids[0].rows[0].cells == ("<i>fewer</i> events", "3", "9 (5 to 20.0)")
    assert "40.0%" in panel.drawings[0].markup
    assert panel.drawings[0].markup.count("<svg") == 1
