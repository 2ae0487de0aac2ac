"""`recsys ab`: lists of two variants, outcomes in every form, and what is printed."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from lists_of_two import make_config, make_lists, make_shop, publish_lists
from miniature import read_files
from shell import Answer, Call, expect

CONFIG = make_config()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    """A home whose challenger's lists work better, and the events that followed."""
    home = tmp_path_factory.mktemp("shop") / "home 家"
    return home, make_shop(home, CONFIG, users=1200, nights=6, effect=0.8, share=0.5, seed=3)


@pytest.fixture
def ask(call: Call, write_config: Callable[..., Path], shop: tuple[Path, pl.DataFrame], tmp_path: Path) -> Call:
    """Run `recsys ab` on a table that is written first, or without one."""

    def run(table: pl.DataFrame | None, *options: object, home: Path = shop[0], name: str = "new.csv") -> Answer:
        path = tmp_path / name
        if table is not None:
            table.write_csv(path)
        return call("ab", *([] if table is None else [path]), "-c", write_config(), *options, home=home)

    return run


def test_the_printed_result(ask: Call, shop: tuple[Path, pl.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_files(shop[0])
    answer = ask(shop[1], "--effect", 0.05, "--segments")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert "challenger against champion, 2025-03-01 to 2025-03-06, " in answer.out
    assert "users with a hit" in answer.out
    assert lines[0].startswith("challenger is better than champion: users with a hit ")
    assert "against" in lines[0]
    for part in (
        "CUPED",
        "sample ratio",
        "fits, p",
        "power ",
        "to detect +5.0%",
        "corrected for 3 segments",
        "daily looks",
    ):
        assert part in answer.out
    assert read_files(shop[0]) == before


def test_tables_fit_80_columns(shop: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
    from io import StringIO

    from miniature import NOW
    from rich.console import Console

    from recsys.cli.ab_tables import metric_table, segment_effect_table
    from recsys.monitoring.ab import Plan
    from recsys.pipelines.ab import Question, run_ab

    shop[1].write_csv(tmp_path / "new.csv")
    result = run_ab(CONFIG, shop[0], str(tmp_path / "new.csv"), Question(Plan(segments=True, looks="daily")), NOW)
    out = StringIO()
    for table in (metric_table(result), segment_effect_table(result)):
        Console(file=out, width=80).print(table)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    # No row is folded: a title, heads, a line and a row per metric or segment.
    assert len([line for line in text.splitlines() if line.strip()]) <= 3 + 5 + 3 + 3 + 2


def test_json_and_daily_looks(ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
    once = json.loads(ask(shop[1], "--json").out)
    daily = json.loads(ask(shop[1], "--json", "--looks", "daily").out)
    assert once["comparisons"] == daily["comparisons"]
    assert once["plan"]["share"] == 0.5
    assert (once["plan"]["looks"], daily["plan"]["looks"]) == ("once", "daily")
    assert daily["smallest_lift"] > once["smallest_lift"]
    assert len(once["looks"]) == 6


def test_every_form_of_outcomes_gives_the_same_values(ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
    from_config = json.loads(ask(shop[1], "--metric", "events", "--json").out)
    plain = shop[1].rename({"timestamp": "time"})
    assert json.loads(ask(plain, "--metric", "events", "--json").out)["comparisons"] == from_config["comparisons"]
    without_kind = json.loads(ask(plain.drop("event"), "--metric", "events", "--json").out)
    assert without_kind["comparisons"] == from_config["comparisons"]
    totals = shop[1].group_by("user_id").agg(pl.len().alias("value")).sort("user_id")
    table = json.loads(ask(totals, "--json", "--history-days", 0).out)
    (value,) = table["comparisons"]
    (events,) = (row for row in from_config["comparisons"] if row["metric"] == "events")
    assert value["metric"] == "value"
    assert value["unadjusted"]["means"] == events["unadjusted"]["means"]
    assert value["unadjusted"]["low"] == pytest.approx(events["unadjusted"]["low"])


def test_the_snapshot_is_the_default(ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
    # Its events end before the first list.
    expect(ask(None), "no event after the first list of 2025-03-01", "run 'recsys ingest' on newer files")


def test_a_share_that_does_not_fit_is_not_valid(ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
    answer = ask(shop[1], "--share", 0.3)
    assert answer.code == 0
    assert "not valid: " in answer.out
    assert "do not trust any difference" in answer.out
    assert json.loads(ask(shop[1], "--share", 0.3, "--json").out)["verdict"] == "not valid"


def test_no_difference_says_what_would_have_shown(ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
    totals = pl.DataFrame(
        {"user_id": [f"u{user:05}" for user in range(1200)], "value": [user % 3 for user in range(1200)]}
    )
    answer = ask(totals)
    assert "cannot tell challenger from champion: value per user" in answer.out
    assert "would be detected in 80% of such tests" in answer.out
    few = ask(totals.filter(pl.col("value") > 1).head(10))
    assert "cannot tell: too little data (1,200 users, value per user" in few.out


class TestBadInput:
    def test_files(self, ask: Call, shop: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
        (tmp_path / "empty.csv").write_text("")
        (tmp_path / "head.csv").write_text("user_id,value\n")
        expect(ask(None, tmp_path / "empty.csv"), "empty")
        expect(ask(None, tmp_path / "head.csv"), "head.csv")
        expect(ask(None, tmp_path / "none.csv"), "none.csv")
        expect(
            ask(pl.DataFrame({"who": ["a"], "what": ["b"]})),
            "found the columns what, who; expected user_id, value (one value per user), user_id, item_id, time",
        )

    def test_tables(self, ask: Call) -> None:
        users = ["u00001", "u00002", "u00001"]
        expect(ask(pl.DataFrame({"user_id": users, "value": [1, 2, 3]})), "1 user in several rows, such as 'u00001'")
        expect(ask(pl.DataFrame({"user_id": ["u1", "u2"], "value": ["3", "x"]})), "1 cell of value", "such as 'x'")
        expect(ask(pl.DataFrame({"user_id": ["u1", None], "value": [1, 2]})), "1 row without a user_id")
        expect(
            ask(pl.DataFrame({"user_id": ["u1", "u2"], "value": [1, 2]})), "none of the 2 users of the table, such as"
        )

    def test_events(self, ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
        strangers = shop[1].with_columns(("x" + pl.col("user_id")).alias("user_id"))
        expect(ask(strangers), "users with a list has a positive event", "use the same user ids")
        unknown = shop[1].with_columns(("x" + pl.col("item_id")).alias("item_id"))
        expect(ask(unknown), "unknown_item")

    def test_options(self, ask: Call, shop: tuple[Path, pl.DataFrame]) -> None:
        for option, value in (
            ("--metric", "clicks"),
            ("--looks", "often"),
            ("--share", 5),
            ("--effect", 0),
            ("--served-from", "3am"),
            ("--from", "2025-3-1"),
            ("--from", "2025-04-01"),
            ("--control", "nobody"),
            ("--treatment", "nobody"),
        ):
            expect(ask(shop[1], option, value), str(value))

    def test_lists_of_one_variant(self, ask: Call, tmp_path: Path, shop: tuple[Path, pl.DataFrame]) -> None:
        home = tmp_path / "one"
        expect(ask(shop[1], home=home), "none are published")
        publish_lists(home, "2025-03-01", make_lists([("a", "ranker", "x"), ("b", "ranker", "x")]))
        expect(ask(shop[1], home=home), "no night shows the variants 'champion' and another; found ranker")
