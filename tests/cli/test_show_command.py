"""`recsys show`: the list below the history, and why each item has its rank."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import RUN_DATE, Trained, read_files, read_lists
from shell import Call, expect


@pytest.fixture
def user(trained: Trained) -> str:
    return str(read_lists(trained.home, RUN_DATE)["user_id"][3])


def test_the_list_below_the_history(call: Call, write_config: Callable[..., Path], trained: Trained, user: str) -> None:
    before, config = read_files(trained.home), write_config()
    facts = json.loads(call("show", user, "-c", config, "--json", home=trained.home).out)
    listed = read_lists(trained.home, RUN_DATE).filter(user_id=user).sort("rank")
    assert (facts["user_id"], facts["run_date"]) == (user, RUN_DATE)
    assert [row["item_id"] for row in facts["list"]] == listed["item_id"].to_list()
    assert [row["reason"] for row in facts["list"]] == listed["reason"].to_list()
    times = [item["time"] for item in facts["history"]]
    # Newest first, and nothing of the run date or later.
    assert times == sorted(times, reverse=True)
    assert max(times) < RUN_DATE
    answer = call("show", user, "-c", config, home=trained.home)
    lines = answer.out.splitlines()
    assert lines[0] == f"user {user}: {len(facts['history'])} items in the history"
    assert lines[1].startswith(f"had, newest first: {facts['history'][0]['title']}")
    table = next(number for number, line in enumerate(lines) if line.startswith("rank "))
    assert table > 1
    assert f"next: recsys show --config {config} {user} --features" in answer.err
    assert read_files(trained.home) == before


def test_why_an_item_has_its_rank(call: Call, write_config: Callable[..., Path], trained: Trained, user: str) -> None:
    answer = call("show", user, "-c", write_config(), "--features", "--json", home=trained.home)
    facts = json.loads(answer.out)
    assert facts["note"] == ""
    assert [row["item_id"] for row in facts["explanations"]] == [row["item_id"] for row in facts["list"]]
    first = facts["explanations"][0]
    assert first["ranked_by"] in ("trees", "blend")
    assert {source["name"] for source in first["sources"]} >= {"als", "text", "popular"}
    # A source proposed the item exactly if the list says so.
    proposed = {source["name"] for source in first["sources"] if source["rank"] is not None}
    assert proposed == set(facts["list"][0]["sources"])
    amounts = [abs(part["added"]) for part in first["contributions"]]
    assert amounts == sorted(amounts, reverse=True)
    if first["ranked_by"] == "blend":
        assert sum(part["added"] for part in first["contributions"]) == pytest.approx(
            facts["list"][0]["score"], abs=1e-4
        )


def test_a_user_without_a_list_and_an_unknown_one(
    call: Call, write_config: Callable[..., Path], trained: Trained
) -> None:
    expect(
        call("show", "no\x1bbody", "-c", write_config(), home=trained.home), "user 'no\N{REPLACEMENT CHARACTER}body'"
    )
    expect(
        call("show", "x", "-c", write_config(), "--run-date", "2001-01-01", home=trained.home), "run_date=2001-01-01"
    )


def test_before_anything_is_published(
    call: Call, write_config: Callable[..., Path], new_home: Callable[[], Path]
) -> None:
    expect(call("show", "x", "-c", write_config(), home=new_home()), "none are published; run 'recsys generate' first")
