"""The outcomes panel of the monitor's page: figures with their intervals, and labelled lines that do not overlap."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from recsys.monitoring.monitored_nights import Night
from recsys.report.monitor_page import render_monitor_page
from recsys.report.outcome_panel import make_panel

WEEK = {"sample": 0.1, "blend": 0.09, "popularity": 0.0899}


def make_night(day: int, version: str = "1", **weeks: float) -> Night:
    figures = {
        "outcomes.users": 400.0,
        "outcomes.hit_rate": 0.25,
        "outcomes.first_rank": 3.2,
        "outcomes.week.over_blend": 0.01,
        "outcomes.week.by_age.0": 0.25,
        "outcomes.week.by_age.1": 0.2,
        **{f"outcomes.week.{name}_ndcg": value for name, value in {**WEEK, **weeks}.items()},
    }
    intervals = {name: {"": [value - 0.01, value + 0.01]} for name, value in figures.items()}
    intervals["outcomes.hit_rate"]["users: <b>new"] = [0.1, 0.3]
    segments = {"outcomes.hit_rate": {"users: <b>new": 0.2}}
    return Night(f"2025-02-{day:02}", "", "s", version, "c", "calm", figures, segments, intervals=intervals)


NIGHTS = [make_night(day, version="1" if day < 9 else "2") for day in range(1, 15)]


def test_numbers_come_with_intervals() -> None:
    panel = make_panel(NIGHTS)
    assert panel is not None
    assert panel.headline == (
        "400 users chose something while the last lists were shown, 25.0% (24.0% to 26.0%) of them an item of their "
        "list; the first of them at rank 3.2 on average."
    )
    rows = {row.label: (row.value, row.interval) for table in panel.tables.values() for row in table}
    assert rows["ours"] == ("0.1", "0.09 to 0.11")
    assert rows["1 day older"] == ("20.0%", "19.0% to 21.0%")
    assert rows["users: <b>new"] == ("20.0%", "10.0% to 30.0%")


def test_lines_versions_and_labels_that_do_not_overlap() -> None:
    panel = make_panel(NIGHTS)
    assert panel is not None
    chart = str(panel.chart)
    assert re.findall(r'polyline class="line (\w+)"', chart) == ["ours", "blend", "popularity"]
    assert chart.count('class="version"') == 1
    assert "version 2" in chart
    heights = [float(at) for at in re.findall(r'<text class="\w+" x="[\d.]+" y="([\d.]+)"', chart)]
    assert len(heights) == 3
    assert min(after - before for before, after in pairwise(heights)) >= 15


def test_nights_without_outcomes() -> None:
    bare = replace(NIGHTS[0], figures={}, intervals={}, segments={})
    assert make_panel([bare]) is None
    panel = make_panel([NIGHTS[0], replace(bare, run_date="2025-02-15")])
    assert panel is not None
    assert panel.headline.startswith("No complete outcomes tonight")
    assert render_monitor_page("mini", [bare], []).count("What users did") == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(browser: Chrome, tmp_path: Path, width: int) -> None:
    alert = {
        "cause": "lists_worse",
        "sentence": "our lists got worse",
        "advice": "Look at dataset.max_events_per_user_day_and_a_name_without_a_place_to_break.",
        "since": "2025-02-14",
        "figure": "outcomes.week.over_blend",
        "meaning": "difference",
        "value": 0.01,
        "expected": 0.05,
        "low": 0.03,
        "high": None,
        "segments": [{"segment": "user: " + "x" * 60, "value": 1.0, "before": None}],
        "also": ["outcomes.week.sample_ndcg"],
        "retrain": True,
    }
    nights = [*NIGHTS[:-1], replace(NIGHTS[-1], verdict="alert", alerts=[alert], retrain=True)]
    page = tmp_path / "page.html"
    page.write_text(render_monitor_page("mini", nights, ["2025-02-13"]), encoding="utf-8")
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    charts = browser.execute_script(
        "return [...document.querySelectorAll('svg.weeks')].map((chart) => chart.getBoundingClientRect().width)"
    )
    # One of the two is shown, in the size that it was drawn for.
    assert sorted(size > 0 for size in charts) == [False, True]
    text = browser.execute_script("return document.body.innerText")
    assert text.index("1 alert · retraining would help") < text.index("ur lists got worse")
    assert text.index("ur lists got worse") < text.index("What users did with the lists")
    assert browser.get_log("browser") == []
