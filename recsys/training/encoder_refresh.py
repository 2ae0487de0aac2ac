"""A few steps of fine-tuning for the encoder of an earlier training, on what users have done since then."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.dataset.histories import SECONDS_PER_DAY, Histories
from recsys.progress import format_count, log_stage, training_progress_bar
from recsys.serving.bundle import Bundle
from recsys.text.encoder import Encoder
from recsys.text.item_text import ItemTexts
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.training.encoder_fitting import fit_factors
from recsys.training.encoder_inputs import find_fields, make_layer_inputs


def is_refreshed(config: Config, earlier: Bundle) -> bool:
    """Whether the encoder learns: steps are configured, the earlier one was fine-tuned, and it is nobody's student."""
    tuned = earlier.config.text.fine_tune
    return (
        config.continuation.encoder_steps > 0
        and earlier.start is not None
        and tuned.epochs > 0
        and tuned.untouched_share != 1
        and config.text.distillation.layers is None
    )


def refresh_encoder(
    config: Config, earlier: Bundle, item_texts: ItemTexts, embeddings: NDArray[np.float32], histories: Histories
) -> tuple[Encoder, NDArray[np.float32], list[float]]:
    """Return a copy of an encoder that has learned from newer events, the catalogue by it, and the losses.

    Half of the examples are interactions since the encoder's own training, the others are older ones, replayed against
    forgetting.

    Args:
        config: all settings.
        earlier: an evaluation model; what its encoder has seen ends with `earlier.start.cutoff`.
        item_texts: of the catalogue.
        embeddings: (n_items, embedding_size) float32 of these texts by the earlier encoder.
        histories: as of the oldest label window, over the catalogue.
    """
    text, own = config.text, config.continuation
    settings = text.fine_tune.model_copy(
        update={
            "epochs": 1,
            "max_steps_per_epoch": own.encoder_steps,
            "learning_rate": own.encoder_learning_rate,
            "draw": "interactions",
            "validation_share": 0.0,
        }
    )
    encoder = copy.deepcopy(earlier.encoder)
    data = FineTuningData(
        make_layer_inputs(text, encoder, item_texts.texts.to_list()),
        histories,
        fit_factors(config, settings, histories),
        find_fields(text, encoder, item_texts),
        embeddings,
        _count_new_days(earlier, histories),
    )
    with log_stage("fine-tuning") as done, training_progress_bar("Fine-tuning", own.encoder_steps) as progress:
        tuned = fine_tune(encoder, data, settings, config.seed, Runtime(progress=progress))
        done(f"{format_count(len(tuned.losses), 'step')} on what is new to the encoder, and as much of the rest")
    return encoder, tuned.embeddings, tuned.losses


def _count_new_days(earlier: Bundle, histories: Histories) -> float:
    """Return the days from what the encoder has seen to the cutoff of the histories."""
    if earlier.start is None or histories.cutoff is None:
        raise ValueError("only an evaluation model on data with times can be continued")
    return (histories.cutoff - earlier.start.cutoff).total_seconds() / SECONDS_PER_DAY
