import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from worlds import make_items

from recsys.visuals import embedding_map
from recsys.visuals.embedding_map import group_items, render_embedding_map

HOSTILE = "</script><script>alert(1)</script><!--<script>"
MARKUP = "Tea <b>for</b> two & <img src=x onerror=\"document.title='broken'\">"


class Chart(HTMLParser):
    """Extracts the chart from a page, by the rules of a browser for the end of a script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.inside = False
        self.text = ""
        self.scripts = 0
        self.feed(page)
        self.spec: dict[str, Any] = json.loads(self.text)
        self.dots: list[dict[str, Any]] = self.spec["data"]["values"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.inside = ("id", "chart") in attrs

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.text += data

    def scale(self, channel: str) -> dict[str, str]:
        scale = self.spec["encoding"][channel]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))


def unit(n: int, size: int = 4) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(n, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw(titles: list[str], groups: list[str] | None = None, weights: list[float] | None = None) -> str:
    given = np.array(weights or [1.0] * len(titles), dtype=np.float32)
    return render_embedding_map(unit(len(titles)), titles, groups, given)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "_MAX_DOTS", 6)
    monkeypatch.setattr(embedding_map, "_MIN_COLD_DOTS", 2)


# --- contents -------------------------------------------------------------------------------------------


def test_each_item_is_a_dot_with_its_title_and_group() -> None:
    chart = Chart(draw(["长夜", "كتاب الليل", HOSTILE, ""], ["war", "", "war", "tea"], [3, 0, 1, 0]))
    dots = [(dot["title"], dot["group"], dot["users"], dot["state"]) for dot in chart.dots]
    warm, cold = "with interactions", "without interactions"
    assert dots == [
        ("长夜", "war", 3, warm),
        ("كتاب الليل", "other", 0, cold),
        (HOSTILE, "war", 1, warm),
        ("", "tea", 0, cold),
    ]
    assert list(chart.scale("color")) == ["war", "tea", "other"]
    assert list(chart.scale("shape")) == [warm, cold]


def test_similar_vectors_are_close() -> None:
    vectors = np.array([[1, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    dots = Chart(render_embedding_map(vectors, list("abcd"), None, np.ones(4, dtype=np.float32))).dots
    points = np.array([[dot["x"], dot["y"]] for dot in dots])
    distances = np.linalg.norm(points[0] - points[1:], axis=1)
    assert distances[0] < 0.3 < distances[1:].min()
    assert np.abs(points).max() == 1.0


def test_the_largest_groups_have_a_colour_and_the_others_are_grey() -> None:
    # Ten groups of 1 to 10 items, and a group in the data that is named other.
    groups = [f"g{number}" for number in range(1, 11) for _ in range(number)] + ["other"] * 20
    chart = Chart(draw(["t"] * len(groups), groups))
    colours = chart.scale("color")
    assert list(colours) == ["g10", "g9", "g8", "g7", "g6", "g5", "g4", "other"]
    assert len(set(colours.values())) == 8
    assert sum(dot["group"] == "other" for dot in chart.dots) == 20 + 1 + 2 + 3


def test_groups_of_equal_size_are_sorted_by_name_and_without_groups_there_is_no_legend() -> None:
    assert list(Chart(draw(["t"] * 4, ["b", "a", "a", "b"])).scale("color")) == ["a", "b"]
    for groups in (None, [""] * 4):
        colour = Chart(draw(["t"] * 4, groups)).spec["encoding"]["color"]
        assert (colour["scale"]["domain"], colour["legend"]) == (["other"], None)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("weights", "shown"),
    [
        # All fit.
        ([0, 5, 0, 1, 0, 2], "abcdef"),
        # Most have users: two of those without, evenly spaced, and the four most popular; of equals the first.
        ([0, 1, 9, 0, 1, 0, 8, 1, 1, 0, 1], "abcefg"),
        # Few have users: all of them are shown.
        ([0, 1, 0, 0, 0, 0, 2, 0, 0, 0], "abdfgi"),
        ([0] * 12, "acegik"),
        ([*range(9, 0, -1)], "abcdef"),
    ],
)
def test_a_large_catalogue_shows_the_most_popular_items_and_some_of_the_cold(weights: list[float], shown: str) -> None:
    page = draw(list("abcdefghijkl"[: len(weights)]), None, weights)
    assert {dot["title"] for dot in Chart(page).dots} == set(shown)
    assert (f"6 of {len(weights)} items." in page) == (len(weights) > 6)


def test_a_long_title_is_cut() -> None:
    dots = Chart(draw(["书" * 100_000, "书" * 200], ["x" * 500, ""])).dots
    assert [dot["title"] for dot in dots] == ["书" * 200 + "…", "书" * 200]
    assert dots[0]["group"] == "x" * 200 + "…"


@pytest.mark.parametrize("n", [0, 1, 2])
def test_very_few_items(n: int) -> None:
    assert len(Chart(draw(["t"] * n)).dots) == n


def test_equal_vectors() -> None:
    page = render_embedding_map(np.ones((3, 4), np.float32), list("abc"), None, np.zeros(3, np.float32))
    assert {(dot["x"], dot["y"]) for dot in Chart(page).dots} == {(0.0, 0.0)}


def test_same_bytes_each_time_and_no_external_resources() -> None:
    titles, groups = [f"title {number}" for number in range(300)], [str(number % 11) for number in range(300)]
    page = draw(titles, groups)
    assert draw(titles, groups) == page
    chart = Chart(page)
    assert chart.scripts == 3
    assert "default-src 'none'; script-src 'sha256-" in page
    assert "://" not in page.split("<script", 1)[0] + json.dumps(chart.spec)


# --- groups ----------------------------------------------------------------------------------------------


def test_groups_come_from_the_first_column_with_values() -> None:
    items = make_items(
        {"item_id": "1", "tags": ["space", "war"], "studio": " ", "genre": "b"},
        {"item_id": "2", "tags": [], "studio": "", "genre": " c "},
        {"item_id": "3", "tags": [" war "]},
    )
    assert group_items(items, ["studio", "tags", "genre"]) == ["space", "", "war"]
    assert group_items(items, ["genre", "tags"]) == ["b", "c", ""]
    assert group_items(items, ["studio"]) is None
    assert group_items(items, []) is None


# --- in the browser --------------------------------------------------------------------------------------


def requested_urls(browser: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def point_at(browser: webdriver.Chrome, x: float, y: float) -> str | None:
    """Move the pointer; return the title in the tooltip of the dot, if there is one."""
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    script = "return document.querySelector('#vg-tooltip-element.visible h2')?.textContent"
    title: str | None = browser.execute_script(script)
    return title


def test_titles_are_text_and_the_map_zooms(browser: webdriver.Chrome, tmp_path: Path) -> None:
    # A cross whose longer axis is in the middle of the canvas.
    path = tmp_path / "map 书.html"
    vectors = np.array([[1, 0], [-1, 0], [0, 0.5], [0, -0.5]], dtype=np.float32)
    titles, groups = [HOSTILE, MARKUP, "c", "d"], [HOSTILE, "سيرة", "", ""]
    path.write_text(render_embedding_map(vectors, titles, groups, np.array([1, 0, 1, 1], np.float32)), "utf-8")
    browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(lambda it: it.execute_script("return document.documentElement.dataset.drawn"))
    box = browser.execute_script("return document.querySelector('#map canvas').getBoundingClientRect().toJSON()")
    y = box["y"] + box["height"] / 2
    titles_by_x = {x: point_at(browser, x, y) for x in range(2, int(box["width"]), 4)}
    assert set(titles_by_x.values()) == {HOSTILE, MARKUP, None}
    assert browser.execute_script("return document.images.length + document.querySelectorAll('b').length") == 0
    left, right = (next(x for x, title in titles_by_x.items() if title == wanted) for wanted in (MARKUP, HOSTILE))
    assert left < right
    middle = {"x": (left + right) // 2 + 9, "y": y}
    point_at(browser, **middle)
    wheel = {"type": "mouseWheel", **middle, "deltaX": 0, "deltaY": -600}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    WebDriverWait(browser, 10).until(lambda it: point_at(it, left, y) is point_at(it, right, y) is None)
    point_at(browser, **middle)
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            click = {"type": kind, **middle, "button": "left", "clickCount": count}
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", click)
    WebDriverWait(browser, 10).until(lambda it: point_at(it, left, y) == MARKUP)
    assert point_at(browser, right, y) == HOSTILE
    assert browser.title == "Embedding map"
    assert browser.get_log("browser") == []
    assert requested_urls(browser) == [path.as_uri()]
