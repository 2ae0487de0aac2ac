"""Publishing that cannot strand readers: implausible run dates, nights that are not followed, losses, moves by hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, rmtree

import polars as pl
import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files

from recsys.artifacts.recommendations import find_published, read_pointer
from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.errors import ArtifactError, Refused
from recsys.monitoring.monitored_nights import Night
from recsys.pipelines.generate import NightOptions, generate, generate_range
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.last_good import find_last_good_lists, find_last_good_snapshot
from recsys.pipelines.published import list_published, move_pointer
from recsys.storage.files import encode_json, replace_text
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder, monitored_nights_folder
from recsys.tables import Rejected, empty

DAY = "2025-02-05"


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("publishing") / "home")
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path, trained: Trained, snapshot: Snapshot) -> Path:
    """Only the trained home's one night is published, and its snapshot is current."""
    for name in ("recommendations", "monitoring"):
        rmtree(base / name, ignore_errors=True)
    copytree(trained.home / "recommendations", base / "recommendations")
    put_data(base, trained, snapshot.items, snapshot.interactions)
    return base


def put_data(home: Path, trained: Trained, items: pl.DataFrame, interactions: pl.DataFrame) -> None:
    tables = {"items": items, "interactions": interactions, "rejected": empty(Rejected)}
    write_snapshot(home, trained.config.name, tables, trained.config.dataset.model_dump(mode="json"))


def put_verdict(home: Path, run_date: str, verdict: str, snapshot: str) -> None:
    night = Night(run_date, "", snapshot, "1", "", "calm", {}, {})
    text = encode_json(vars(replace(night, verdict=verdict)))
    replace_text(monitored_nights_folder(home, "mini") / f"{run_date}.json", text)


class TestRunDates:
    @pytest.mark.parametrize("run_date", ["2052-02-05", "2025-06-03"])
    def test_a_run_date_after_tomorrow_is_refused(self, run_date: str, home: Path, trained: Trained) -> None:
        before = read_files(home / "recommendations")
        with pytest.raises(Refused, match=f"{run_date}: the run date is in the future, expected at most 2025-06-02"):
            generate(trained.config, home, run_date, NOW)
        with pytest.raises(Refused, match="in the future"):
            generate_range(trained.config, home, LAST_DAY, run_date, NOW)
        assert read_files(home / "recommendations") == before

    def test_a_run_date_far_after_the_data_is_refused(self, home: Path, trained: Trained) -> None:
        with pytest.raises(Refused, match="2025-05-31: the snapshot's last event is on 2025-02-09, more than 31 days"):
            generate(trained.config, home, "2025-05-31", NOW)
        rare = change(trained.config, generation={"max_snapshot_age_hours": 24 * 200})
        assert generate(rare, home, "2025-05-31", NOW).readers == "2025-05-31"

    def test_the_clock_decides_as_long_as_data_is_fresh(self, home: Path, trained: Trained) -> None:
        early = datetime(2025, 1, 1, tzinfo=UTC)
        # The data is newer than the clock: a simulation on a machine with a wrong clock.
        assert generate(trained.config, home, LAST_DAY, early).readers == LAST_DAY
        with pytest.raises(Refused, match=f"expected at most {LAST_DAY}"):
            generate(trained.config, home, "2025-02-11", early)

    def test_a_simulation_may_go_anywhere_and_the_next_night_brings_readers_back(
        self, home: Path, trained: Trained, caplog: pytest.LogCaptureFixture
    ) -> None:
        future = NightOptions(allow_future=True)
        assert generate(trained.config, home, "2052-02-05", NOW, future).readers == "2052-02-05"
        # A simulation trusts its own pointer.
        assert generate(trained.config, home, DAY, NOW, future).readers == "2052-02-05"
        made = generate(trained.config, home, DAY, NOW)
        assert made.readers == DAY == read_pointer(home)
        assert "readers followed run date 2052-02-05, which is in the future (later than 2025-06-02)" in caplog.text


class TestReaders:
    def test_an_older_night_is_not_followed_and_can_be(self, home: Path, trained: Trained) -> None:
        generate(trained.config, home, LAST_DAY, NOW)
        made = generate(trained.config, home, DAY, NOW)
        assert (made.run_date, made.readers) == (DAY, LAST_DAY)
        move = move_pointer(trained.config, home, DAY, NOW)
        assert (move.from_run_date, move.to_run_date, move.time) == (LAST_DAY, DAY, NOW.isoformat())
        assert "@" in move.who
        shown = list_published(trained.config, home, NOW)
        assert [(night.run_date, night.followers, night.state) for night in shown.nights] == [
            (LAST_DAY, (), "whole"),
            (DAY, ("readers",), "whole"),
            (RUN_DATE, (), "whole"),
        ]
        assert shown.nights[0].age_days == 111
        assert (shown.readers, shown.fault, shown.moves[-1]) == (DAY, "", move)
        # Moving to where readers are already is no move.
        move_pointer(trained.config, home, DAY, NOW)
        assert len(list_published(trained.config, home, NOW).moves) == len(shown.moves)

    def test_readers_are_not_moved_to_damaged_lists(self, home: Path, trained: Trained) -> None:
        generate(trained.config, home, DAY, NOW)
        (list_folder(home, RUN_DATE) / "part-00000.parquet").write_bytes(b"")
        for run_date in (RUN_DATE, "2025-02-04"):
            with pytest.raises(ArtifactError, match=f"run 'recsys generate --run-date {run_date}'"):
                move_pointer(trained.config, home, run_date, NOW)
        (damaged,) = (it for it in list_published(trained.config, home, NOW).nights if it.state == "damaged")
        assert (damaged.run_date, damaged.version, damaged.followers) == (RUN_DATE, "1", ())
        assert "part-00000.parquet is changed" in damaged.fault
        assert read_pointer(home) == DAY

    def test_a_backfill_leaves_readers_alone(self, home: Path, trained: Trained) -> None:
        options = NightOptions(keep_pointer=True)
        made = generate_range(trained.config, home, "2025-02-04", DAY, NOW, options)
        assert [night.readers for night in made] == [RUN_DATE, RUN_DATE]
        assert find_published(home) == [RUN_DATE, "2025-02-04", DAY]
        # The same night again, without the option, is followed.
        assert generate(trained.config, home, DAY, NOW).readers == DAY


class TestLosses:
    def test_users_and_rows_that_are_lost_are_refused_and_can_be_accepted(
        self, home: Path, trained: Trained, snapshot: Snapshot
    ) -> None:
        half = snapshot.interactions.filter(pl.col("user_id").hash(seed=1) % 2 == 0)
        put_data(home, trained, snapshot.items, half)
        anything = change(trained.config, generation={"sanity": {"max_score_shift": 1.0, "min_coverage_left": 0.0}})
        with pytest.raises(Refused) as refused:
            generate(anything, home, DAY, NOW)
        message = str(refused.value)
        assert "of the 132 users of the last good lists get no list (limit 30%, generation.sanity.max_users" in message
        assert "fewer rows than in the last good lists" in message
        assert f"compared with the lists of {RUN_DATE}" in message
        assert "--accept-loss REASON" in message
        assert read_pointer(home) == RUN_DATE
        made = generate(anything, home, DAY, NOW, NightOptions(accept_loss="the shop in the north was sold"))
        assert read_manifest(made.folder, "")["accepted"] == "the shop in the north was sold"
        # From now on these are the last good lists, whatever the monitor said about them.
        put_verdict(home, DAY, "alert", read_manifest(made.folder, "")["snapshot"])
        assert generate(anything, home, "2025-02-06", NOW).readers == "2025-02-06"

    def test_a_night_with_an_alert_is_not_what_the_next_one_is_compared_with(
        self, home: Path, trained: Trained
    ) -> None:
        for day in ("2025-02-04", DAY):
            generate(trained.config, home, day, NOW)

        def compared() -> str:
            found = find_last_good_lists(home, "mini", LAST_DAY, None)
            assert found is not None
            return str(found[1]["run_date"])

        snapshot = read_manifest(list_folder(home, DAY), "")["snapshot"]
        assert compared() == DAY
        put_verdict(home, DAY, "alert", snapshot)
        assert compared() == "2025-02-04"
        # The lists were made again from other data since.
        put_verdict(home, DAY, "alert", "another snapshot")
        assert compared() == DAY
        # Nothing good is left: the current lists are all there is.
        for day in (RUN_DATE, "2025-02-04", DAY):
            put_verdict(home, day, "alert", read_manifest(list_folder(home, day), "")["snapshot"])
        assert compared() == DAY

    def test_a_night_before_the_current_one_is_compared_with_earlier_lists(self, home: Path, trained: Trained) -> None:
        for day in (LAST_DAY, "2025-02-04"):
            generate(trained.config, home, day, NOW)
        found = find_last_good_lists(home, "mini", DAY, None)
        assert found is not None
        assert found[1]["run_date"] == "2025-02-04"


class TestIngest:
    @pytest.fixture(autouse=True)
    def files(self, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        copytree(raw, tmp_path / "raw")
        monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "raw"))
        return tmp_path / "raw"

    def drop(self, files: Path, keep: pl.Expr) -> None:
        path = files / "interactions.csv.gz"
        rows = pl.read_csv(path.read_bytes(), infer_schema=False).filter(keep)
        path.write_bytes(rows.write_csv().encode())

    def test_a_loss_is_refused_and_can_be_accepted(self, trained: Trained, files: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        first, _ = run_ingest(trained.config, home, NOW)
        self.drop(files, pl.col("event") != "purchase")
        with pytest.raises(Refused) as refused:
            run_ingest(trained.config, home, NOW)
        message = str(refused.value)
        assert f"ingest of 'mini', compared with snapshot {first}: 100.0% of the interactions of the kind" in message
        assert "recsys ingest --accept-loss REASON" in message
        assert find_last_good_snapshot(home, "mini").id == first  # type: ignore[union-attr]
        # The refused data can be looked at.
        assert (home / "snapshots" / "new-mini" / "rejected.parquet").is_file()
        second, _ = run_ingest(trained.config, home, NOW, "purchases have moved to another system")
        current = find_last_good_snapshot(home, "mini")
        assert current is not None
        assert (current.id, current.manifest["accepted"]) == (second, "purchases have moved to another system")
        assert not (home / "snapshots" / "new-mini").exists()
        # The same data again, as after a retry, keeps what was accepted.
        assert run_ingest(trained.config, home, NOW)[0] == second
        put_verdict(home, DAY, "alert", second)
        assert find_last_good_snapshot(home, "mini").id == second  # type: ignore[union-attr]

    def test_a_snapshot_with_an_alert_is_not_what_new_data_is_compared_with(
        self, trained: Trained, files: Path, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        first, _ = run_ingest(trained.config, home, NOW)
        self.drop(files, pl.col("user_id").hash(seed=1) % 100 < 75)
        second, _ = run_ingest(trained.config, home, NOW)
        put_verdict(home, "2025-02-04", "calm", first)
        put_verdict(home, DAY, "alert", second)
        assert find_last_good_snapshot(home, "mini").id == first  # type: ignore[union-attr]
        # A quarter more is gone: a small step from the bad snapshot, but not from the good one.
        self.drop(files, pl.col("user_id").hash(seed=1) % 100 < 56)
        with pytest.raises(Refused, match=f"compared with snapshot {first}: .* of the users are missing"):
            run_ingest(trained.config, home, NOW)

    def test_a_limit_is_no_setting_of_the_data(self, trained: Trained, tmp_path: Path) -> None:
        home = tmp_path / "home"
        first, _ = run_ingest(trained.config, home, NOW)
        strict = change(trained.config, dataset={"sanity": {"max_users_lost": 0.0}})
        assert run_ingest(strict, home, NOW)[0] == first

    def test_data_of_other_settings_is_not_compared(
        self, trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        home = tmp_path / "home"
        run_ingest(trained.config, home, NOW)
        few = change(trained.config, dataset={"interactions": {"keep_rows": ["event == purchase"]}})
        run_ingest(few, home, NOW)
        assert "the dataset settings have changed, so losses since snapshot" in caplog.text


def test_the_moves_are_one_json_line_each(home: Path, trained: Trained) -> None:
    (home / "pointer_moves.jsonl").unlink(missing_ok=True)
    generate(trained.config, home, DAY, NOW)
    move_pointer(trained.config, home, RUN_DATE, NOW)
    (line,) = (home / "pointer_moves.jsonl").read_text().splitlines()
    assert json.loads(line).keys() == {"time", "who", "from_run_date", "to_run_date"}
