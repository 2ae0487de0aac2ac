"""Promote, rollback and history around a gate that gives a preset answer; the real gate is in `test_promote.py`."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_versions import CONFIG, NAME, FakeGate, challenger, champion, decide, make_version, open_log

from recsys.errors import ConfigError, DataError, Refused, RegistryError
from recsys.pipelines.history import find_served, parse_time, read_decision, read_history
from recsys.pipelines.promote import NotPromoted, judge, load_champion, promote
from recsys.pipelines.rollback import rollback
from recsys.registry.champion import compare_with_alias, note_champion, settle
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import ANCHOR, find_number, find_version, set_champion
from recsys.storage.home import old_ledger_file


@pytest.fixture
def home(new_home: Callable[[], Path]) -> Path:
    return new_home()


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, CONFIG)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    return FakeGate.install(monkeypatch)


@pytest.fixture
def promoted(home: Path, store: Store, gate: FakeGate) -> Path:
    """Versions 1 and 2 were promoted, one after the other."""
    for _ in range(2):
        make_version(store)
        promote(CONFIG, home)
    gate.asked.clear()
    return home


def state(home: Path) -> str:
    return compare_with_alias(connect(home, CONFIG), open_log(home)).state


def steps(home: Path) -> list[tuple[str, str | None, str | None]]:
    return [(entry.action, entry.from_version, entry.to_version) for entry in open_log(home).entries]


class TestPromote:
    def test_the_entry_has_everything(self, home: Path, store: Store, gate: FakeGate) -> None:
        make_version(store)
        done = promote(CONFIG, home)
        assert (done.version.number, done.reason) == ("1", "ndcg@10 is better")
        (entry,) = open_log(home).entries
        assert entry == done.entry
        assert (entry.action, entry.from_version, entry.to_version, entry.anchor) == ("promote", None, "1", "1")
        assert (entry.snapshot, entry.window) == ("abc", "global_time 2025-01-01..2025-01-08")
        assert json.loads(open_log(home).read_decision(entry) or "") == json.loads(json.dumps(gate.decision.to_dict()))
        assert abs(datetime.now(UTC) - entry.time) < timedelta(minutes=10)
        assert (champion(store), challenger(store), state(home)) == ("1", None, "agreed")
        anchor = find_version(store, NAME, ANCHOR)
        assert anchor
        assert anchor.number == "1"

    def test_again_is_done_already(self, promoted: Path, gate: FakeGate) -> None:
        before = open_log(promoted).entries
        done = promote(CONFIG, promoted)
        assert (done.entry, done.reason) == (None, "version 2 is already the champion")
        assert open_log(promoted).entries == before
        assert gate.asked == []

    def test_the_champion_as_challenger_is_done_already(self, promoted: Path, store: Store) -> None:
        store.client.set_registered_model_alias(NAME, "challenger", "2")
        assert promote(CONFIG, promoted).entry is None

    def test_without_challenger_and_champion(self, home: Path) -> None:
        for use in (promote, judge):
            with pytest.raises(RegistryError, match="no version has the alias 'challenger'; run 'recsys train' first"):
                use(CONFIG, home)

    def test_a_refusal_is_an_entry_and_changes_nothing_else(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        make_version(store)
        gate.decision = decide("worse")
        message = r"promote 'recsys' version 3: refused: ndcg@10 is worse \(entry 3\)$"
        with pytest.raises(NotPromoted, match=message) as caught:
            promote(CONFIG, promoted)
        assert caught.value.decision == gate.decision
        assert steps(promoted)[-1] == ("refuse", "2", "3")
        assert (champion(store), challenger(store), state(promoted)) == ("2", "3", "agreed")

    def test_tries_on_a_window_count_versions(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        gate.decision = decide("worse")
        for version, expected in (("3", 2), ("4", 3), ("4", 3)):
            if challenger(store) != version:
                make_version(store)
            with pytest.raises(NotPromoted):
                promote(CONFIG, promoted)
            assert gate.asked[-1]["tries"] == expected
        make_version(store, test_start="2025-02-01", test_end="2025-02-08")
        with pytest.raises(NotPromoted):
            promote(CONFIG, promoted)
        assert gate.asked[-1]["tries"] == 0

    def test_the_budget_adds_up_until_there_is_a_new_anchor(self, home: Path, store: Store, gate: FakeGate) -> None:
        spent = []
        for decision in (decide(), decide("as good", spent=0.01), decide("as good", spent=0.005), decide("better")):
            gate.decision = decision
            make_version(store)
            entry = promote(CONFIG, home).entry
            assert entry
            spent.append((entry.anchor, entry.spent))
        assert spent == [("1", 0.0), ("1", 0.01), ("1", pytest.approx(0.015)), ("4", 0.0)]
        asked = [(call["champion"], call["anchor"], call["spent"]) for call in gate.asked]
        assert asked == [(None, None, 0.0), ("1", "1", 0.0), ("2", "1", 0.01), ("3", "1", pytest.approx(0.015))]

    def test_an_anchor_that_was_deleted_is_replaced_by_the_champion(
        self, home: Path, store: Store, gate: FakeGate, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_version(store)
        promote(CONFIG, home)
        gate.decision = decide("as good")
        make_version(store)
        promote(CONFIG, home)
        store.client.delete_model_version(NAME, "1")
        make_version(store)
        promote(CONFIG, home)
        assert gate.asked[-1]["anchor"] == "2"
        assert open_log(home).anchor == "2"
        assert "the anchor, version 1, no longer exists" in caplog.text

    def test_a_dry_run_changes_nothing(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        make_version(store)
        before = open_log(promoted).entries
        judged = judge(CONFIG, promoted)
        assert (judged.version.number, judged.promotable, judged.decision) == ("3", True, gate.decision)
        gate.decision = decide("worse")
        assert not judge(CONFIG, promoted).promotable
        assert open_log(promoted).entries == before
        assert (champion(store), challenger(store)) == ("2", "3")

    def test_another_home_promotes_meanwhile(
        self,
        promoted: Path,
        store: Store,
        gate: FakeGate,
        new_home: Callable[[], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        make_version(store)
        other = new_home()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{promoted}/mlflow.db")
        ask, rivals = gate.judge, []

        def judge_slowly(*arguments, **named):
            if not rivals:
                rivals.append(True)
                promote(CONFIG, other)
                make_version(connect(other, CONFIG))
            return ask(*arguments, **named)

        monkeypatch.setattr("recsys.pipelines.promote.judge_challenger", judge_slowly)
        with pytest.raises(
            RegistryError, match=r"promote 'recsys': version 3 was promoted meanwhile \(entry 3, .*@.*\); run again"
        ):
            promote(CONFIG, promoted)
        assert champion(store) == "3"
        assert promote(CONFIG, promoted).version.number == "4"
        assert open_log(promoted).entries == open_log(other).entries


class TestForce:
    def test_is_marked_for_ever(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        make_version(store)
        gate.decision = decide("worse")
        done = promote(CONFIG, promoted, why="the shop\nneeds it")
        assert done.entry
        assert (done.entry.action, done.entry.details) == ("force", {"why": "the shop needs it"})
        assert done.entry.reason == "the shop needs it (the gate: ndcg@10 is worse)"
        assert (champion(store), challenger(store)) == ("3", None)
        version = find_number(store, NAME, "3")
        assert version
        assert version.tags["forced"].startswith("entry 3: the shop needs it")

    def test_where_the_gate_passes_nothing_is_forced(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        make_version(store)
        entry = promote(CONFIG, promoted, why="hurry").entry
        assert entry
        assert entry.action == "promote"

    def test_where_no_comparison_is_possible(
        self, promoted: Path, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_version(store)

        def refuse(*_: object, **__: object) -> None:
            raise Refused("both bundles learned from later events")

        monkeypatch.setattr("recsys.pipelines.promote.judge_challenger", refuse)
        with pytest.raises(Refused, match="later events"):
            promote(CONFIG, promoted)
        assert steps(promoted)[-1] == ("refuse", "2", "3")
        entry = promote(CONFIG, promoted, why="hurry").entry
        assert entry
        assert entry.reason == "hurry (the gate: no comparison was possible (both bundles learned from later events))"
        assert entry.decision is None

    @pytest.mark.parametrize("why", ["", " \n"])
    def test_needs_a_reason(self, why: str, promoted: Path) -> None:
        with pytest.raises(ConfigError, match="the reason is empty; state it with --why TEXT"):
            promote(CONFIG, promoted, why=why)

    def test_needs_a_version(self, promoted: Path) -> None:
        with pytest.raises(RegistryError, match="there is no version to promote"):
            promote(CONFIG, promoted, why="hurry")


class TestRollback:
    def test_one_version_at_a_time(self, promoted: Path, store: Store) -> None:
        done = rollback(CONFIG, promoted)
        assert (done.version, done.replaced, done.republished, done.run_date) == ("1", "2", False, None)
        assert steps(promoted)[-1] == ("rollback", "2", "1")
        assert (champion(store), state(promoted)) == ("1", "agreed")
        with pytest.raises(RegistryError, match="there is no champion before version 1 to roll back to"):
            rollback(CONFIG, promoted)
        assert champion(store) == "1"

    def test_a_rerun_of_promote_refuses_what_was_rolled_back(
        self, promoted: Path, store: Store, gate: FakeGate
    ) -> None:
        rollback(CONFIG, promoted)
        message = (
            r"version 2 was rolled back \(entry 3, .*\); train another version, or promote it with --force --why TEXT"
        )
        for _ in range(2):
            with pytest.raises(NotPromoted, match=message):
                promote(CONFIG, promoted)
        # Nor where the alias is set by hand.
        store.client.set_registered_model_alias(NAME, "challenger", "2")
        with pytest.raises(NotPromoted, match=message):
            promote(CONFIG, promoted)
        assert not judge(CONFIG, promoted).promotable
        assert champion(store) == "1"
        assert gate.asked == []
        version = find_number(store, NAME, "2")
        assert version
        assert version.tags["rolled_back"].startswith("entry 3: ")

        entry = promote(CONFIG, promoted, why="the fault was elsewhere").entry
        assert entry
        assert (entry.action, entry.to_version) == ("force", "2")
        assert champion(store) == "2"

    def test_it_can_be_forced_without_the_alias(self, promoted: Path, store: Store) -> None:
        rollback(CONFIG, promoted)
        assert challenger(store) is None
        assert promote(CONFIG, promoted, why="sure").version.number == "2"

    def test_a_new_training_is_judged_again(self, promoted: Path, store: Store) -> None:
        rollback(CONFIG, promoted)
        make_version(store)
        assert promote(CONFIG, promoted).version.number == "3"

    def test_to_a_version(self, promoted: Path, store: Store) -> None:
        make_version(store, challenger=False)
        assert rollback(CONFIG, promoted, "3").version == "3"
        again = rollback(CONFIG, promoted, "3")
        assert (again.version, again.entry) == ("3", None)
        with pytest.raises(
            RegistryError, match=r"version 9 does not exist; choose another with --to N \(the log has 1, 2, 3\)"
        ):
            rollback(CONFIG, promoted, "9")
        store.client.set_model_version_tag(NAME, "1", "complete", "false")
        with pytest.raises(RegistryError, match="version 1 is not complete"):
            rollback(CONFIG, promoted, "1")
        assert champion(store) == "3"

    def test_anchor_and_budget_go_back_too(self, home: Path, store: Store, gate: FakeGate) -> None:
        for decision in (decide(), decide("as good", spent=0.01), decide("better")):
            gate.decision = decision
            make_version(store)
            promote(CONFIG, home)
        assert (open_log(home).anchor, open_log(home).spent) == ("3", 0.0)
        rollback(CONFIG, home)
        assert (open_log(home).anchor, open_log(home).spent) == ("1", 0.01)
        anchor = find_version(store, NAME, ANCHOR)
        assert anchor
        assert anchor.number == "1"

    def test_without_any_champion(self, home: Path) -> None:
        with pytest.raises(RegistryError, match="the alias 'champion', because no version was ever promoted"):
            rollback(CONFIG, home)

    def test_its_lists_are_published_again(self, promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(
            "recsys.pipelines.rollback.republish_lists", lambda *facts: asked.append(facts[2]) or "2025-03-01"
        )
        assert rollback(CONFIG, promoted).republished
        assert asked == ["1"]

    def test_lists_that_cannot_be_published_do_not_stop_it(
        self, promoted: Path, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> None:
            raise RegistryError("the lists are damaged")

        monkeypatch.setattr("recsys.pipelines.rollback.republish_lists", fail)
        assert not rollback(CONFIG, promoted).republished
        assert "not published again: the lists are damaged" in caplog.text
        assert (champion(store), state(promoted)) == ("1", "agreed")


class TestByHand:
    def test_a_moved_alias_is_noticed_and_recorded(
        self, promoted: Path, store: Store, gate: FakeGate, caplog: pytest.LogCaptureFixture
    ) -> None:
        set_champion(store, NAME, "1")
        problem = read_history(CONFIG, promoted).serving.describe()
        assert problem
        assert "moved by hand: version 1 serves, the log has version 2 (entry 2)" in problem
        make_version(store)
        promote(CONFIG, promoted)
        # The challenger was compared with what serves.
        assert gate.asked[-1]["champion"] == "1"
        assert steps(promoted)[2:] == [("hand_made", "2", "1"), ("promote", "1", "3")]
        assert "the alias 'champion' had been moved to version 1; the log had version 2" in caplog.text

    def test_the_night_records_it_and_goes_on(
        self, promoted: Path, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = note_champion(store, promoted, NAME)
        assert before
        assert (before.number, caplog.text) == (2, "")
        set_champion(store, NAME, "1")
        entry = note_champion(store, promoted, NAME)
        assert entry
        assert (entry.action, entry.to_version) == ("hand_made", "1")
        assert "moved by hand" in caplog.text
        assert note_champion(store, promoted, NAME) == entry

    def test_a_broken_log_does_not_stop_the_night(
        self, promoted: Path, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        with closing(sqlite3.connect(promoted / "mlflow.db")) as database:
            database.execute("UPDATE params SET value = '{}' WHERE key = 'entry-000001'")
            database.commit()
        assert note_champion(store, promoted, NAME) is None
        assert "entry 1 cannot be read" in caplog.text
        with pytest.raises(RegistryError, match="entry 1 cannot be read"):
            read_history(CONFIG, promoted)

    def test_a_deleted_alias_is_an_error_with_the_command(self, promoted: Path, store: Store, gate: FakeGate) -> None:
        store.client.delete_registered_model_alias(NAME, "champion")
        make_version(store)
        hint = "deleted by hand, the log has version 2 .*; set it again with 'recsys rollback --to 2'"
        for use in (promote, judge, load_champion, rollback, promote):
            with pytest.raises(RegistryError, match=hint):
                use(CONFIG, promoted)
        assert gate.asked == []
        assert steps(promoted)[2:] == [("hand_made", "2", None)]
        assert champion(store) is None

        done = rollback(CONFIG, promoted, "2")
        assert (done.version, done.replaced) == ("2", None)
        assert (champion(store), state(promoted)) == ("2", "agreed")
        assert promote(CONFIG, promoted).version.number == "3"

    def test_an_alias_that_was_set_again_by_hand(self, promoted: Path, store: Store) -> None:
        store.client.delete_registered_model_alias(NAME, "champion")
        with pytest.raises(RegistryError):
            promote(CONFIG, promoted)
        set_champion(store, NAME, "1")
        assert promote(CONFIG, promoted).reason == "version 1 is already the champion"
        assert steps(promoted)[2:] == [("hand_made", "2", None), ("hand_made", None, "1")]

    def test_a_champion_that_the_log_never_saw(self, home: Path, store: Store, gate: FakeGate) -> None:
        make_version(store, challenger=False)
        set_champion(store, NAME, "1")
        make_version(store)
        promote(CONFIG, home)
        assert gate.asked[-1]["champion"] == "1"
        assert steps(home) == [("hand_made", None, "1"), ("promote", "1", "2")]

    def test_a_change_by_hand_can_be_rolled_back(self, promoted: Path, store: Store) -> None:
        set_champion(store, NAME, make_version(store, challenger=False))
        assert rollback(CONFIG, promoted).version == "2"

    def test_the_version_of_an_unfinished_promotion_was_deleted(
        self, promoted: Path, store: Store, gate: FakeGate
    ) -> None:
        make_version(store)
        open_log(promoted).append("promote", to_version="3")
        assert state(promoted) == "unfinished"
        store.client.delete_model_version(NAME, "3")
        make_version(store)
        assert promote(CONFIG, promoted).version.number == "4"
        assert steps(promoted)[2:] == [("promote", "2", "3"), ("hand_made", "3", "2"), ("promote", "2", "4")]


class TestOldLedger:
    def test_its_champion_is_the_champion(self, home: Path, store: Store, gate: FakeGate) -> None:
        make_version(store, challenger=False)
        set_champion(store, NAME, "1")
        old = {"action": "promote", "model": NAME, "version": "1", "previous": None, "reason": "r"}
        old_ledger_file(home).write_text(json.dumps(old) + "\n")
        make_version(store)
        promote(CONFIG, home)
        assert steps(home) == [("imported", None, "1"), ("promote", "1", "2")]
        assert gate.asked[-1] == {"challenger": "2", "champion": "1", "anchor": "1", "spent": 0.0, "tries": 0}
        assert rollback(CONFIG, home).version == "1"


class TestHistory:
    def test_an_entry_with_its_table(self, promoted: Path, gate: FakeGate) -> None:
        entry, table = read_decision(CONFIG, promoted, 2)
        assert entry.number == 2
        assert table == gate.decision
        for number in (0, 3, -1):
            with pytest.raises(DataError, match=f"no entry {number}; it has entries 1 to 2"):
                read_decision(CONFIG, promoted, number)

    def test_what_served_on_a_day(self, promoted: Path) -> None:
        entries = open_log(promoted).entries
        now = entries[1].time
        today = find_served(entries, *parse_time(f"{now:%Y-%m-%d}"))
        assert [span.version for span in today] == [None, "1", "2"]
        assert [span.version for span in find_served(entries, now, now)] == ["2"]
        just_before = now - timedelta(microseconds=1)
        assert [span.version for span in find_served(entries, just_before, just_before)] == ["1"]
        assert [span.version for span in find_served(entries, *parse_time("2100-01-01"))] == ["2"]
        (before,) = find_served(entries, *parse_time("2001-01-01"))
        assert (before.version, before.start) == (None, None)
        assert [span.version for span in find_served([], *parse_time("2001-01-01"))] == [None]

    @pytest.mark.parametrize("text", ["", "yesterday", "2025-13-01", "2025-02-30", "2025-3-1"])
    def test_a_time_that_is_none(self, text: str) -> None:
        with pytest.raises(DataError, match="expected YYYY-MM-DD or an ISO time"):
            parse_time(text)

    def test_times_are_utc_unless_they_have_a_zone(self) -> None:
        assert parse_time("2025-01-31T03:00")[0] == datetime(2025, 1, 31, 3, tzinfo=UTC)
        assert parse_time("2025-01-31T03:00+02:00")[0] == datetime(2025, 1, 31, 1, tzinfo=UTC)


def test_settling_what_agrees_writes_nothing(promoted: Path, store: Store) -> None:
    before = (promoted / "mlflow.db").read_bytes()
    serving, finished = settle(store, open_log(promoted))
    assert (serving.state, finished) == ("agreed", None)
    assert (promoted / "mlflow.db").read_bytes() == before
