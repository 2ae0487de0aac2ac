"""Which weights a fitted encoder has: untouched, fine-tuned, or a mean of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from worlds import checkerboard

from recsys.config import Config, parse_config
from recsys.dataset.histories import Histories, build_histories
from recsys.text.averaging import average_encoders
from recsys.text.own_bert import build_own_bert
from recsys.training.encoder_choice import SHARES, EncoderChoice, EncoderTrial
from recsys.training.encoder_fitting import FittedEncoder, fit_encoder
from recsys.training.encoder_inputs import EncoderInputs, prepare_encoder_inputs

ITEMS, INTERACTIONS = checkerboard(users=20, items=20)


@dataclass
class FixedTrial:
    """Chooses a fixed share, and remembers what it was shown."""

    share: float
    passes: bool = True
    shown: dict[float, NDArray[np.float32]] = field(default_factory=dict)
    reviewed: list[NDArray[np.float32]] = field(default_factory=list)

    def review(self, untouched: NDArray[np.float32], so_far: NDArray[np.float32]) -> bool:
        self.reviewed += [untouched, so_far]
        return self.passes

    def reject(self, steps: int) -> EncoderChoice:
        return EncoderChoice(1.0, f"stopped after {steps}")

    def choose(self, embeddings: Mapping[float, NDArray[np.float32]]) -> EncoderChoice:
        self.shown = dict(embeddings)
        return EncoderChoice(self.share, "fixed")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("checkpoint")
    bert = {"vocabulary_size": 200, "layers": 2, "embedding_size": 16, "heads": 2}
    texts = [*ITEMS["title"], *ITEMS["description"]]
    text: dict[str, Any] = {"own_bert": bert}
    windows = {"test_days": 10}
    dataset = {"items": {"path": "i.jsonl"}, "interactions": {"path": "e.csv", "columns": {"time": "time"}}}
    content = {"name": "encoder", "dataset": dataset, "windows": windows, "text": text}
    settings = parse_config(content, "test").text.own_bert
    assert settings is not None
    build_own_bert(texts, settings, 16, folder, 0)
    content["text"] = {"checkpoint": str(folder), "max_tokens": 16, "precision": "float32"}
    return parse_config(content, "test")


@pytest.fixture(scope="module")
def inputs(config: Config) -> EncoderInputs:
    return prepare_encoder_inputs(config, ITEMS, None)


@pytest.fixture(scope="module")
def histories() -> Histories:
    return build_histories(INTERACTIONS, ITEMS, None)


def fit(
    config: Config, inputs: EncoderInputs, histories: Histories, trial: FixedTrial | None = None, **changes: Any
) -> FittedEncoder:
    settings = config.text.fine_tune.model_copy(
        update={"batch_size": 8, "learning_rate": 1e-2, "untouched_share": "auto", **changes}
    )
    text = config.text.model_copy(update={"fine_tune": settings})
    return fit_encoder(
        config.model_copy(update={"text": text}), inputs, histories, trial=cast(EncoderTrial | None, trial)
    )


def test_a_share_weighs_the_untouched_weights(config: Config, inputs: EncoderInputs, histories: Histories) -> None:
    untouched = inputs.copy_encoder()
    tuned = fit(config, inputs, histories, untouched_share=0.0)
    assert tuned.curves["fine_tuning_loss"]
    assert tuned.encoder.digest() != untouched.digest()
    half = fit(config, inputs, histories, untouched_share=0.5)
    assert half.encoder.digest() == average_encoders(tuned.encoder, untouched, 0.5).digest()
    none = fit(config, inputs, histories, untouched_share=1.0)
    assert none.encoder.digest() == untouched.digest()
    assert none.curves["fine_tuning_loss"] == []
    for fitted in (tuned, half, none):
        assert fitted.choice is None
        np.testing.assert_allclose(fitted.embeddings, _encode(fitted, inputs), atol=1e-5)


@pytest.mark.parametrize("share", SHARES)
def test_the_trial_decides_what_is_left_to_the_data(
    config: Config, inputs: EncoderInputs, histories: Histories, share: float
) -> None:
    trial = FixedTrial(share)
    chosen = fit(config, inputs, histories, trial)
    fixed = {own: fit(config, inputs, histories, untouched_share=own) for own in SHARES}
    assert chosen.choice == EncoderChoice(share, "fixed")
    assert chosen.encoder.digest() == fixed[share].encoder.digest()
    assert trial.shown.keys() == fixed.keys()
    for own, fitted in fixed.items():
        np.testing.assert_allclose(trial.shown[own], fitted.embeddings, atol=1e-6)


def test_a_third_of_the_training_is_reviewed(config: Config, inputs: EncoderInputs, histories: Histories) -> None:
    passing, failing = FixedTrial(0.0), FixedTrial(0.0, passes=False)
    finished = fit(config, inputs, histories, passing, epochs=2)
    steps = len(finished.curves["fine_tuning_loss"])
    stopped = fit(config, inputs, histories, failing, epochs=2)
    assert stopped.choice == EncoderChoice(1.0, f"stopped after {steps // 3}")
    assert stopped.encoder.digest() == inputs.copy_encoder().digest()
    np.testing.assert_array_equal(stopped.embeddings, inputs.zero_shot)
    assert stopped.curves["fine_tuning_loss"] == finished.curves["fine_tuning_loss"][: steps // 3]
    assert failing.shown == {}
    for trial in (passing, failing):
        np.testing.assert_array_equal(trial.reviewed[0], inputs.zero_shot)
        assert not np.array_equal(trial.reviewed[1], inputs.zero_shot)
    # The look changes nothing in a training that goes on.
    assert finished.encoder.digest() == fit(config, inputs, histories, epochs=2, untouched_share=0.0).encoder.digest()


def test_a_short_training_is_not_reviewed(config: Config, inputs: EncoderInputs, histories: Histories) -> None:
    trial = FixedTrial(0.0)
    assert fit(config, inputs, histories, trial, max_steps_per_epoch=14).choice == EncoderChoice(0.0, "fixed")
    assert trial.reviewed == []


def test_nothing_is_tried_where_nothing_was_learned(
    config: Config, inputs: EncoderInputs, histories: Histories
) -> None:
    lonely = histories.take(pl.Series(["nobody"]))
    trial = FixedTrial(0.0)
    expected = EncoderChoice(1.0, "nothing was fine-tuned")
    assert fit(config, inputs, lonely, trial).choice == expected
    assert fit(config, inputs, histories, trial, epochs=0).choice == expected
    assert trial.shown == {}


def test_a_process_without_a_trial_fine_tunes_with_the_others(
    config: Config, inputs: EncoderInputs, histories: Histories
) -> None:
    follower, first = fit(config, inputs, histories), fit(config, inputs, histories, FixedTrial(0.0))
    assert follower.choice is None
    assert follower.curves == first.curves


def _encode(fitted: FittedEncoder, inputs: EncoderInputs) -> NDArray[np.float32]:
    return fitted.encoder.encode(inputs.item_texts.texts.to_list())
