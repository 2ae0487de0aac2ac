"""Panels and the verdict, from a run's tables."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from handmade import make_config, make_home

from recsys.artifacts.runs import Run, read_run
from recsys.artifacts.snapshots import read_snapshot
from recsys.report.head import list_facts, make_head
from recsys.report.panels import compare_models, compare_segments, show_training, trace_losses
from recsys.report.serving import Serving
from recsys.report.verdict import is_blend_only, judge_metrics


@pytest.fixture
def run(handmade_home: Path) -> Run:
    return read_run(handmade_home, "mini")


@pytest.mark.parametrize(
    ("low", "high", "p", "answer", "chance"),
    [
        (0.001, 0.02, 0.0005, "Yes", "p ≤ 0.001"),
        (0.0, 0.02, 0.04, "Cannot tell", "p = 0.040"),
        (-0.02, 0.0, 1.0, "Cannot tell", "p = 1.000"),
        (-0.02, -0.001, 0.012, "No", "p = 0.012"),
    ],
)
def test_the_verdict_follows_the_interval(
    run: Run, low: float, high: float, p: float, answer: str, chance: str
) -> None:
    ends = {"difference_low": pl.lit(low), "difference_high": pl.lit(high), "p_value": pl.lit(p)}
    verdict = judge_metrics(run.metrics.with_columns(**ends), run.config.evaluation)
    assert verdict.answer == answer
    assert verdict.sentence.endswith(f"{chance}, measured on 60 users.")
    assert ("within chance" in verdict.sentence) == (answer == "Cannot tell")


def test_a_ranker_that_is_the_blend_alone_is_named(run: Run) -> None:
    same = pl.col("model") == "blend"
    names = ("difference", "difference_low", "difference_high")
    metrics = run.metrics.with_columns(pl.when(same).then(0.0).otherwise(pl.col(name)).alias(name) for name in names)
    assert is_blend_only(metrics)
    assert not is_blend_only(run.metrics)
    assert not is_blend_only(run.metrics.filter(~same))
    head = make_head(replace(run, metrics=metrics), Serving(), (), None)
    assert head.warnings[0].startswith("Ours and blend are the same lists. Ranker: ")
    title = next(
        figure.title for figure in show_training(replace(run, metrics=metrics)).figures if figure.name == "importance"
    )
    assert title == "Feature importance in trees that were tried and do not rank, the first 20"


def test_without_baselines_there_is_nothing_to_compare_with(run: Run) -> None:
    verdict = judge_metrics(run.metrics.filter(pl.col("model") == "ours"), run.config.evaluation)
    assert verdict.answer == "Nothing to compare with"
    assert verdict.sentence == "nDCG@10 0.161 [0.149, 0.174], measured on 60 users."


def test_a_baseline_that_scores_zero_gives_no_percentage(run: Run) -> None:
    others = pl.col("model") != "ours"
    metrics = run.metrics.with_columns(mean=pl.when(others).then(0.0).otherwise("mean"))
    assert judge_metrics(metrics, run.config.evaluation).sentence.startswith("nDCG@10 0.161 vs 0.000, difference ")


def test_a_run_without_baselines_segments_and_curves_makes_a_page(tmp_path: Path) -> None:
    make_home(tmp_path / "home", nights=0)
    run = read_run(tmp_path / "home", "mini")
    bare = replace(
        run,
        metrics=run.metrics.filter(pl.col("model") == "ours"),
        segments=run.segments.clear(),
        overlap=run.overlap.clear(),
        importance=run.importance.clear(),
        curves={},
    )
    assert len(compare_models(bare).grids[0].rows) == 13
    assert compare_segments(bare).notes == ("This run measured no segments.",)
    assert [figure.name for figure in trace_losses(bare).figures] == ["outcomes", "depths"]
    assert show_training(bare).figures == ()


def test_the_choice_of_the_ranker_and_differences_of_the_refit_are_notes(run: Run) -> None:
    chosen = "Ranker, chosen on the evaluation model and kept for the refit: 40 trees"
    assert show_training(run).notes[0].startswith(chosen)
    assert not any("differs" in note for note in show_training(run).notes)
    measured = run.measured | {"refit_differences": ["source text had no items", "30 trees instead of 40"]}
    assert show_training(replace(run, measured=measured)).notes[1:3] == (
        "The refit that serves differs from the evaluation model: source text had no items.",
        "The refit that serves differs from the evaluation model: 30 trees instead of 40.",
    )


def test_the_choice_of_the_encoder_is_a_note(run: Run) -> None:
    assert not any(note.startswith("Encoder") for note in show_training(run).notes)
    chosen = "text.fine_tune.untouched_share 0.5: recall@50 of 70 users in the label windows: untouched 0.1"
    assert show_training(replace(run, measured=run.measured | {"encoder": chosen})).notes[0] == (
        f"Encoder, chosen before the test window and kept for the refit: {chosen}."
    )


def test_every_outcome_has_its_own_colour_and_the_last_one_the_accent(run: Run) -> None:
    counts = [*run.measured["positives"][:4], ["lost to a rule", 7], run.measured["positives"][4]]
    figure = trace_losses(replace(run, measured=run.measured | {"positives": counts})).figures[0]
    colours = [colour for colour, _ in figure.key]
    assert len(set(colours)) == 6
    assert colours[-1] == "var(--accent)"
    assert any(text.startswith("lost to a rule ") for _, text in figure.key)


def test_a_loss_to_rules_is_shown_where_one_was_measured(run: Run) -> None:
    assert [stat.label for stat in trace_losses(run).stats[:-1]] == [
        "nDCG@10 of our lists",
        "nDCG@10 lost by retrieval",
        "nDCG@10 lost by ranking",
    ]
    losses = run.measured["losses"] | {"rules": [0.01, 0.005, 0.015]}
    shown = trace_losses(replace(run, measured=run.measured | {"losses": losses})).stats[3]
    assert (shown.label, shown.value) == ("nDCG@10 lost to rules", "0.010")


def test_segments_give_the_expected_number_of_false_alarms(run: Run) -> None:
    assert (
        compare_segments(run).notes[0].endswith("With 5 segments of enough users, expect fewer than one false alarm.")
    )


def test_the_head_of_a_run_without_times(run: Run, handmade_home: Path) -> None:
    snapshot = read_snapshot(handmade_home, "mini", make_config().dataset.model_dump(mode="json"))
    facts = dict(list_facts(run, snapshot))
    assert (facts["Data up to"], facts["Test window"]) == ("2025-02-03", "2025-01-27 to 2025-02-03")
    timeless = replace(run, facts=run.facts | {"end": None, "test_start": None, "test_end": None})
    facts = dict(list_facts(timeless, snapshot))
    assert (facts["Data up to"], facts["Test window"]) == ("all data", "without times")
