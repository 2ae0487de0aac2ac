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
from recsys.visuals.data_plots import plot_activity, plot_lengths, plot_long_tail, plot_timeline
from recsys.visuals.plots import (
    plot_curves,
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
    """All that stands in a figure once it is drawn; a warning while drawing is an error."""
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

    def test_the_tail_ends_at_all_touches(self) -> None:
        figure = plot_long_tail(np.array([5, 0, 1, 0]))
        assert "2 touched by nobody" in words(figure)
        held = figure.axes[1].lines[0].get_ydata()
        assert np.asarray(held) == pytest.approx([0, 5 / 6, 1, 1, 1])

    def test_nobody_and_nothing(self) -> None:
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

    def test_found_has_a_point_per_source_and_segment(self) -> None:
        config = EvaluationConfig(bootstrap_samples=100)
        found = compute_source_recall(
            positives("items: cold"), ["items: cold", "items: warm"], ["als", "text"], config, 0
        )
        shown = words(plot_source_recall(found))
        for name in ("als", "text", "union", "items: cold", "items: warm"):
            assert name in shown


class TestMatrix:
    def test_writes_every_number_and_leaves_holes_blank(self) -> None:
        values = np.array([[0.25, np.nan], [1.0, 0.0]])
        shown = words(plot_matrix(["a", "b"], ["c", "d"], values, ("rows", "columns"), ".0%"))
        for text in ("25%", "100%", "0%", "a", "d", "rows", "columns"):
            assert text in shown.split("\n")
        assert "nan" not in shown

    def test_of_nothing_but_zeros(self) -> None:
        words(plot_matrix(["a"], ["b"], np.zeros((1, 1)), ("", ""), ".0f"))


class TestMaps:
    def test_every_item_is_drawn_in_each_map(self) -> None:
        points = np.arange(16, dtype=np.float64).reshape(8, 2)
        labels = ["x"] * 4 + ["y"] * 3 + [""]
        figure = plot_maps({"before": points, "after": points}, labels, at_most=1)
        for axes in figure.axes:
            assert sum(len(one.get_offsets()) for one in axes.collections) == 8
        shown = words(figure)
        assert "x" in shown.split("\n")
        # One label has a colour; y and the item without any share the grey.
        assert "y" not in shown.split("\n")
        assert "other" in shown


class TestNothingToShow:
    def test_is_said(self) -> None:
        assert "no ndcg@10 to show" in words(plot_metric_table(empty(MetricTable), "ndcg", 10, "ours"))
        assert "no segment with ndcg@10" in words(plot_segments(empty(SegmentTable), "ndcg", 10, "ours", "als"))
        assert "no positives" in words(plot_outcomes(count_outcomes(positives("a: b"), [])))
        assert "no steps" in words(plot_curves({"loss": []}))
        assert "5 \\$" in words(plot_message("5 $"))
