"""Tables for the terminal: they fit 80 columns with long names, and brackets are shown as they are."""

import re
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from rich.table import Table

from recsys.cli import tables
from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import Estimate
from recsys.pipelines.tuning.result import Trial, Tuned, Verdict

MODELS = ("popular_all_time", "[red]blend", "ours")
METRICS = ("ndcg", "recall", "mrr", "hit_rate", "precision", "f1", "map", "recall_ips")
EVALUATION = EvaluationConfig()


def show(table: Table, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def measure(model: str, metric: str, level: float) -> dict[str, object]:
    ours = model == "ours"
    difference = None if ours else 0.1234
    return {
        "model": model,
        "metric": metric,
        "n": 10,
        "users": 1234,
        "mean": level,
        "low": level - 0.0123,
        "high": level + 0.0123,
        "difference": difference,
        "difference_low": None if ours else 0.1111,
        "difference_high": None if ours else 0.1357,
        "p_value": None if ours else 0.0005,
    }


@pytest.fixture
def metrics() -> pl.DataFrame:
    names = (*METRICS, "novelty", "diversity", "cold_share")
    rows = [measure(model, metric, 0.1 + 0.1 * index) for index, model in enumerate(MODELS) for metric in names]
    return pl.DataFrame(rows, infer_schema_length=None)


def test_main_metric_best_first_without_folded_cells(metrics: pl.DataFrame) -> None:
    lines = show(tables.main_metric_table(metrics, EVALUATION)).splitlines()
    assert lines[0].strip() == "nDCG@10, 1,234 users, 95% intervals"
    assert [line.split()[0] for line in lines[3:]] == ["ours", "[red]blend", "popular_all_time"]
    assert "0.300 [0.288, 0.312]" in lines[3]
    assert lines[5].endswith("+0.123 [+0.111, +0.136]   ≤ 0.001")


def test_other_metrics(metrics: pl.DataFrame) -> None:
    text = show(tables.other_metrics_table(metrics, EVALUATION))
    rows = [line.split() for line in text.splitlines() if line.startswith(("ours", "popular"))]
    assert rows == [["ours", *["0.300"] * 7], ["popular_all_time", *["0.100"] * 7]]


def test_a_list_length_or_a_model_that_is_missing(metrics: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no ndcg at n = 3 .* n \[10\]; set evaluation.n"):
        tables.main_metric_table(metrics, EVALUATION.model_copy(update={"n": 3}))
    with pytest.raises(DataError, match="no rows at n = 10 for model 'ours'"):
        tables.main_metric_table(metrics.filter(pl.col("model") != "ours"), EVALUATION)


def test_beyond_accuracy(metrics: pl.DataFrame) -> None:
    catalogue = pl.DataFrame({"model": list(MODELS), "coverage": [0.1, 0.2, 0.3], "gini": [0.9, 0.8, 0.7]})
    text = show(tables.beyond_accuracy_table(metrics, catalogue, 10))
    assert text.splitlines()[-1].split() == ["ours", "0.30", "0.300", "30.0%", "30.0%", "0.70"]


def test_segments_below_what_they_are_cut_by(metrics: pl.DataFrame) -> None:
    rows = [
        {"dimension": dimension, "segment": segment, "positives": 5678, "enough": segment != "new"}
        | measure(model, "ndcg", 0.2)
        for dimension, segment in (("users", "new"), ("users", "light"), ("popularity", "head"))
        for model in MODELS
    ]
    segments = pl.DataFrame(rows, infer_schema_length=None)
    text = show(tables.segment_table(segments, "popular_all_time", EVALUATION))
    assert next(line for line in text.splitlines() if line.startswith("by ")).strip() == "by users"
    assert text.count("too few users") == 1
    assert text.count("+0.123 [+0.111, +0.136]") == 2
    with pytest.raises(DataError, match=r"no model 'nobody'; found popular_all_time, .*--against"):
        tables.segment_table(segments, "nobody", EVALUATION)


def test_sources() -> None:
    row = {"source": "item_to_item", "proposed": 1234567, "recall": 0.5, "recall_alone": 0.1, "list_share": 0.25}
    text = show(tables.source_table(pl.DataFrame([row])))
    assert text.splitlines()[-1].split() == ["item_to_item", "1,234,567", "50.0%", "10.0%", "25.0%"]


def test_a_search_shows_its_trade_offs_and_says_how_many_trials_there_were() -> None:
    def trial(number: int, quality: float, seconds: float, **changed: object) -> Trial:
        settings = {name.replace("__", "."): value for name, value in changed.items()}
        return Trial(number, "complete", settings, quality, quality - 0.01, quality + 0.01, seconds)

    plain, best = (
        trial(0, 0.1, 9.0),
        trial(
            1,
            0.2,
            20.0,
            collab__als__regularization=0.05,
            ranking__trees__leaves=31,
            candidates__sources__item_to_item__max_candidates=200,
        ),
    )
    slow = trial(2, 0.15, 30.0, collab__als__epochs=90)
    behind = {0: Estimate(-0.1, -0.12, -0.08), 1: Estimate(0.0, 0.0, 0.0), 2: Estimate(-0.05, -0.06, -0.04)}
    verdict = Verdict(best, best, [plain, best], behind, None, "trial 1 wins")
    tuned = Tuned("study", [plain, best, slow, Trial(3, "pruned", {})], verdict, 1, "", {}, Path("won.yaml"))
    text = show(tables.tuning_table(tuned, EVALUATION))
    assert "Best trade-offs: 2 of 4 trials, 1 pruned; 1 user; 95% intervals" in text
    assert "1 (wins)" in text
    assert "collab.als.regularization=0.05" in text
    assert "ranking.trees.leaves=31" in text
    assert "candidates.sources.\n    item_to_item.\n    max_candidates=200\n" in re.sub(" +\n", "\n", text)
    assert "epochs" not in text


def test_a_narrow_terminal_folds_and_cuts_nothing(metrics: pl.DataFrame) -> None:
    text = show(tables.main_metric_table(metrics, EVALUATION), width=40)
    assert "…" not in text


def test_texts_of_the_catalogue_are_printed_unchanged() -> None:
    rows = {
        "rank": [1, 2],
        "item_id": ["\x1b[31mu\x07\u202e", "[red]i"],
        "title": ["[bold]x[/bold]", "[/no] 书 😀"],
        "cosine": [0.98765, -0.5],
    }
    console = Console(width=100, force_terminal=True, record=True, file=StringIO())
    console.print(tables.nearest_table(pl.DataFrame(rows)))
    shown = console.export_text()
    for part in ("\N{REPLACEMENT CHARACTER}[31mu", "[red]i", "[bold]x[/bold]", "[/no] 书 😀", "0.9877", "−0.5000"):
        assert part in shown
    for command in ("\x07", "\u202e", "\x1b"):
        assert command not in shown
