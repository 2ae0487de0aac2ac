"""promote, rollback, history and copy-version as a shell calls them, with a gate that gives a preset answer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_versions import CONFIG, NAME, FakeGate, champion, decide, make_version, open_log
from shell import Answer, Call, expect

from recsys.artifacts.recommendations import Followed
from recsys.pipelines.promote import promote
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import set_champion
from recsys.storage.home import promotion_log_file


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    return FakeGate.install(monkeypatch)


@pytest.fixture
def home(new_home: Callable[[], Path], gate: FakeGate) -> Path:
    """Version 1 serves, version 2 waits."""
    home = new_home()
    store = connect(home, CONFIG)
    make_version(store)
    promote(CONFIG, home)
    make_version(store)
    return home


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, CONFIG)


@pytest.fixture
def run(call: Call, write_config: Callable[..., Path], home: Path) -> Callable[..., Answer]:
    """Call a command with the config on the home."""
    config = write_config()

    def run(command: str, *arguments: object) -> Answer:
        return call(command, "--config", config, *arguments, home=home)

    return run


def fits(text: str) -> bool:
    return max(map(len, text.splitlines())) <= 80


class TestPromote:
    def test_prints_the_table_and_the_answer(self, run: Callable[..., Answer], store: Store) -> None:
        answer = run("promote")
        assert answer.code == 0
        for part in ("champion version 1", "better", "- champion version 1: ndcg@10 is better"):
            assert part in answer.out
        assert answer.out.startswith("recsys version 2 is the champion: ndcg@10 is better\n")
        assert fits(answer.out)
        assert answer.err.splitlines()[-1].startswith("next: recsys generate --config ")
        assert champion(store) == "2"
        again = run("promote")
        assert (again.code, again.out) == (0, "recsys version 2 is the champion: version 2 is already the champion\n")

    def test_a_refusal_ends_with_the_reason_and_has_the_table_on_stdout(
        self, run: Callable[..., Answer], gate: FakeGate, store: Store
    ) -> None:
        gate.decision = decide("worse")
        answer = run("promote")
        assert answer.code == 3
        assert "champion version 1" in answer.out
        last = answer.err.splitlines()[-1]
        assert last == "refused: promote 'recsys' version 2: refused: ndcg@10 is worse (entry 2)"
        facts = json.loads(run("promote", "--json").out)
        assert (facts["promoted"], facts["decision"]["answer"]) == (False, "worse")
        assert champion(store) == "1"

    @pytest.mark.parametrize(("answer", "code"), [("better", 0), ("worse", 3), ("cannot tell", 3)])
    def test_a_dry_run_has_the_exit_code_of_the_real_one(
        self, answer: str, code: int, run: Callable[..., Answer], gate: FakeGate, home: Path
    ) -> None:
        gate.decision = decide(answer)
        before = open_log(home).entries
        told = run("promote", "--dry-run")
        assert told.code == code
        assert "champion version 1" in told.out
        facts = json.loads(run("promote", "--dry-run", "--json").out)
        assert (facts["promoted"], facts["decision"]["checks"][0]["metric"]) == (code == 0, "ndcg@10")
        assert open_log(home).entries == before

    @pytest.mark.parametrize("arguments", [["--force"], ["--why", "x"], ["--force", "--why", "x", "--dry-run"]])
    def test_force_and_why_go_together(self, arguments: list[str], run: Callable[..., Answer], home: Path) -> None:
        assert run("promote", *arguments).code == 2
        assert len(open_log(home).entries) == 1

    def test_force(self, run: Callable[..., Answer], gate: FakeGate, store: Store) -> None:
        gate.decision = decide("worse")
        expect(run("promote", "--force", "--why", " "), "the reason is empty; state it with --why TEXT")
        facts = json.loads(run("promote", "--force", "--why", "we know", "--json").out)
        assert (facts["champion"], facts["entry"], facts["promoted"]) == ("2", 2, True)
        assert champion(store) == "2"


class TestRollback:
    def test_goes_back_and_names_the_next_command(self, run: Callable[..., Answer], store: Store) -> None:
        run("promote")
        answer = run("rollback")
        assert answer.code == 0
        assert answer.out == "rolled back from version 2 to 1\n"
        assert answer.err.splitlines()[-1].startswith("next: recsys generate --config ")
        refused = run("promote")
        assert (refused.code, refused.out) == (3, "")
        assert "version 2 was rolled back (entry 3, " in refused.err
        again = json.loads(run("rollback", "--to", "1", "--json").out)
        assert (again["champion"], again["entry"]) == ("1", None)

    def test_lists_that_are_published_again(
        self, run: Callable[..., Answer], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("promote")
        monkeypatch.setattr("recsys.pipelines.rollback.republish_lists", lambda *_: "2025-03-01")
        monkeypatch.setattr("recsys.pipelines.rollback.find_followed", lambda *_: Followed("2025-03-01"))
        assert run("rollback").out.splitlines()[1] == "readers see its lists for 2025-03-01"


class TestHistory:
    def test_prints_the_log_at_80_columns(self, run: Callable[..., Answer], gate: FakeGate, store: Store) -> None:
        gate.decision = decide("worse")
        run("promote")
        run("promote", "--force", "--why", "a long reason, " * 20)
        answer = run("history")
        assert answer.code == 0
        assert fits(answer.out)
        heads = [line.split() for line in answer.out.splitlines() if line[:4].strip().isdigit()]
        assert [head[0] for head in heads] == ["1", "2", "3"]
        assert [head[3] for head in heads] == ["promoted", "refused", "FORCED"]
        assert answer.out.startswith("now: version 2 serves; anchor version 1")
        facts = json.loads(run("history", "--json").out)
        assert (facts["champion"], facts["state"], len(facts["entries"])) == ("2", "agreed", 3)

    def test_one_entry_with_its_table(self, run: Callable[..., Answer]) -> None:
        answer = run("history", "--entry", 1)
        assert "- champion version 1: ndcg@10 is better" in answer.out
        assert json.loads(run("history", "--entry", 1, "--json").out)["decision_table"]["answer"] == "better"
        expect(run("history", "--entry", 7), "no entry 7; it has entries 1 to 1")
        assert run("history", "--entry", 1, "--on", "2025-03-01").code == 2

    def test_what_served_on_a_day(self, run: Callable[..., Answer], home: Path) -> None:
        day = f"{open_log(home).entries[0].time:%Y-%m-%d}"
        assert f"{day}: version 1 since {day}" in run("history", "--on", day).out
        served = json.loads(run("history", "--on", "2100-01-01", "--json").out)["served"]
        assert [span["version"] for span in served] == ["1"]
        assert "before the promotion log starts" in run("history", "--on", "2001-01-01").out
        expect(run("history", "--on", "someday"), "expected YYYY-MM-DD or an ISO time")

    def test_an_empty_log(self, call: Call, write_config: Callable[..., Path], new_home: Callable[[], Path]) -> None:
        answer = call("history", "-c", write_config(), home=new_home())
        assert (answer.code, answer.out.splitlines()[-1]) == (0, "the promotion log of 'recsys' has no entry yet")

    def test_a_broken_chain_says_where(self, run: Callable[..., Answer], home: Path) -> None:
        path = promotion_log_file(home)
        path.write_text(path.read_text().replace('"number": 1', '"number": 2'))
        expect(run("history"), "entry 2 is missing: the store has only 1")

    def test_an_alias_that_was_moved_by_hand(self, run: Callable[..., Answer], store: Store) -> None:
        set_champion(store, NAME, "2")
        answer = run("history")
        assert answer.code == 0
        assert "attention: alias 'champion' was moved by hand: version 2 serves" in " ".join(answer.out.split())
        doctor = json.loads(run("doctor", "--json").out)
        (finding,) = (finding for finding in doctor if finding["name"] == "registry")
        assert finding["state"] == "problem"
        assert "moved by hand" in finding["found"]
        assert len(json.loads(run("history", "--json").out)["entries"]) == 1


class TestCopyVersion:
    def test_needs_one_target(
        self, run: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expect(run("copy-version"), "RECSYS_TARGET_TRACKING_URI or the home of --to-home; neither is set")
        monkeypatch.setenv("RECSYS_TARGET_TRACKING_URI", "http://ana:secret@127.0.0.1:1")
        both = run("copy-version", "--to-home", tmp_path)
        expect(both, "both are set; set one")
        assert "secret" not in both.err

    def test_names_the_versions(self, run: Callable[..., Answer], tmp_path: Path) -> None:
        expect(run("copy-version", "--version", 9, "--to-home", tmp_path), "version 9 does not exist")
