"""The page of the monitor: self-contained, escaped, and complete."""

import re
from typing import Any

from recsys.monitoring.monitored_nights import Night
from recsys.report.monitor_page import render_monitor_page
from recsys.report.sparkline import draw_sparkline

ALERT: dict[str, Any] = {
    "cause": "users_lost",
    "sentence": "users are gone",
    "advice": "Check <filters>.",
    "since": "2025-02-02",
    "figure": "data.users_kept",
    "meaning": "share of earlier users that still exist",
    "value": 0.5,
    "expected": 1.0,
    "low": 0.95,
    "high": None,
    "segments": [{"segment": "users: <b>new</b>", "value": 0.25, "before": None}],
    "also": ["data.users"],
}


def make_night(run_date: str, kept: float, *alerts: dict[str, Any]) -> Night:
    return Night(
        run_date=run_date,
        end="",
        snapshot="abc",
        model_version="1",
        settings="c",
        verdict="alert" if alerts else "calm",
        figures={"data.users_kept": kept, "data.users": 10.0},
        segments={},
        expected={"data.users_kept": {"value": 1.0, "low": 0.95, "high": None}},
        alerts=list(alerts),
    )


def test_alerts_figures_and_nights() -> None:
    nights = [make_night("2025-02-01", 1.0), make_night("2025-02-02", 0.5, ALERT)]
    page = render_monitor_page("mini", nights, ["2025-02-01"])
    for part in ("1 alert", "users are gone", "50.0%", "100.0% (at least 95.0%)", "Compared with 1 good night,", "new"):
        assert part in page
    assert "<b>new" not in page
    assert "Check &lt;filters&gt;." in page
    assert page == render_monitor_page("mini", nights, ["2025-02-01"])


def test_a_calm_first_night() -> None:
    page = render_monitor_page("mini", [make_night("2025-02-01", 1.0)], [])
    assert "Calm: every figure is in its normal range" in page
    assert "Compared with 0 good nights." in page


def test_the_page_asks_for_nothing() -> None:
    page = render_monitor_page("mini", [make_night("2025-02-02", 0.5, ALERT)], [])
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import", page)


class TestSparkline:
    def test_gaps_and_bad_nights(self) -> None:
        drawn = draw_sparkline([("a", 1.0, False), ("b", None, False), ("c", 9.0, True)], 0.5, 2.0, "users")
        assert drawn.count("<circle") == 2
        assert drawn.count('class="bad"') == 1
        assert 'aria-label="users, last nights"' in drawn

    def test_nothing_to_draw(self) -> None:
        assert draw_sparkline([("a", None, False)], None, None, "users") == ""

    def test_a_far_limit_does_not_flatten_the_line(self) -> None:
        near = draw_sparkline([("a", 1.0, False), ("b", 2.0, False)], None, None, "x")
        far = draw_sparkline([("a", 1.0, False), ("b", 2.0, False)], None, 1e9, "x")
        assert re.findall("points=.*?/>", near) == re.findall("points=.*?/>", far)
