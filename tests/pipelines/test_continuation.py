"""`recsys train --from champion`: what continues, what is learned anew, when it is refused, and when it is not done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, change, copy_home

from recsys.collab.als import AlsModel
from recsys.config import Config
from recsys.errors import ConfigError, DataError
from recsys.monitoring.monitored_nights import Night
from recsys.pipelines import continuation as continuation_module
from recsys.pipelines import train as train_module
from recsys.pipelines.continuation import find_continuation
from recsys.pipelines.promote import promote
from recsys.pipelines.train import train, train_together
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, EVALUATION_MODEL, Version, need_version, open_bundle
from recsys.serving.bundle import Bundle
from recsys.storage.files import write_json
from recsys.storage.home import monitored_nights_folder, run_folder
from recsys.text.training.processes import Processes
from recsys.training.continuation import check_continuation

BEFORE = datetime(2025, 1, 20, tzinfo=UTC)


def open_evaluation_model(config: Config, home: Path, version: Version) -> Bundle:
    with open_bundle(connect(home, config), version, EVALUATION_MODEL) as folder:
        return Bundle.load(folder)


def open_both(trained: Trained, continued: tuple[Path, Version]) -> tuple[Bundle, Bundle]:
    """Open the evaluation models of the champion and of the training that continues from it."""
    home, version = continued
    champion = need_version(connect(home, trained.config), "recsys", CHAMPION, "")
    return open_evaluation_model(trained.config, home, champion), open_evaluation_model(trained.config, home, version)


@pytest.fixture(scope="module")
def continued(trained: Trained, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Version]]:
    """A home whose champion was continued a week later, and the version that came of it."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("continued") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw))
        # Nothing may be fine-tuned.
        patch.setattr(train_module, "prepare_encoder_inputs", None)
        yield home, train(trained.config, home, LAST_DAY, start=CHAMPION).version


def test_the_encoder_stays_and_the_interest_model_continues(trained: Trained, continued: tuple[Path, Version]) -> None:
    home, version = continued
    store = connect(home, trained.config)
    champion = need_version(store, "recsys", CHAMPION, "")
    assert version.number != champion.number
    assert (version.tags["continued"], version.tags["continued_from"]) == ("1", champion.number)
    earlier, later = (open_evaluation_model(trained.config, home, one) for one in (champion, version))
    assert later.encoder.digest() == earlier.encoder.digest()
    assert later.checkpoint == earlier.checkpoint
    both = [bundle.candidate_models["interest"].item_vectors(bundle.embeddings) for bundle in (earlier, later)]
    assert not np.array_equal(*both)
    # A model from scratch would be another one altogether.
    moved = np.linalg.norm(both[1] - both[0], axis=1)
    assert np.median(moved) < 0.5 * np.median(np.linalg.norm(both[0], axis=1))


def test_no_model_has_seen_a_label_window(trained: Trained, continued: tuple[Path, Version]) -> None:
    earlier, later = open_both(trained, continued)
    assert earlier.start is not None
    assert later.start is not None
    # Windows are a week: the start is as of the oldest label window of each.
    assert earlier.start.cutoff == BEFORE
    assert later.start.cutoff == datetime(2025, 1, 27, tzinfo=UTC)
    assert later.cutoff == datetime(2025, 2, 3, tzinfo=UTC)


def test_als_continues_from_the_factors_of_the_oldest_label_window(
    trained: Trained, continued: tuple[Path, Version]
) -> None:
    home, _ = continued
    earlier, later = open_both(trained, continued)
    assert earlier.start is not None
    assert later.start is not None
    snapshot, windows = train_module._read(trained.config, home, LAST_DAY)
    oldest = windows.measurement_fold.labels[-1]
    assert later.start.cutoff == oldest.cutoff
    histories = oldest.known.gather(snapshot.items, oldest.cutoff)
    start = earlier.start.candidate_models.align(snapshot.items["item_id"])["als"]
    expected = AlsModel.fit(histories, trained.config.collab.als, trained.config.seed, 1, start=start)
    found = later.start.candidate_models["als"]
    assert found.item_factors.tobytes() == expected.item_factors.tobytes()


def test_the_choice_about_the_ranker_is_kept_and_its_age_is_told(
    trained: Trained, continued: tuple[Path, Version]
) -> None:
    home, version = continued
    earlier, later = open_both(trained, continued)
    assert earlier.ranker.choice.kept == 0
    assert later.ranker.choice == replace(earlier.ranker.choice, kept=1)
    assert later.ranker.trees_text != earlier.ranker.trees_text
    folder = run_folder(home, version.tags["run"])
    measured = json.loads((folder / "measured.json").read_text("utf-8"))
    assert "on held-out users, 1 training ago" in measured["ranker"]
    # The curve of an earlier training is none of this one.
    assert json.loads((folder / "curves.json").read_text("utf-8"))["ranker_validation_ndcg"] == []


def test_a_bundle_of_an_older_recsys_starts_als_from_scratch(trained: Trained, tmp_path: Path, earlier: Bundle) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    earlier.save(folder)
    facts = json.loads((folder / "bundle.json").read_text("utf-8"))
    assert facts.pop("start_models") == ["als"]
    write_json(folder / "bundle.json", facts)
    (folder / "start" / "als.safetensors").unlink()
    start = Bundle.load(folder).start
    assert start is not None
    assert start.models.keys() == {"interest"}
    assert start.candidate_models.models == {}


def test_a_chain_counts_and_ends_with_a_full_training(
    trained: Trained, continued: tuple[Path, Version], caplog: pytest.LogCaptureFixture
) -> None:
    home, version = continued
    config = change(trained.config, continuation={"full_every": 3})
    promote(config, home)
    snapshot, windows = train_module._read(config, home, LAST_DAY)
    arguments = (home, connect(home, config), CHAMPION, windows.measurement_fold, snapshot.items)
    second = find_continuation(config, *arguments)
    assert second is not None
    assert second.tags == {"continued": "2", "continued_from": version.number}
    caplog.set_level("INFO")
    assert find_continuation(change(config, continuation={"full_every": 2}), *arguments) is None
    assert "training from scratch: 1 training continued since the last full one" in caplog.text


def write_night(home: Path, version: str, **fields: Any) -> None:
    night = Night(LAST_DAY, "", "", version, "", "alert", {}, {}, retrain=True)
    write_json(monitored_nights_folder(home, "mini") / f"{LAST_DAY}.json", asdict(replace(night, **fields)))


@pytest.mark.parametrize(
    ("fields", "settings", "full"),
    [
        ({}, {}, True),
        ({"accepted": "a sale"}, {}, False),
        ({"retrain": False}, {}, False),
        ({"model_version": "99"}, {}, False),
        ({}, {"full_if_monitor_asks": False}, False),
    ],
)
def test_the_monitor_asks_for_a_full_training(
    fields: dict[str, Any],
    settings: dict[str, Any],
    full: bool,
    trained: Trained,
    trained_copy: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = change(trained.config, continuation=settings)
    store = connect(trained_copy, config)
    champion = need_version(store, "recsys", CHAMPION, "")
    monitored_nights_folder(trained_copy, "mini").mkdir(parents=True, exist_ok=True)
    write_night(trained_copy, champion.number, **fields)
    caplog.set_level("INFO")
    reason = continuation_module._find_reason_for_full(config, trained_copy, champion, 1)
    assert bool(reason) == full
    assert not full or f"night {LAST_DAY} recommends it" in reason


def test_without_a_champion_a_training_is_a_full_one(
    trained: Trained, new_home: Callable[[], Path], caplog: pytest.LogCaptureFixture
) -> None:
    home = new_home()
    snapshot, windows = train_module._read(trained.config, trained.home, RUN_DATE)
    store = connect(home, trained.config)
    found = find_continuation(trained.config, home, store, CHAMPION, windows.measurement_fold, snapshot.items)
    assert found is None
    assert "training from scratch: model 'recsys' has no version with the alias 'champion'" in caplog.text


@pytest.fixture(scope="module")
def earlier(trained: Trained) -> Bundle:
    champion = need_version(connect(trained.home, trained.config), "recsys", CHAMPION, "")
    return open_evaluation_model(trained.config, trained.home, champion)


class TestRefusals:
    def check(self, config: Config, trained: Trained, earlier: Bundle, run_date: str = LAST_DAY, **titles: Any) -> None:
        snapshot, windows = train_module._read(trained.config, trained.home, run_date)
        items = snapshot.items.with_columns(**{name: pl.Series(values) for name, values in titles.items()})
        check_continuation(config, items, windows.measurement_fold, earlier, "champion version 1")

    def test_the_same_settings_a_week_later_are_fine(self, trained: Trained, earlier: Bundle) -> None:
        self.check(trained.config, trained, earlier)

    @pytest.mark.parametrize(
        ("sections", "said"),
        [
            ({"text": {"interest": {"size": 32}}}, r"text\.interest\.size is 32, there (not set|\d+)"),
            ({"text": {"max_tokens": 24}}, "text.max_tokens is 24, there 16"),
            ({"text": {"fine_tune": {"learning_rate": 0.5}}}, r"text\.fine_tune\.learning_rate is 0\.5, there"),
        ],
    )
    def test_other_settings(self, sections: dict[str, Any], said: str, trained: Trained, earlier: Bundle) -> None:
        with pytest.raises(ConfigError, match=f"continuing from champion version 1: settings .* differ: {said}"):
            self.check(change(trained.config, **sections), trained, earlier)

    def test_settings_of_other_parts_may_change(self, trained: Trained, earlier: Bundle) -> None:
        self.check(change(trained.config, ranking={"max_trees": 7}, text={"batch_tokens": 999}), trained, earlier)

    def test_a_label_window_that_was_seen(self, trained: Trained, earlier: Bundle) -> None:
        seen = replace(earlier, start=replace(earlier.start, cutoff=datetime(2025, 1, 28, tzinfo=UTC)))
        with pytest.raises(DataError, match=r"have seen events until 2025-01-28.*choose a later --run-date"):
            self.check(trained.config, trained, seen)

    def test_another_language(self, trained: Trained, earlier: Bundle) -> None:
        with pytest.raises(DataError, match=r"knows 0 of the catalogue's 120 texts.*another catalogue or language"):
            self.check(trained.config, trained, earlier, title=["別の題名"] * 120)

    def test_other_vectors(self, trained: Trained, earlier: Bundle) -> None:
        photos = {"vector:photo": [[1.0, 0.0]] * 120}
        with pytest.raises(DataError, match="trained with no vectors, found vectors 'photo' of 2 numbers"):
            self.check(trained.config, trained, earlier, **photos)

    def test_a_version_of_an_older_recsys(self, trained: Trained, earlier: Bundle) -> None:
        with pytest.raises(ConfigError, match="no models to start from"):
            self.check(trained.config, trained, replace(earlier, start=None))

    def test_a_protocol_without_a_clock(self, trained: Trained, earlier: Bundle) -> None:
        snapshot, windows = train_module._read(trained.config, trained.home, LAST_DAY)
        fold = windows.measurement_fold
        timeless = replace(fold, labels=tuple(replace(window, cutoff=None) for window in fold.labels))
        with pytest.raises(ConfigError, match="expected global_time"):
            check_continuation(trained.config, snapshot.items, timeless, earlier, "champion version 1")

    def test_several_processes(self, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(train_module, "join_training", lambda: Processes(0, 2))
        with pytest.raises(ConfigError, match="start it without torchrun"):
            train_together(trained.config, trained.home, LAST_DAY, CHAMPION)
