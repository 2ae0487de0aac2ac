"""The refit continues from the evaluation model: what stays, what is made anew, and as of when."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from miniature import CUTOFF, Trained, change

from recsys.artifacts.snapshots import Snapshot
from recsys.collab.als import AlsModel
from recsys.dataset.windows import Windows, split_windows
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle, refit_bundle

LABELS = 2


@dataclass(frozen=True)
class Both:
    """An evaluation model and its refit, with the windows of both."""

    windows: Windows
    items: pl.DataFrame
    evaluated: Fitted
    refit: Fitted


@pytest.fixture(scope="module")
def both(trained: Trained, snapshot: Snapshot) -> Both:
    config = change(trained.config, windows={"label_windows": LABELS})
    items, interactions = snapshot.items, snapshot.interactions
    windows = split_windows(interactions, config.windows, repeats=False, end=CUTOFF, seed=config.seed)
    inputs = prepare_encoder_inputs(config, items, windows.measurement_fold.labels[-1].cutoff)
    evaluated = fit_bundle(config, items, inputs, windows.measurement_fold)
    return Both(windows, items, evaluated, refit_bundle(items, windows.refit_fold, evaluated))


def name_users(fitted: Fitted, window: int) -> pl.DataFrame:
    """Return the rows of a label window with ids of users in place of indexes."""
    user_ids = fitted.text.serving.histories.user_ids
    rows = fitted.rows.filter(pl.col("window") == window).drop("window")
    return rows.with_columns(user_ids.gather(rows["user_index"]).alias("user_index"))


def test_label_windows_move_by_one(both: Both) -> None:
    assert both.evaluated.rows["window"].unique().sort().to_list() == [*range(LABELS)]
    assert both.refit.rows["window"].unique().sort().to_list() == [*range(LABELS)]
    # There are users who came in the test window, so indexes differ.
    users = [fitted.text.serving.histories.n_users for fitted in (both.evaluated, both.refit)]
    assert users[0] < users[1]
    kept = name_users(both.evaluated, 0)
    assert not kept.is_empty()
    assert name_users(both.refit, 1).equals(kept)


def test_the_newest_rows_are_those_of_the_test_window(both: Both) -> None:
    rows = name_users(both.refit, 0).filter(pl.col("label") == 1)
    item_ids = both.items["item_id"]
    pairs = rows.select(pl.col("user_index").alias("user_id"), item_ids.gather(rows["item_index"]).alias("item_id"))
    positives = both.windows.test.positives
    assert pairs.height > 20
    assert pairs.join(positives, on=["user_id", "item_id"], how="anti").is_empty()
    # Every candidate of a user is described as of the start of the test window, by models that have not seen it.
    assert both.refit.text.labels[0] is both.evaluated.text.serving


def test_the_encoder_stays_and_the_models_of_histories_continue(both: Both) -> None:
    evaluated, refit = both.evaluated.bundle, both.refit.bundle
    assert refit.encoder is evaluated.encoder
    assert refit.embeddings is evaluated.embeddings
    assert refit.cutoff == CUTOFF
    assert evaluated.cutoff == both.windows.test.cutoff
    vectors = [bundle.candidate_models["interest"].item_vectors(bundle.embeddings) for bundle in (evaluated, refit)]
    assert not np.array_equal(*vectors)
    parts = [fitted.text.curve_parts["interest_loss"] for fitted in (both.evaluated, both.refit)]
    # One more training, of the length of a refresh.
    settings = evaluated.config.text.interest
    assert parts[1] == [*parts[0], settings.refresh_epochs]
    assert refit.statistics.users.sum() > evaluated.statistics.users.sum()


def test_als_continues_from_the_evaluation_model(both: Both) -> None:
    evaluated, refit = both.evaluated.bundle, both.refit.bundle
    histories, config = both.refit.text.serving.histories, refit.config
    start = evaluated.candidate_models["als"]
    expected = AlsModel.fit(histories, config.collab.als, config.seed, config.threads, start=start)
    assert refit.candidate_models["als"].item_factors.tobytes() == expected.item_factors.tobytes()


def test_choices_are_those_of_the_evaluation_model(both: Both) -> None:
    assert both.refit.bundle.config == both.evaluated.bundle.config
    assert both.refit.bundle.ranker.choice == both.evaluated.bundle.ranker.choice
    assert both.refit.bundle.ranker.trees_text != both.evaluated.bundle.ranker.trees_text


def test_the_same_refit_twice(both: Both) -> None:
    again = refit_bundle(both.items, both.windows.refit_fold, both.evaluated)
    assert again.rows.equals(both.refit.rows)
    assert again.bundle.ranker.trees_text == both.refit.bundle.ranker.trees_text
