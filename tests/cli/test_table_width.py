"""Tables for the terminal: they fit 80 columns with long names, and brackets are shown as they are."""

import re
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from recsys.cli import tables, user_lists
from recsys.cli.output import wrap
from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import Estimate
from recsys.pipelines.explain import Contribution, Explanation
from recsys.pipelines.show import HistoryItem, ListRow, UserLists
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


EVIL = "\x1b[31mred\x1b[0m \u202eover\tride\x07"
CHINESE = "少年讀者的宇宙航行指南：第二版修訂本" * 2


@pytest.mark.parametrize("width", [60, 80])
def test_titles_neither_break_tables_nor_reach_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    titles = (EVIL, CHINESE, "שלום עולם", "plain")
    rows = [ListRow(n, f"i{n}", title, 0.5, ("als",), title, "champion", "1") for n, title in enumerate(titles, 1)]
    history = tuple(HistoryItem(f"i{n}", title, "2025-01-31T10:00", "click") for n, title in enumerate(titles))
    user = UserLists("u\x1b[2J", "2025-02-01", True, history, tuple(rows))
    added = (Contribution("item_age", 1.0, 0.5),)
    explained = [Explanation(row.rank, row.item_id, "trees", (), added) for row in rows]
    nearest = {"rank": [1, 2, 3, 4], "item_id": ["a", "b", "c", "d"], "title": titles, "cosine": [0.9, 0.8, 0.7, 0.6]}
    for table in (
        user_lists.list_table(rows),
        user_lists.list_table(rows, scores=True),
        user_lists.history_table(user, None),
        user_lists.rank_table(rows, explained),
        tables.nearest_table(pl.DataFrame(nearest)),
    ):
        text = show(table, width=width)
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
        assert max(map(cell_len, text.splitlines())) <= width
        # Both halves of the wide title are there, each character whole.
        assert text.count("宇") >= 2
    spoken = (user_lists.name_user(user), user_lists.write_history(user, None))
    shown = "\n".join(line for text in spoken for line in wrap(text, width))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert max(map(cell_len, shown.splitlines())) <= width


def test_intervals_are_below_their_numbers_where_lines_are_short(
    metrics: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = show(tables.main_metric_table(metrics, EVALUATION), width=60)
    assert max(map(cell_len, text.splitlines())) <= 60
    assert "ours\n" not in text
    assert "\nours " in text
    # Each interval is whole, on one line.
    assert text.count("[") == text.count("]") == len(re.findall(r"\[[^\[\]\n]+\]", text)) > 0
