"""What `benchmarks/peers.py` gives to other programs, and which of their lists it accepts."""

import json
import math
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from benchmarks import peers
from benchmarks.peer_lists import Problem, compare, describe_holdout, tabulate
from benchmarks.peer_roster import PEERS, PROGRAMS, choose
from worlds import make_interactions, make_items

from recsys.config import Config, load_config, parse_config
from recsys.dataset.windows import Windows, split_windows
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS

CONFIG = Path(__file__).parents[2] / "configs" / "ml100k.yaml"


def make_config(protocol: str = "leave_last_out", *, repeats: bool = False) -> Config:
    given = load_config(CONFIG).model_dump(exclude_unset=True)
    given["windows"] = {"protocol": protocol, "label_windows": 1}
    if protocol == "global_time":
        given["windows"]["test_days"] = 1
    given["dataset"]["repeats"] = repeats
    given["evaluation"] = {"n": 3, "n_values": [3], "bootstrap_samples": 100}
    return parse_config(given, "test")


# u's last item is d, v's is e; x comes on the last day only.
ROWS = make_interactions(
    ("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("u", "d", 9.5), ("v", "b", 0), ("v", "c", 2), ("v", "e", 9.6),
    ("w", "a", 1), ("w", "b", 2), ("x", "a", 9.7),
)  # fmt: skip
ITEMS = make_items("a", "b", "c", "d", "e")


def make_problem(config: Config) -> tuple[Problem, Windows]:
    windows = split_windows(ROWS, config.windows, repeats=config.dataset.repeats, end=None, seed=0)
    return Problem.of(windows.test, ITEMS, config), windows


@pytest.fixture
def problem() -> Problem:
    return make_problem(make_config())[0]


def name_lists(*rows: tuple[str, int, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["user_id", "rank", "item_id"], orient="row")


def test_peers_learn_from_the_rows_before_the_test_window_only(problem: Problem) -> None:
    assert problem.positives.rows() == [("u", "d"), ("v", "e"), ("w", "b")]
    assert problem.rows.select("user_id", "item_id").rows() == [
        ("u", "a"), ("v", "b"), ("w", "a"), ("u", "b"), ("v", "c"), ("u", "c"), ("x", "a"),
    ]  # fmt: skip
    assert problem.rows["order"].to_list() == list(range(7))


def test_users_without_a_history_get_no_lists(problem: Problem) -> None:
    # x has a single row, which leave-last-out keeps as history; nothing of theirs is asked for.
    assert problem.users.to_list() == ["u", "v", "w"]


def test_a_config_with_rows_that_are_history_only_is_refused() -> None:
    config = make_config()
    rows = ROWS.with_columns(consumed=pl.col("item_id") != "a", positive=pl.col("item_id") != "a")
    windows = split_windows(rows, config.windows, repeats=False, end=None, seed=0)
    with pytest.raises(DataError, match="some rows are history only"):
        Problem.of(windows.test, ITEMS, config)


def test_lists_become_item_numbers(problem: Problem) -> None:
    lists = name_lists(("v", 2, "a"), ("v", 1, "e"), ("u", 1, "d"))
    assert problem.number("mine", lists).tolist() == [[3, -1, -1], [4, 0, -1], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([("u", 1, "b")], "1 row with items that the user already has, such as user 'u', item 'b'"),
        ([("u", 1, "d"), ("u", 2, "d")], "2 rows with an item twice"),
        ([("u", 1, "z")], "1 row with unknown items"),
        ([("x", 1, "b")], "1 row of unknown users"),
        ([("u", 2, "d")], "1 row with ranks that do not count from 1 to n"),
        ([("v", rank, item) for rank, item in enumerate("eadc", start=1)], "ranks that do not count from 1 to n"),
    ],
)
def test_unfair_lists_are_rejected(problem: Problem, rows: list[tuple[str, int, str]], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        problem.number("theirs", name_lists(*rows))
    assert str(caught.value).startswith("lists of 'theirs': ")


def test_with_repeats_lists_may_hold_what_the_user_has() -> None:
    problem, _ = make_problem(make_config(repeats=True))
    assert problem.number("theirs", name_lists(("u", 1, "b"))).tolist()[0] == [1, -1, -1]


def test_lists_are_scored_by_user(problem: Problem) -> None:
    lists = name_lists(("u", 1, "e"), ("u", 2, "d"), ("v", 1, "e"))
    scores = problem.score("theirs", lists).filter(pl.col("metric") == "ndcg")
    assert scores["value"].to_list() == pytest.approx([1 / math.log2(3), 1.0, 0.0])
    assert problem.reach(lists) == pytest.approx((1 / math.log2(3) + 1) / 3)


@pytest.mark.parametrize(
    ("protocol", "kind"), [("leave_last_out", "last"), ("global_time", "time"), ("random", "random")]
)
def test_inner_labels_are_held_out_as_the_protocol_does(protocol: str, kind: str) -> None:
    config = make_config(protocol)
    # 15 days: an item a day for each of ten users, so that every window has something to predict.
    rows = make_interactions(*((f"u{user}", f"i{day}", day + user / 100) for user in range(10) for day in range(15)))
    end = rows["time"].max() if protocol == "global_time" else None
    windows = split_windows(rows, config.windows, repeats=False, end=end, seed=0)
    told = describe_holdout(windows, config)
    assert told["kind"] == kind
    label = windows.measurement_fold.labels[0]
    assert told["share"] == pytest.approx(1 - label.history.height / windows.test.history.height)
    assert 0 < told["share"] < 0.5


def test_the_table_names_who_has_no_lists(problem: Problem) -> None:
    config = make_config()
    ours, theirs = name_lists(("u", 1, "d"), ("v", 1, "e")), name_lists(("u", 1, "d"))
    scores = {OURS: problem.score(OURS, ours), "theirs": problem.score("theirs", theirs)}
    cost = {"train": 1.0, "recommend": 0.25, "peak": 0.5, "chosen": "documented"}
    costs = {OURS: cost, "theirs": cost, "slow": {"failed": "over 900 s"}}
    lines = tabulate(compare(scores, config), costs, 3)
    assert lines[2].startswith("| ours | 0.6667 [")
    assert "| +0.3333 [" in lines[3]
    assert lines[3].endswith("| 1.0 | 0.2 | 0.5 GB | documented |")
    assert lines[4].endswith("| over 900 s |")


def test_a_missing_environment_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = peers.main(["--config", str(CONFIG), "--environments", str(tmp_path), "--only", "RecTools ALS;LensKit ALS"])
    error = capsys.readouterr().err
    assert code == 2
    assert f"no {tmp_path}/lenskit/bin/python, {tmp_path}/rectools/bin/python" in error
    assert f"make them with 'python tests/benchmarks/peers.py --install {tmp_path}'" in error


def test_an_unknown_peer_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--config", str(CONFIG), "--only", "Surprise"]) == 2
    assert "no peer Surprise, expected some of implicit item-kNN; " in capsys.readouterr().err


def test_peers_come_with_those_whose_settings_they_take_over() -> None:
    assert choose("ours") == []
    chosen = [peer.name for peer in choose("RecTools two-stage; LensKit ALS")]
    assert chosen == ["LensKit ALS", "RecTools item-kNN", "RecTools ALS", "RecTools EASE", "RecTools two-stage"]


def test_every_peer_has_a_program_an_environment_and_parts_that_come_before_it() -> None:
    names: list[str] = []
    for peer in PEERS:
        assert (PROGRAMS / peer.program).is_file()
        assert (PROGRAMS / f"{peer.environment}.txt").is_file()
        assert all(other in names for _, other in peer.parts)
        names.append(peer.name)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("model", ["ALS", "item-kNN"])
def test_a_program_leaves_out_what_users_have(tmp_path: Path, model: str, repeats: bool) -> None:
    """implicit is in our own environment too, so its program can be run as it is."""
    config = make_config(repeats=repeats)
    # Everybody takes five of eight items, so others are left to recommend.
    rows = make_interactions(*((f"u{user}", f"i{(user + day) % 8}", day) for user in range(16) for day in range(6)))
    items = make_items(*(f"i{number}" for number in range(8)))
    windows = split_windows(rows, config.windows, repeats=repeats, end=None, seed=0)
    problem = Problem.of(windows.test, items, config)
    settings = {"ALS": {"factors": 2}, "item-kNN": {"weighting": "cosine", "K": 3}}[model]
    task = problem.write(tmp_path) | {
        "model": model,
        "settings": [settings, settings],
        "n": problem.n,
        "repeats": repeats,
        "threads": 1,
        "seconds": 60,
        "held_out": {"kind": "last", "share": 0.1},
        "cache": str(tmp_path),
    }
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    subprocess.run([sys.executable, PROGRAMS / "with_implicit.py", tmp_path / "task.json"], check=True)
    done = json.loads((tmp_path / "done.json").read_text(encoding="utf-8"))
    assert [one["settings"] for one in done] == [settings, settings]
    lists = pl.read_parquet(tmp_path / done[0]["lists"])
    numbered = problem.number(model, lists)
    assert (numbered >= 0).any(axis=1).all()
    seen = lists.join(problem.rows, on=["user_id", "item_id"], how="semi")
    assert (seen.height > 0) == repeats
