"""Models that continue: each as of its cutoff, from the one before; from scratch where they cannot."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from miniature import Trained, change
from worlds import at, checkerboard

from recsys.candidates.models import CandidateModels
from recsys.collab.als import AlsModel
from recsys.config import Config
from recsys.dataset.histories import Histories, build_histories
from recsys.training.candidate_fitting import continue_models, fit_chain

ITEMS, INTERACTIONS = checkerboard(users=30, items=20)
# Newest first, as in `TextModels`.
CUTOFFS = [60, 40, 20]


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    return change(trained.config, collab={"als": {"embedding_size": 4, "refresh_epochs": 2}})


def make_text(*days: int, rows: pl.DataFrame = INTERACTIONS) -> Any:
    histories = [build_histories(rows.filter(pl.col("time") < at(day)), ITEMS, at(day)) for day in days]
    return SimpleNamespace(history_snapshots=[SimpleNamespace(histories=each) for each in histories], embeddings=None)


def factors(models: CandidateModels) -> bytes:
    return cast(AlsModel, models["als"]).item_factors.tobytes()


def fit(histories: Histories, config: Config, start: AlsModel | None = None) -> AlsModel:
    return AlsModel.fit(histories, config.collab.als, config.seed, 1, start=start)


def test_each_cutoff_continues_from_the_one_before(config: Config) -> None:
    text = make_text(*CUTOFFS)
    chain = fit_chain(config, ITEMS, text)
    assert [[*models.models] for models in chain] == [["als"]] * 3
    expected = None
    for snapshot, models in zip(reversed(text.history_snapshots), reversed(chain), strict=True):
        expected = fit(snapshot.histories, config, expected)
        assert factors(models) == expected.item_factors.tobytes()
    newest = fit(text.history_snapshots[0].histories, config)
    assert factors(chain[0]) != newest.item_factors.tobytes()


def test_later_events_change_no_earlier_model(config: Config) -> None:
    whole = fit_chain(config, ITEMS, make_text(*CUTOFFS))
    cut = fit_chain(config, ITEMS, make_text(*CUTOFFS, rows=INTERACTIONS.filter(pl.col("time") < at(40))))
    assert [factors(models) for models in cut[1:]] == [factors(models) for models in whole[1:]]
    assert factors(cut[0]) != factors(whole[0])


def test_a_chain_continues_from_an_earlier_training(config: Config) -> None:
    before = fit_chain(config, ITEMS, make_text(20))[0]
    text = make_text(*CUTOFFS[:2])
    later = fit_chain(config, ITEMS, text, before)
    assert factors(later[-1]) == fit(text.history_snapshots[-1].histories, config, before["als"]).item_factors.tobytes()
    assert factors(later[-1]) != factors(fit_chain(config, ITEMS, text)[-1])


def test_factors_of_another_size_are_fitted_from_scratch(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    before = fit_chain(config, ITEMS, make_text(20))[0]
    larger = change(config, collab={"als": {"embedding_size": 5}})
    text = make_text(60)
    caplog.set_level("INFO")
    (models,) = fit_chain(larger, ITEMS, text, before)
    assert factors(models) == fit(text.history_snapshots[0].histories, larger).item_factors.tobytes()
    assert "als model: trained on 30 histories" in caplog.text
    assert "refreshed" not in caplog.text


def test_an_earlier_training_without_the_model_is_no_start(config: Config) -> None:
    text = make_text(60)
    none = replace(fit_chain(config, ITEMS, text)[0], models={})
    found = continue_models(config, ITEMS, text, text.history_snapshots[0], none)
    assert factors(found) == fit(text.history_snapshots[0].histories, config).item_factors.tobytes()
