import io
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from recsys.config import EvaluationConfig
from recsys.evaluation.source_recall import compute_source_recall, count_outcomes
from recsys.tables import MetricTable, SegmentTable, empty
from recsys.visuals.curve_plots import plot_curves
from recsys.visuals.data_plots import plot_activity, plot_lengths, plot_long_tail, plot_timeline
from recsys.visuals.plots import (
    plot_importance,
    plot_ledger,
    plot_maps,
    plot_matrix,
    plot_message,
    plot_metric_table,
    plot_outcomes,
    plot_segments,
    plot_source_recall,
)

START = datetime(2025, 1, 1, tzinfo=UTC)


def words(figure: Figure) -> str:
    """All text of a figure once it is drawn; a warning while drawing is an error."""
    figure.savefig(io.BytesIO())
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_text())


def positives(segment: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": ["a", "b"],
            "item_id": ["1", "2"],
            "outcome": ["listed", "ranked below n"],
            "sources": [["text"], ["als"]],
            "segments": [[segment], [segment, "items: warm"]],
        }
    )


class TestTimeline:
    def events(self) -> pl.DataFrame:
        times = [START + timedelta(days=day, hours=hour) for day in range(20) for hour in (1, 9)]
        return pl.DataFrame({"time": times, "event": ["view", "buy $5 $"] * 20}).cast(
            {"time": pl.Datetime("us", "UTC")}
        )

    def test_shows_days_kinds_and_windows(self) -> None:
        week = timedelta(days=5)
        end = START + timedelta(days=20)
        figure = plot_timeline(self.events(), [("test", end - week, end), ("label 1", end - 2 * week, end - week)])
        shown = words(figure)
        for name in ("view", "fit", "label 1", "test", r"buy \$5 \$"):
            assert name in shown
        counts, line = figure.axes
        assert sum(bar.get_height() for bar in counts.patches) == 40
        assert [bar.get_width() for bar in line.patches] == [10, 5, 5]


class TestHistograms:
    def test_every_user_is_drawn_once(self) -> None:
        lengths = np.array([1, 1, 5, 6, 20, 21, 300])
        figure = plot_activity(lengths, 5, 20)
        assert sum(bar.get_height() for bar in figure.axes[0].patches) == 7
        for part in ("new (at most 5): 43% of users", "light: 29% of users", "heavy (more than 20): 29% of users"):
            assert part in words(figure)

    @pytest.mark.parametrize("lengths", [np.array([16, 16, 16]), np.array([3, 900, 16]), np.array([0])])
    def test_every_text_is_drawn_once(self, lengths: np.ndarray) -> None:
        figure = plot_lengths(lengths, "tokens", 16)
        assert sum(bar.get_height() for bar in figure.axes[0].patches) == len(lengths)
        assert "cut at 16" in words(figure)

    def test_the_tail_ends_at_all_interactions(self) -> None:
        figure = plot_long_tail(np.array([5, 0, 1, 0]))
        assert "2 items without users" in words(figure)
        held = figure.axes[1].lines[0].get_ydata()
        assert np.asarray(held) == pytest.approx([0, 5 / 6, 1, 1, 1])

    def test_no_users_and_no_texts(self) -> None:
        words(plot_long_tail(np.zeros(3, dtype=np.int64)))
        words(plot_activity(np.zeros(0, dtype=np.int64), 5, 20))
        words(plot_lengths(np.zeros(0, dtype=np.int64), "characters"))


class TestPositives:
    def test_outcomes_fill_each_bar(self) -> None:
        figure = plot_outcomes(count_outcomes(positives("items: cold"), ["items: cold", "items: warm"]))
        widths: dict[float, float] = {}
        for bar in figure.axes[0].patches:
            widths[bar.get_y()] = widths.get(bar.get_y(), 0) + bar.get_width()
        assert list(widths.values()) == pytest.approx([1, 1])
        assert "items: cold (2)" in words(figure)

    def test_names_are_text_not_formulas(self) -> None:
        label = r"tags: $\frac{1}{0}$"
        config = EvaluationConfig(bootstrap_samples=100)
        assert r"\$" in words(plot_outcomes(count_outcomes(positives(label), [label])))
        assert r"\$" in words(plot_source_recall(compute_source_recall(positives(label), [label], ["als"], config, 0)))

    def test_source_recall_has_a_point_per_source_and_segment(self) -> None:
        config = EvaluationConfig(bootstrap_samples=100)
        recall = compute_source_recall(
            positives("items: cold"), ["items: cold", "items: warm"], ["als", "text"], config, 0
        )
        shown = words(plot_source_recall(recall))
        for name in ("als", "text", "any source", "items: cold", "items: warm"):
            assert name in shown


class TestLedger:
    DEPTHS = pl.DataFrame({"source": ["als", "union"], "depth": [5, 5], "recall": [0.1, 0.2]})

    def test_a_loss_to_a_rule_is_shown_only_where_there_is_one(self) -> None:
        measured = {"positives": [("not proposed", 3), ("lost to a rule", 0), ("listed", 1)]}
        shown = words(plot_ledger(measured, self.DEPTHS))
        assert "not proposed 75.0%" in shown
        assert "lost to a rule" not in shown
        measured["positives"][1] = ("lost to a rule", 4)
        assert "lost to a rule 50.0%" in words(plot_ledger(measured, self.DEPTHS))

    def test_an_outcome_keeps_its_colour(self) -> None:
        def colour(outcome: str, counts: pl.DataFrame) -> object:
            handles, labels = plot_outcomes(counts).axes[0].get_legend_handles_labels()
            return handles[labels.index(outcome)].patches[0].get_facecolor()

        listed = count_outcomes(positives("items: cold"), ["items: cold"])
        lost = count_outcomes(
            positives("items: cold").with_columns(outcome=pl.Series(["listed", "lost to a rule"])), ["items: cold"]
        )
        assert colour("listed", listed) == colour("listed", lost) != colour("lost to a rule", lost)


class TestImportance:
    def test_says_how_many_features_are_left_out(self) -> None:
        importance = pl.DataFrame({"feature": ["a", "b", "c"], "gain": [3.0, 2.0, 1.0]})
        assert "(1 smaller feature not shown)" in words(plot_importance(importance, max_features=2))
        assert "not shown" not in words(plot_importance(importance))


class TestMatrix:
    def test_writes_every_number_and_leaves_holes_blank(self) -> None:
        values = np.array([[0.25, np.nan], [1.0, 0.0]])
        shown = words(plot_matrix(["a", "b"], ["c", "d"], values, ("rows", "columns"), ".0%"))
        for text in ("25%", "100%", "0%", "a", "d", "rows", "columns"):
            assert text in shown.split("\n")
        assert "nan" not in shown

    def test_zeros_only(self) -> None:
        words(plot_matrix(["a"], ["b"], np.zeros((1, 1)), ("", ""), ".0f"))


class TestMaps:
    def test_every_item_is_drawn_in_each_map(self) -> None:
        points = np.arange(16, dtype=np.float64).reshape(8, 2)
        labels = ["x"] * 4 + ["y"] * 3 + [""]
        figure = plot_maps({"before": points, "after": points}, labels, max_labels=1)
        for axes in figure.axes:
            assert sum(len(points.get_offsets()) for points in axes.collections) == 8
        shown = words(figure)
        assert "x" in shown.split("\n")
        # One label has a colour; y and the item without a label are grey.
        assert "y" not in shown.split("\n")
        assert "other" in shown


class TestNothingToShow:
    def test_shows_a_message(self) -> None:
        assert "no ndcg@10 to show" in words(plot_metric_table(empty(MetricTable), "ndcg", 10, "ours"))
        assert "no segment with ndcg@10" in words(plot_segments(empty(SegmentTable), "ndcg", 10, "ours", "als"))
        assert "no positives" in words(plot_outcomes(count_outcomes(positives("a: b"), [])))
        assert "no steps" in words(plot_curves({"loss": []}))
        assert "5 \\$" in words(plot_message("5 $"))
