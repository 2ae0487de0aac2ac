"""A search over settings, from a space to a config file: mostly with made-up trials, some with real ones."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from miniature import NOW, RUN_DATE, TEST_START, settings
from typer.testing import CliRunner
from worlds import at, checkerboard

from recsys.artifacts.snapshots import read_snapshot, write_snapshot
from recsys.cli import app as cli
from recsys.config import Config, load_config, parse_config
from recsys.dataset.windows import Windows, split_windows
from recsys.errors import ArtifactError, ConfigError, DataError
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.tuning import search as tuning
from recsys.pipelines.tuning import trials as trials_file
from recsys.pipelines.tuning.result import Tuned
from recsys.pipelines.tuning.search import tune
from recsys.pipelines.tuning.trials import Score, split_before
from recsys.registry.tracking import connect
from recsys.storage.locks import lock
from recsys.tables import Rejected, empty

SPACE = """\
collab.als.embedding_size: {choices: [8, 16, 32]}
ranking.learning_rate: {low: 0.02, high: 0.2, log: true}
candidates.depths.text: {low: 20, high: 60, step: 20}
"""


class Place:
    """A home with a snapshot of the miniature, a config file with comments, and a space."""

    def __init__(self, home: Path, folder: Path, space: str = SPACE) -> None:
        self.home = home
        self.source = folder / "mini.yaml"
        self.source.write_text("# mine alone\n" + yaml.safe_dump(settings(), sort_keys=False), encoding="utf-8")
        self.config = load_config(self.source)
        self.space = folder / "space.yaml"
        self.space.write_text(space, encoding="utf-8")

    def tune(self, count: int, out: Path | None = None, config: Config | None = None) -> Tuned:
        return tune(self.source, config or self.config, self.space, self.home, RUN_DATE, count, out)


@pytest.fixture
def place(raw_in_place: Path, new_home: Callable[[], Path], tmp_path: Path) -> Place:
    made = Place(new_home(), tmp_path)
    run_ingest(made.config, made.home, NOW)
    return made


class FakeBench:
    """Trials that take no time: quality follows the learning rate, seconds the size of the factors."""

    def __init__(self) -> None:
        self.rungs: list[Windows] = []
        self.ran: list[tuple[float, int, int]] = []
        self.dies_at: int | None = None
        self.refuses: int | None = None

    def __call__(self, config: Config, items: pl.DataFrame, windows: Windows, **_: object) -> "FakeBench":
        self.rungs = [windows, windows]
        return self

    def run(self, config: Config, rung: int) -> Score:
        if len(self.ran) == self.dies_at:
            self.dies_at = None
            raise KeyboardInterrupt
        size = config.collab.als.embedding_size
        rate = config.ranking.learning_rate
        self.ran.append((rate, size, rung))
        if size == self.refuses:
            raise DataError("no training data")
        users = 40 if rung == 0 else 160
        values = np.random.default_rng(int(rate * 1e6)).normal(0.3 + rate, 0.01, users)
        frame = pl.DataFrame({"user_id": [f"u{number:03d}" for number in range(users)], "value": values})
        return Score(frame, size * (rung + 1) / 10)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> FakeBench:
    made = FakeBench()
    monkeypatch.setattr(tuning, "Bench", made)
    return made


class TestTrials:
    def test_real_ones_learn_nothing_from_the_test_window(
        self,
        place: Place,
        new_home: Callable[[], Path],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(trials_file, "RUNG_USERS", 5)
        caplog.set_level(logging.INFO, logger="recsys")
        tuned = place.tune(2)
        assert [trial.changed == {} for trial in tuned.trials] == [True, False]
        assert all(0.0 < trial.low <= trial.quality <= trial.high < 1.0 for trial in tuned.trials)
        assert all(trial.seconds > 0 for trial in tuned.trials)
        # The users are those with a positive in the week before the test window; the first rung has some of them.
        rows = pl.read_parquet(place.home / "tuning" / tuned.study / "trial-0000.parquet", glob=False)
        some, everyone = (set(rows.filter(pl.col("rung") == rung)["user_id"]) for rung in (1, 2))
        assert some < everyone
        assert len(everyone) == tuned.users
        lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("trial ")]
        assert lines[0].startswith("trial 0 (1 of 2): ndcg@10 0.")
        assert "; the original config; about " in lines[0]
        # One line per trial: the stages keep quiet.
        assert not [record for record in caplog.records if record.getMessage().startswith("ranker")]

        # Other events in the test window change nothing.
        dataset = place.config.dataset.model_dump(mode="json")
        known = read_snapshot(place.home, "mini", dataset)
        late = known.interactions["time"] >= TEST_START
        # A few users stay, or there is no test window.
        few = known.interactions.filter(late)["user_id"].unique().sort().head(5).to_list()
        kept = known.interactions.filter(~late | known.interactions["user_id"].is_in(few))
        assert known.interactions.height - kept.height > 300
        (tmp_path / "other").mkdir()
        other = Place(new_home(), tmp_path / "other")
        tables = {"items": known.items, "interactions": kept, "rejected": empty(Rejected)}
        write_snapshot(other.home, "mini", tables, dataset)
        again = other.tune(2)
        assert again.study != tuned.study
        assert [trial.changed for trial in again.trials] == [trial.changed for trial in tuned.trials]
        for number in range(2):
            one, two = (
                pl.read_parquet(home / "tuning" / study / f"trial-{number:04d}.parquet", glob=False).drop("seconds")
                for home, study in ((place.home, tuned.study), (other.home, again.study))
            )
            assert one.equals(two)

    def test_the_config_as_it_is_comes_first_and_runs_whole(self, place: Place, bench: FakeBench) -> None:
        tuned = place.tune(1)
        assert bench.ran == [(0.05, 64, 0), (0.05, 64, 1)]
        # 64 is no choice of the space, and still it is what ran.
        assert tuned.trials[0].changed == {}
        assert tuned.verdict.winner == tuned.trials[0]

    def test_one_that_is_surely_worse_and_not_faster_ends_on_the_first_rung(
        self, place: Place, bench: FakeBench
    ) -> None:
        tuned = place.tune(9)
        pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
        assert pruned
        for trial in pruned:
            assert trial.rung == 1
            assert trial.reason.startswith("-0.")
            rate, size = trial.changed["ranking.learning_rate"], trial.changed["collab.als.embedding_size"]
            assert (rate, size, 0) in bench.ran
            assert (rate, size, 1) not in bench.ran
        assert {trial.rung for trial in tuned.trials if trial.state == "complete"} == {2}

    def test_settings_that_fail_are_told_and_the_search_goes_on(self, place: Place, bench: FakeBench) -> None:
        bench.refuses = 8
        tuned = place.tune(6)
        failed = [trial for trial in tuned.trials if trial.state == "failed"]
        assert {trial.reason for trial in failed} == {"no training data"}
        assert {trial.changed["collab.als.embedding_size"] for trial in failed} == {8}
        assert len(tuned.trials) == 6
        bench.refuses = 64
        place.space.write_text("ranking.min_data_in_leaf: {low: 5, high: 9}")
        with pytest.raises(DataError, match="no training data"):
            place.tune(6)

    def test_an_exhausted_space_ends_the_search(
        self, place: Place, bench: FakeBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tuning, "_MAX_REPEATS", 5)
        place.space.write_text("collab.als.embedding_size: {choices: [8, 64]}")
        tuned = place.tune(50)
        assert [trial.changed for trial in tuned.trials] == [{}, {"collab.als.embedding_size": 8}]


class TestTakenUpAgain:
    def test_a_killed_trial_is_tried_again_and_nothing_else_changes(
        self,
        place: Place,
        bench: FakeBench,
        new_home: Callable[[], Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # From the fourth on the sampler learns from what was measured.
        monkeypatch.setattr(tuning, "_RANDOM_TRIALS", 3)
        (tmp_path / "other").mkdir()
        other = Place(new_home(), tmp_path / "other")
        run_ingest(other.config, other.home, NOW)
        whole = other.tune(7)
        ran = list(bench.ran)
        # Every trial has settings of its own.
        assert len({json.dumps(trial.changed) for trial in whole.trials}) == 7

        bench.ran.clear()
        for bench.dies_at in (1, 5):
            with pytest.raises(KeyboardInterrupt):
                place.tune(7)
        assert place.tune(5).trials == place.tune(4).trials
        done = place.tune(7)
        assert done.study == whole.study
        assert [trial.changed for trial in done.trials] == [trial.changed for trial in whole.trials]
        assert [trial.quality for trial in done.trials] == [trial.quality for trial in whole.trials]
        # At most the first rung of the two that were killed ran twice.
        assert set(bench.ran) == set(ran)
        assert len(ran) < len(bench.ran) <= len(ran) + 2

    def test_a_finished_search_only_shows_itself(self, place: Place, bench: FakeBench) -> None:
        first = place.tune(3)
        bench.ran.clear()
        again = place.tune(2)
        assert bench.ran == []
        assert again == first

    def test_another_config_is_another_search(self, place: Place, bench: FakeBench) -> None:
        first = place.tune(1)
        content = settings() | {"seed": 5}
        place.source.write_text(yaml.safe_dump(content))
        other = place.tune(1, config=parse_config(content, "test"))
        assert first.study != other.study

    def test_lost_values_are_told(self, place: Place, bench: FakeBench) -> None:
        tuned = place.tune(2)
        (place.home / "tuning" / tuned.study / "trial-0000.parquet").write_bytes(b"half")
        with pytest.raises(ArtifactError, match="values of trial 0 cannot be read"):
            place.tune(3)

    def test_a_database_that_is_none_is_told(self, place: Place, bench: FakeBench) -> None:
        (place.home / "tuning").mkdir()
        (place.home / "tuning" / "mini.db").write_text("no database, but long enough to be taken for one" * 40)
        with pytest.raises(ArtifactError, match="move it away and run again"):
            place.tune(1)

    def test_one_search_at_a_time(self, place: Place) -> None:
        with lock(place.home, "tuning"), pytest.raises(ArtifactError, match="another process holds the lock"):
            place.tune(1)


class TestWhatIsWritten:
    def test_the_winner_is_the_own_file_with_other_values(self, place: Place, bench: FakeBench) -> None:
        tuned = place.tune(9)
        winner = tuned.verdict.winner
        assert winner.changed
        assert tuned.path == place.home / "tuning" / "mini.yaml"
        text = tuned.path.read_text(encoding="utf-8")
        assert text.startswith("# mine alone\nname: mini\n")
        written = load_config(tuned.path).resolved()
        was = place.config.resolved()
        for path, value in winner.changed.items():
            *sections, name = path.split(".")
            new, old = written, was
            for section in sections:
                new, old = new[section], old[section]
            assert (new[name], old[name]) == (value, tuned.original[path])
            new[name] = old[name]
        assert written == was

    def test_never_over_the_config_itself(self, place: Place, bench: FakeBench, tmp_path: Path) -> None:
        before = place.source.read_bytes()
        (tmp_path / "link.yaml").symlink_to(place.source)
        for out in (place.source, tmp_path / "link.yaml"):
            with pytest.raises(ConfigError, match="choose another --out"):
                place.tune(1, out)
        assert place.source.read_bytes() == before
        assert bench.ran == []
        assert place.tune(1, tmp_path / "deep" / "won.yaml").path.is_file()

    def test_a_file_that_cannot_be_rewritten_is_told_before_any_trial(self, place: Place, bench: FakeBench) -> None:
        text = place.source.read_text() + "collab: {als: {embedding_size: &size 64}, transitions: {k: *size}}\n"
        place.source.write_text(text)
        with pytest.raises(ConfigError, match="anchors"):
            place.tune(1, config=load_config(place.source))
        assert bench.ran == []

    def test_every_trial_is_a_run_below_one(self, place: Place, bench: FakeBench) -> None:
        bench.refuses = 8
        place.tune(3)
        tuned = place.tune(9)
        client = connect(place.home, place.config).client
        experiment = client.get_experiment_by_name("recsys").experiment_id
        runs = client.search_runs([experiment])
        (parent,) = [run for run in runs if run.data.tags.get("search") == tuned.study]
        assert parent.info.run_name == f"tune {tuned.study}"
        assert parent.info.status == "FINISHED"
        assert parent.data.tags["winner"] == str(tuned.verdict.winner.number)
        assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"mini.yaml", "space.yaml"}
        nested = {
            run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        }
        assert len(nested) == len(runs) - 1 == 9
        assert {run.data.tags["state"] for run in nested.values()} == {"complete", "pruned", "failed"}
        for trial in tuned.trials:
            run = nested[f"trial {trial.number}"]
            assert run.data.params == {path: str(value) for path, value in trial.changed.items()}
            assert run.data.tags["state"] == trial.state
            assert (run.info.status == "FAILED") == (trial.state == "failed")
            if trial.state != "failed":
                assert run.data.metrics["tuning/ndcg_at_10"] == pytest.approx(trial.quality)
                assert run.data.metrics["tuning/ndcg_at_10_low"] == pytest.approx(trial.low)
                assert (run.data.metrics["seconds"], run.data.metrics["rung"]) == (trial.seconds, trial.rung)


class TestSplitBefore:
    @pytest.mark.parametrize(
        "windows",
        [
            {"test_days": 7},
            {"test_share": 0.1, "label_windows": 2},
            {"protocol": "leave_last_out"},
            {"protocol": "random"},
            {"protocol": "cold_items"},
            {"protocol": "holdout_file", "holdout_path": "pairs.csv"},
        ],
        ids=str,
    )
    def test_nothing_of_the_test_window_is_left(self, windows: dict[str, Any]) -> None:
        content = settings() | {"windows": windows}
        config = parse_config(content, "test")
        _, interactions = checkerboard(users=24, items=20)
        holdout = interactions.group_by("user_id").last().select("user_id", "item_id")
        end = at(60) if config.windows.protocol == "global_time" else None
        whole = split_windows(interactions, config.windows, repeats=False, end=end, seed=0, holdout=holdout)
        inner = split_before(whole.test, config)
        pairs = ["user_id", "item_id"]
        for window in inner.windows:
            for frame in (window.history, window.positives):
                assert not frame.is_empty()
                assert frame.join(whole.test.positives, on=pairs, how="semi").is_empty()
        assert inner.everything.equals(whole.test.history)
        assert inner.end == whole.test.cutoff
        if whole.test.cutoff:
            assert inner.everything["time"].max() < whole.test.cutoff

    def test_too_little_is_told(self) -> None:
        config = parse_config(settings() | {"windows": {"test_days": 24}}, "test")
        _, interactions = checkerboard(users=24, items=20)
        test = split_windows(interactions, config.windows, repeats=False, end=at(60), seed=0).test
        with pytest.raises(DataError, match="one more window before the test window"):
            split_before(test, config)


class TestCommand:
    @pytest.fixture
    def call(self, place: Place, bench: FakeBench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        # Threads and logging are set for a process; this one goes on after the test.
        monkeypatch.setattr("recsys.cli.setup.set_threads", lambda threads: None)
        monkeypatch.setattr("recsys.cli.setup.start_logging", lambda **options: None)
        monkeypatch.setenv("RECSYS_HOME", str(place.home))
        options = ["--config", str(place.source), "--space", str(place.space), "--run-date", RUN_DATE]
        return lambda *more: CliRunner().invoke(cli.app, ["tune", *options, *map(str, more)])

    def test_prints_who_wins(self, call: Callable[..., Any], tmp_path: Path) -> None:
        out = tmp_path / "won.yaml"
        done = call("--trials", 6, "--out", out)
        assert done.exit_code == 0
        assert " wins" in done.stdout
        assert "written to" in done.stdout
        content = json.loads(call("--trials", 6, "--json").stdout)
        assert len(content["trials"]) == 6
        assert content["winner"] in content["front"]
        assert load_config(out).digest() == load_config(Path(content["config"])).digest()

    def test_a_wrong_space_is_our_error(self, call: Callable[..., Any], place: Place) -> None:
        place.space.write_text("collab.als.size: {low: 1, high: 2}")
        answer = call()
        assert isinstance(answer.exception, ConfigError)
        assert answer.exception.exit_code == 2
