"""The log in a real MLflow store."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from fake_versions import CONFIG, NAME, open_log
from faults import DiskLog
from miniature import read_files

from recsys.errors import ArtifactError, RegistryError
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.promotion_log.log_run import LogRun, name_experiment
from recsys.registry.tracking import Store, connect
from recsys.storage.home import old_ledger_file, promotion_log_file
from recsys.storage.locks import lock


@pytest.fixture
def home(new_home: Callable[[], Path]) -> Path:
    return new_home()


@pytest.fixture
def store(home: Path) -> Store:
    return connect(home, CONFIG)


def fill(home: Path) -> PromotionLog:
    log = open_log(home)
    log.append("promote", to_version="1", reason="the first", anchor="1")
    log.append("refuse", to_version="2", reason="worse", decision={"answer": "worse"}, window="w")
    log.append("promote", to_version="3", reason="better", anchor="3")
    return log


def change_store(home: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute(statement, values).rowcount
        database.commit()


class TestReading:
    def test_an_empty_log_is_not_created(self, home: Path, store: Store) -> None:
        before = read_files(home)
        log = open_log(home)
        assert (log.entries, log.champion, log.anchor, log.spent, log.canary) == ((), None, None, 0.0, None)
        assert read_files(home) == before

    def test_entries_come_back_in_another_process_and_home(
        self, home: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = fill(home).entries
        assert [(entry.number, entry.action, entry.from_version, entry.to_version) for entry in written] == [
            (1, "promote", None, "1"),
            (2, "refuse", "1", "2"),
            (3, "promote", "1", "3"),
        ]
        assert written[2].author.count("@") == 1
        assert open_log(home).entries == written
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        elsewhere = open_log(new_home())
        assert elsewhere.entries == written
        assert (elsewhere.champion, elsewhere.anchor, elsewhere.count_tries("w")) == ("3", "3", 1)

    def test_each_model_has_its_own(self, home: Path, store: Store) -> None:
        fill(home)
        other = PromotionLog.open(store, home, "films")
        other.append("promote", to_version="9")
        assert open_log(home).champion == "3"
        assert PromotionLog.open(store, home, "films").champion == "9"

    def test_the_decision_table_is_kept_and_checked(self, home: Path) -> None:
        log = fill(home)
        text = log.read_decision(log.entries[1])
        assert text is not None
        assert json.loads(text) == {"answer": "worse"}
        assert log.read_decision(log.entries[0]) is None
        (path,) = home.glob(f"mlartifacts/**/{log.entries[1].decision}.json")
        path.write_text('{"answer": "better"}')
        with pytest.raises(RegistryError, match=r"decision table .* was changed; restore"):
            log.read_decision(log.entries[1])
        path.unlink()
        with pytest.raises(RegistryError, match=r"decision table .* cannot be read"):
            log.read_decision(log.entries[1])

    def test_the_run_is_finished_and_says_what_it_is(self, home: Path, store: Store) -> None:
        fill(home)
        found = LogRun.find(store, NAME)
        assert found
        run = store.client.get_run(found.run_id)
        assert (run.info.status, run.data.tags["kind"]) == ("FINISHED", "promotion_log")
        assert "recsys history" in run.data.tags["mlflow.note.content"]


class TestTampering:
    def test_a_changed_entry(self, home: Path) -> None:
        fill(home)
        change_store(home, "UPDATE params SET value = replace(value, 'worse', 'fine') WHERE key = 'entry-000002'")
        with pytest.raises(RegistryError, match=r"log of 'recsys' in .*: entry 2 was changed: .* restore the store"):
            open_log(home)

    def test_a_missing_entry_in_the_middle(self, home: Path) -> None:
        fill(home)
        change_store(home, "DELETE FROM params WHERE key = 'entry-000002'")
        with pytest.raises(RegistryError, match="entry 2 is missing; the next entry has number 3"):
            open_log(home)

    @pytest.mark.parametrize("text", ["", "null", "{", '{"number": 1}', "\0"])
    def test_an_entry_that_is_none(self, text: str, home: Path) -> None:
        fill(home)
        change_store(home, "UPDATE params SET value = ? WHERE key = 'entry-000003'", text)
        with pytest.raises(RegistryError, match=r"entry 3 cannot be read \("):
            open_log(home)

    def test_missing_entries_at_the_end_are_noticed_by_the_copy(self, home: Path) -> None:
        fill(home)
        change_store(home, "DELETE FROM params WHERE key = 'entry-000003'")
        with pytest.raises(RegistryError, match=r"entry 3 is missing: the store has only 2; restore .* move .* away"):
            open_log(home)

    def test_a_chain_forged_as_a_whole_is_noticed_by_the_copy(self, home: Path, new_home: Callable[[], Path]) -> None:
        fill(home)
        forged = fill(new_home())
        for entry in forged.entries:
            change_store(
                home, "UPDATE params SET value = ? WHERE key = ?", entry.to_text(), f"entry-{entry.number:06d}"
            )
        with pytest.raises(RegistryError, match="entry 1 is not the entry that this home saw on "):
            open_log(home)

    def test_a_store_that_begins_again(self, home: Path, new_home: Callable[[], Path]) -> None:
        fill(home)
        (home / "mlflow.db").write_bytes((new_home() / "mlflow.db").read_bytes())
        with pytest.raises(RegistryError, match="entry 1 is missing: the store has only 0"):
            open_log(home)
        promotion_log_file(home).rename(home / "old log")
        assert open_log(home).entries == ()

    def test_another_store_has_another_copy(
        self, home: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(home)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new_home()}/mlflow.db")
        log = open_log(home)
        assert log.entries == ()
        log.append("promote", to_version="1")
        assert len(promotion_log_file(home).read_text().splitlines()) == 4
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        assert len(open_log(home).entries) == 3


class TestDeleted:
    def test_experiment(self, home: Path, store: Store) -> None:
        fill(home)
        experiment = store.client.get_experiment_by_name(name_experiment(NAME))
        store.client.delete_experiment(experiment.experiment_id)
        command = f"'mlflow experiments restore --experiment-id {experiment.experiment_id}'"
        for use in (lambda: open_log(home), lambda: LogRun.find_or_create(store, NAME)):
            with pytest.raises(RegistryError, match=f"was deleted; restore it with {command}"):
                use()
        store.client.restore_experiment(experiment.experiment_id)
        assert len(open_log(home).entries) == 3

    def test_run(self, home: Path, store: Store) -> None:
        fill(home)
        run = LogRun.find(store, NAME)
        assert run
        store.client.delete_run(run.run_id)
        with pytest.raises(
            RegistryError, match=f"was deleted; restore it with 'mlflow runs restore --run-id {run.run_id}'"
        ):
            open_log(home)
        store.client.restore_run(run.run_id)
        assert len(open_log(home).entries) == 3

    def test_a_copy_of_the_run_does_not_take_its_place(self, home: Path, store: Store) -> None:
        fill(home)
        experiment = store.client.get_experiment_by_name(name_experiment(NAME))
        store.client.create_run(experiment.experiment_id, tags={"kind": "promotion_log"})
        assert len(open_log(home).entries) == 3


class TestAtTheSameTime:
    def test_one_promotion_wins_and_the_others_are_told_who_won(
        self, home: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        homes = [new_home() for _ in range(3)]
        for round_number in range(20):
            logs = [open_log(folder) for folder in homes]
            won, lost = self.run(
                [partial(log.append, "promote", to_version=f"{round_number}-{n}") for n, log in enumerate(logs)]
            )
            assert len(won) == 1
            entry = won[0]
            for error in lost:
                assert (
                    f"version {entry.to_version} was promoted meanwhile (entry {entry.number}, {entry.author})" in error
                )
            assert open_log(home).champion == entry.to_version
        assert [entry.number for entry in open_log(home).entries] == list(range(1, 21))

    def test_entries_that_change_nothing_all_find_room(self, home: Path) -> None:
        fill(home)
        logs = [open_log(home) for _ in range(4)]
        won, lost = self.run([partial(log.append, "refuse", to_version="4") for log in logs])
        assert (len(won), lost) == (4, [])
        assert len(open_log(home).entries) == 7

    def test_the_log_is_created_once(self, home: Path, store: Store) -> None:
        runs, lost = self.run([lambda: LogRun.find_or_create(store, NAME)] * 4)
        assert len({run.run_id for run in runs}) == 1
        assert not lost
        active = [one.name for one in store.client.search_experiments()]
        assert sorted(active) == sorted(["Default", name_experiment(NAME)])

    @staticmethod
    def run(calls: list[Callable[[], object]]) -> tuple[list, list[str]]:
        """Call all at once, and return the results and the messages of errors."""
        barrier, won, lost = threading.Barrier(len(calls)), [], []

        def work(call: Callable[[], object]) -> None:
            barrier.wait()
            try:
                won.append(call())
            except RegistryError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return won, lost


def test_a_lost_reply_is_no_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store wrote the entry, but the answer did not arrive."""
    from mlflow.exceptions import MlflowException

    log = open_log(home)
    log.append("promote", to_version="1")
    client = type(log._store.client)
    write = client.log_param

    def write_and_fail(self, *arguments: object, **named: object) -> None:
        write(self, *arguments, **named)
        raise MlflowException("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(client, "log_param", write_and_fail)
        assert log.append("promote", to_version="2").number == 2
        patch.setattr(client, "log_param", lambda *a, **b: (_ for _ in ()).throw(MlflowException("connection refused")))
        with pytest.raises(RegistryError, match=r"no answer .connection refused.; run again"):
            log.append("promote", to_version="3")
    assert open_log(home).champion == "2"


class TestCopy:
    def test_is_rewritten_in_one_step_and_only_when_something_changed(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(home)
        path = promotion_log_file(home)
        before = path.stat().st_ino
        open_log(home)
        assert path.stat().st_ino == before
        log = DiskLog(monkeypatch)
        open_log(home).append("promote", to_version="4")
        assert any(kind == "sync" for kind, _ in log.events)
        assert len(path.read_text().splitlines()) == 4

    def test_a_damaged_line_is_skipped_with_a_warning(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        fill(home)
        path = promotion_log_file(home)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], "{", "null", "[1]", '{"store": "x"}', *lines[1:2]]))
        assert len(open_log(home).entries) == 3
        for number in (2, 3, 4, 5):
            assert f"line {number} of {path} is not a valid entry" in caplog.text
        assert path.read_text().splitlines() == lines

    def test_one_that_cannot_be_written_stops_nothing(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        promotion_log_file(home).mkdir()
        assert fill(home).champion == "3"
        assert "this home's copy is not up to date" in caplog.text

    def test_read_only_writes_nothing(self, home: Path, store: Store) -> None:
        fill(home)
        promotion_log_file(home).unlink()
        assert len(PromotionLog.open(store, home, NAME, read_only=True).entries) == 3
        assert not promotion_log_file(home).exists()

    def test_a_moved_home_keeps_its_copy(self, home: Path, tmp_path: Path) -> None:
        fill(home)
        moved = tmp_path / "moved home"
        home.rename(moved)
        change_store(moved, "DELETE FROM params WHERE key = 'entry-000003'")
        with pytest.raises(RegistryError, match="entry 3 is missing"):
            open_log(moved)


class TestOldLedger:
    def line(self, version: str, previous: str | None, action: str = "promote", model: str = NAME) -> str:
        content = {"action": action, "model": model, "version": version, "previous": previous, "reason": "r"}
        return json.dumps(content)

    def test_is_taken_over_once(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        lines = [
            self.line("1", None),
            '{"action": "prom',
            self.line("2", "1"),
            "null",
            '{"action": "promote", "model": 1}',
            self.line("7", None, model="films"),
            self.line("1", "2", "rollback"),
            "\ufffd",
        ]
        old_ledger_file(home).write_text("\n".join(lines) + "\n")
        log = open_log(home)
        assert [(entry.action, entry.from_version, entry.to_version) for entry in log.entries] == [
            ("imported", None, "1"),
            ("imported", "1", "2"),
            ("imported", "2", "1"),
        ]
        assert log.champion == "1"
        assert log.entries[0].details["skipped_lines"] == 4
        for number in (2, 4, 5, 8):
            assert f"line {number} is not a valid entry; skipped" in caplog.text
        assert not old_ledger_file(home).exists()
        assert (home / "ledger.jsonl.imported").read_text().splitlines() == lines
        assert open_log(home).entries == log.entries
        assert PromotionLog.open(connect(home, CONFIG), home, "films").champion == "7"

    def test_an_interrupted_takeover_continues(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old_ledger_file(home).write_text(f"{self.line('1', None)}\n{self.line('2', '1')}\n")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
            with pytest.raises(RegistryError, match="imported, but cannot be renamed"):
                open_log(home)
        assert [entry.to_version for entry in open_log(home).entries] == ["1", "2"]

    def test_the_ledger_of_a_second_home_is_history_only(
        self, home: Path, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(home)
        second = new_home()
        old_ledger_file(second).write_text(self.line("1", None) + "\n")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        log = open_log(second)
        assert log.entries[-1].action == "imported"
        assert log.champion == "3"

    def test_only_one_process_takes_it_over(self, home: Path) -> None:
        old_ledger_file(home).write_text(self.line("1", None))
        with lock(home, "promotion_log"), pytest.raises(ArtifactError, match="another process holds the lock"):
            open_log(home)

    def test_one_that_cannot_be_read(self, home: Path) -> None:
        old_ledger_file(home).mkdir()
        with pytest.raises(RegistryError, match=r"old promotion log .*: cannot be read"):
            open_log(home)
