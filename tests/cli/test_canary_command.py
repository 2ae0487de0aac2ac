"""`recsys canary`: what it prints, and which options it refuses together."""

import json
from collections.abc import Callable
from pathlib import Path

from miniature import RUN_DATE, Trained, read_lists
from second_version import register_second
from shell import Call, expect


def test_options_that_exclude_each_other(call: Call, write_config: Callable[..., Path]) -> None:
    config = write_config()
    for options in (("--share", ".1"), ("--version", "2")):
        expect(call("canary", "-c", config, "--stop", *options), "--stop: cannot be combined with --share or --version")
    expect(call("canary", "-c", config, "--version", "2"), "--version 2: --share is missing")


def test_without_a_champion(call: Call, write_config: Callable[..., Path]) -> None:
    expect(call("canary", "-c", write_config(), "--share", ".1"), "no version has the alias 'champion'; run 'recsys tr")


def test_from_start_to_end(call: Call, write_config: Callable[..., Path], trained_copy: Path, trained: Trained) -> None:
    home, config = trained_copy, write_config()
    register_second(home, trained)

    def ask(*options: str) -> list[str]:
        answer = call("canary", "-c", config, *options, home=home)
        assert answer.code == 0, answer
        return answer.out.splitlines()

    assert ask() == [
        "canary     none: every user gets the champion's lists of recsys",
        "published  lists without a canary",
    ]
    started = ask("--share", ".25")
    assert call("canary", "-c", config, home=home).err == f"next: recsys generate --config {config}\n"
    assert started[0] == "canary     version 2 of recsys, 0.25 of the users"
    assert started[1].startswith("since      20")
    assert started[2:] == [
        "published  lists without a canary",
    ]
    made = " ".join(call("generate", "-c", config, "--run-date", RUN_DATE, home=home).out.split())
    assert " users canary: " in made
    assert made.endswith(" have lists of version 2")
    state = json.loads("\n".join(ask("--json")))
    assert state["canary"].keys() == {"version", "share", "key", "since", "by", "entry"}
    assert (state["model"], state["canary"]["version"], state["canary"]["share"]) == ("recsys", "2", 0.25)
    users, everyone = state["published"]["users"], read_lists(home, RUN_DATE)["user_id"].n_unique()
    assert state["published"] == {"run_date": RUN_DATE, "version": "2", "users": users, "all_users": everyone}
    assert 0 < users < everyone
    assert ask()[2] == f"published  {RUN_DATE}: {users} of {everyone} users have lists of version 2"
    # The champion's lists of this night were published before, and are kept.
    assert ask("--stop") == [
        "canary     version 2 is stopped",
        f"published  {RUN_DATE}: every user has the champion's lists again",
    ]
    assert json.loads("\n".join(ask("--stop", "--json"))) == {"stopped": None, "republished": None, "published": None}
    assert ask("--stop")[0] == "canary     none was running"
