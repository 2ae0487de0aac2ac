"""The page in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from handmade import HOSTILE, MODELS, N_USERS
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from recsys.artifacts.runs import read_run

HANDMADE_CHARTS = {
    *("means", "differences", "segments", "outcomes", "depths", "overlap"),
    *("curve-0", "curve-1", "importance", "scores", "beyond", "trade-off", "exposure"),
}


def emulate(browser: Chrome, *, dark: bool) -> None:
    wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def load(browser: Chrome, page: Path, *, dark: bool = False, width: int = 1280) -> None:
    emulate(browser, dark=dark)
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(lambda it: it.execute_script("return document.documentElement.dataset.drawn"))


@pytest.fixture
def page(browser: Chrome, handmade_page: Path) -> Iterator[Chrome]:
    """The handmade page, fresh, light and wide; the console must stay empty."""
    load(browser, handmade_page)
    yield browser
    assert browser.get_log("browser") == []


def marks(browser: Chrome) -> dict[str, int]:
    """Drawn marks per chart: points, bars, lines and numbers, not the axes."""
    script = """
    const drawn = 'svg [class*="role-mark"] :is(path, line, text, rect)';
    const places = [...document.querySelectorAll("[data-chart]")];
    return Object.fromEntries(places.map((one) => [one.dataset.chart, one.querySelectorAll(drawn).length]));
    """
    return dict(browser.execute_script(script))


def texts(browser: Chrome, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
    return list(browser.execute_script(script, selector))


def shown_rows(browser: Chrome, panel: str) -> list[str]:
    return texts(browser, f"#{panel} > .scroll tbody tr:not([hidden]) th")


def asked_for(browser: Chrome) -> list[str]:
    """Addresses that the page asked for since it was loaded."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_chart_is_drawn_without_messages_and_without_requests(
    browser: Chrome, handmade_page: Path, dark: bool, width: int
) -> None:
    load(browser, handmade_page, dark=dark, width=width)
    drawn = marks(browser)
    assert set(drawn) == HANDMADE_CHARTS
    assert min(drawn.values()) > 0, drawn
    assert browser.get_log("browser") == []
    assert asked_for(browser) == [handmade_page.as_uri()]
    # Wide tables scroll in their own boxes, never the page.
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_real_training_makes_a_whole_page(browser: Chrome, trained_page: Path) -> None:
    load(browser, trained_page)
    drawn = marks(browser)
    assert {"means", "differences", "segments", "outcomes", "depths", "overlap", "importance", "beyond"} <= set(drawn)
    assert min(drawn.values()) > 0, drawn
    assert browser.get_log("browser") == []
    assert asked_for(browser) == [trained_page.as_uri()]
    assert len(texts(browser, "#people button")) > 10
    assert len(texts(browser, "#person tbody tr")) > 5


def test_the_policy_stops_a_script_that_is_not_ours(page: Chrome) -> None:
    page.execute_script(
        "const one = document.createElement('script'); one.textContent = 'document.title = \"broken\"';"
        "document.body.append(one); new Image().src = 'https://example.invalid/x.png';"
    )
    assert page.title != "broken"
    stopped = [entry["message"] for entry in page.get_log("browser")]
    assert len(stopped) == 2
    assert all("Content Security Policy" in message for message in stopped)


def test_charts_and_table_follow_the_choices(page: Chrome) -> None:
    assert shown_rows(page, "metrics") == ["ours", *reversed(MODELS[1:])]
    before = texts(page, "[data-chart=means] svg")[0]
    Select(page.find_element(By.ID, "metrics-metric")).select_by_value("hit_rate")
    WebDriverWait(page, 5).until(lambda it: texts(it, "[data-chart=means] svg")[0] != before)
    cells = texts(page, "#metrics > .scroll tbody tr:not([hidden]) td")
    assert cells[0].startswith("0.5373 ")
    assert len(shown_rows(page, "metrics")) == len(MODELS)


def test_a_list_length_that_a_metric_lacks_cannot_be_chosen(page: Chrome) -> None:
    length = Select(page.find_element(By.ID, "metrics-n"))
    length.select_by_value("20")
    Select(page.find_element(By.ID, "metrics-metric")).select_by_value("recall_ips")
    assert length.first_selected_option.get_attribute("value") == "10"
    assert [option.is_enabled() for option in length.options] == [False, True, False]
    assert len(shown_rows(page, "metrics")) == len(MODELS)


def test_segments_against_another_model(page: Chrome) -> None:
    Select(page.find_element(By.ID, "segments-model")).select_by_value("als")
    rows = shown_rows(page, "segments")
    assert rows[0] == "users: new (too few users)"
    assert rows[-1] == f"event: {HOSTILE}"
    assert len(rows) == 7
    doubtful = texts(page, "#segments tr.doubtful:not([hidden]) th")
    assert doubtful == ["users: new (too few users)", "items: cold (too few users)"]


def test_users_are_found_by_id_and_by_item(page: Chrome) -> None:
    assert len(texts(page, "#people button")) == N_USERS + 1
    find = page.find_element(By.ID, "find")
    find.send_keys("U17")
    assert texts(page, "#people bdi") == ["u17"]
    assert texts(page, "#person-title") == ["User u17"]
    assert texts(page, "#matches") == ["1 user of 61 found"]
    find.clear()
    find.send_keys("深夜食堂")
    here = texts(page, "#people bdi")
    assert "<i>sly</i>" in here
    assert 10 < len(here) < N_USERS + 1
    # Whoever is shown has the item somewhere, marked.
    assert set(texts(page, "#person mark")) == {"深夜食堂 第一卷"}
    find.clear()
    find.send_keys("no such item")
    assert texts(page, "#person") == ["No user found"]
    find.clear()
    find.send_keys(Keys.SPACE)
    assert len(texts(page, "#people button")) == N_USERS + 1


def test_wide_tables_say_so_on_a_narrow_screen(browser: Chrome, handmade_page: Path) -> None:
    script = """
    const boxes = [...document.querySelectorAll(".scroll")].filter((one) => one.checkVisibility());
    return boxes.map((one) => [
      one.scrollWidth > one.clientWidth + 1, getComputedStyle(one.querySelector("caption"), "::after").content]);
    """
    load(browser, handmade_page, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    shown = len(browser.execute_script(script))
    # A table that was folded is marked once it is shown.
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    WebDriverWait(browser, 5).until(lambda it: len(it.execute_script(script)) > shown)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    boxes = browser.execute_script(script)
    assert {wide for wide, _ in boxes} == {True, False}
    assert all(("scroll sideways" in hint) == wide for wide, hint in boxes)
    # The first column stays where it is, so that a reader knows whose numbers these are.
    moved = browser.execute_script("""
    const box = document.querySelector("#segments > .scroll");
    const name = box.querySelector("tbody th");
    const before = name.getBoundingClientRect().left;
    box.scrollLeft = 200;
    return [box.scrollLeft, name.getBoundingClientRect().left - before];
    """)
    assert moved == [200, 0]


def test_lists_of_the_models_are_side_by_side_with_hits_marked(page: Chrome, handmade_home: Path) -> None:
    run = read_run(handmade_home, "mini")
    user = str(run.model_lists["user_id"][0])
    page.find_element(By.ID, "find").send_keys(user)
    heads = texts(page, "#person .compared thead th")
    assert heads[:2] == ["rank", "ours"]
    assert set(heads[2:]) == {"blend", "popular"}
    taken = set(run.positives.filter(pl.col("user_id") == user)["item_id"])
    listed = run.model_lists.filter(pl.col("user_id") == user)
    hits = listed.filter(pl.col("item_id").is_in(list(taken)))
    assert hits.height
    assert len(texts(page, "#person .compared td.hit")) == hits.height
    assert all(text.startswith("✓ ") for text in texts(page, "#person .compared td.hit"))


def test_items_are_found_and_opened_from_a_list(page: Chrome) -> None:
    find = page.find_element(By.ID, "find-item")
    find.send_keys("深夜食堂")
    assert texts(page, "#item-title") == ["深夜食堂 第一卷"]
    assert texts(page, "#item caption") == ["Items with the most similar texts"]
    assert texts(page, "#item tbody th") == ["🦊 The fox & the hound", "Tea <b>for</b> two", "i05"]
    page.find_elements(By.CSS_SELECTOR, "#item .item-link")[1].click()
    assert texts(page, "#item-title") == ["Tea <b>for</b> two"]
    find.send_keys("i00")
    assert texts(page, "#item-title") == [HOSTILE]
    assert page.find_elements(By.CSS_SELECTOR, "img, i, b") == []
    find.clear()
    find.send_keys("no such item")
    assert texts(page, "#item") == ["No item found"]


def test_users_by_keyboard_alone(page: Chrome) -> None:
    page.find_element(By.ID, "find").click()
    active = page.switch_to.active_element
    active.send_keys(Keys.TAB)
    # The user of middle history with a hit is shown first.
    assert texts(page, "#people [aria-current] bdi") == [page.switch_to.active_element.text.split()[0]]
    page.switch_to.active_element.send_keys(Keys.HOME)
    assert page.switch_to.active_element.text.startswith("<i>sly</i>")
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert texts(page, "#person-title") == ["User u01"]
    assert texts(page, "#people [aria-current] bdi") == ["u01"]
    page.switch_to.active_element.send_keys(Keys.END)
    assert texts(page, "#person-title") == [f"User u{N_USERS - 1}"]
    page.switch_to.active_element.send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("aria-label") == "Recommended"
    page.find_elements(By.CSS_SELECTOR, "#people button")[5].click()
    assert texts(page, "#people [aria-current] bdi") == ["u04"]


def test_untrusted_texts_stay_texts(page: Chrome) -> None:
    page.find_element(By.ID, "find").send_keys("<i>sly</i>")
    assert texts(page, "#person-title") == ["User <i>sly</i>"]
    titles = texts(page, "#person .title")
    assert HOSTILE in titles
    assert "Tea <b>for</b> two" in titles
    assert "كتاب الليل والنهار" in titles
    # A blank title shows its item's id.
    assert "i05" in titles
    assert texts(page, "#person td.reason")[1] == "Popular <right> now"
    assert page.find_elements(By.CSS_SELECTOR, "img, i, b") == []
    assert page.title.startswith("mini: report")


def test_dark_mode_colours_page_and_marks(browser: Chrome, handmade_page: Path) -> None:
    script = """const drawn = document.querySelector('[data-chart=importance] [class*="role-mark"] path');
        return [getComputedStyle(document.body).backgroundColor, getComputedStyle(drawn).fill]"""
    load(browser, handmade_page)
    light = browser.execute_script(script)
    # While the page is open, as the system's theme changes at night.
    emulate(browser, dark=True)
    dark = browser.execute_script(script)
    assert light == ["rgb(247, 247, 244)", "rgb(0, 114, 178)"]
    assert dark == ["rgb(18, 21, 26)", "rgb(86, 180, 233)"]


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(browser: Chrome, handmade_page: Path, dark: bool) -> None:
    load(browser, handmade_page, dark=dark)
    assert browser.execute_script(_CONTRAST) == []


_CONTRAST = """
const parse = (text) => text.match(/[0-9.]+/g).map(Number);
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
const ground = (one) => {
  for (let at = one; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
for (const one of document.querySelectorAll("body *")) {
  if (!one.innerText || one.closest("svg") || !hasText(one)) continue;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push([one.tagName, one.className, one.textContent.slice(0, 30), ratio]);
}
return poor;
"""


def test_structure_for_those_who_do_not_see_it(page: Chrome) -> None:
    facts: dict[str, Any] = page.execute_script(_STRUCTURE)
    assert facts["levels"][0] == 1
    assert facts["levels"].count(1) == 1
    assert all(after - before <= 1 for before, after in zip(facts["levels"], facts["levels"][1:], strict=False))
    assert facts["titles"] == [
        "Metrics against baselines", "Segments", "The candidate ledger", "Limits", "Trainings over time", "Drift",
        "Beyond accuracy", "Exposure", "Learning curves and features", "Data", "Users", "Items",
    ]  # fmt: skip
    for name in ("unlabelled", "unnamed_charts", "bare_tables", "unnamed_buttons", "repeated_ids", "dead_links"):
        assert facts[name] == [], name


_STRUCTURE = """
const all = (selector) => [...document.querySelectorAll(selector)];
const ids = all("[id]").map((one) => one.id);
return {
  levels: all("h1, h2, h3, h4").map((one) => Number(one.tagName[1])),
  titles: all("h2").map((one) => one.textContent),
  unlabelled: all("input, select").filter((one) => !one.labels.length).map((one) => one.id),
  unnamed_charts: all("[data-chart]").filter((one) => !one.querySelector("svg[aria-label], [role][aria-label]"))
    .map((one) => one.dataset.chart),
  bare_tables: all("table").filter((one) => !one.caption || one.querySelector("thead th:not([scope=col])")
    || one.querySelector("tbody tr:not(:has(th[scope=row]))")).map((one) => one.caption?.textContent ?? "?"),
  unnamed_buttons: all("button, summary, a").filter((one) => !one.textContent.trim()).map((one) => one.outerHTML),
  repeated_ids: ids.filter((id, place) => ids.indexOf(id) !== place),
  dead_links: all("a").map((one) => one.getAttribute("href")).filter((href) => !document.querySelector(href)),
};
"""


def test_the_skip_link_is_first_and_focus_is_seen(page: Chrome) -> None:
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    first = page.switch_to.active_element
    assert first.get_attribute("href").endswith("#main")
    script = "const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.top]"
    assert page.execute_script(script) == ["solid", "16px"]


def test_numbers_are_there_without_scripts(browser: Chrome, handmade_page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(handmade_page.as_uri())
        rows = browser.find_elements(By.CSS_SELECTOR, "#metrics tbody tr")
        assert len(rows) > 100
        assert all(row.is_displayed() for row in rows[:20])
        assert not browser.find_element(By.ID, "metrics-metric").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
