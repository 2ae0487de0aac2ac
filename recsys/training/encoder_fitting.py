"""Fitting the encoder: fine-tuning as of one cutoff, in one process or several, and an optional student."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.collab.als import AlsModel
from recsys.config import AUTO, Config, FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.progress import format_count, log_stage, progress_bar, training_progress_bar
from recsys.text.averaging import average_encoders
from recsys.text.distillation import count_distillation_steps, distil, prune_layers
from recsys.text.encoder import Encoder
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.fine_tuning import FineTuned, Review, Runtime, count_steps, fine_tune
from recsys.text.training.layer_inputs import encode_inputs
from recsys.text.training.processes import Processes, join_processes
from recsys.training.encoder_choice import SHARES, EncoderChoice, EncoderTrial
from recsys.training.encoder_inputs import EncoderInputs

# The first process also fits and measures everything else while the others wait at the start of the next training.
_TIMEOUT_SECONDS = 6 * 3600.0
# Shorter trainings are finished: a third of them says little, and costs little more than the look at it.
_MIN_STEPS_FOR_REVIEW = 15


def join_training() -> Processes:
    """Return the processes that torchrun started together with this one; without torchrun, this one alone."""
    return join_processes(_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class FittedEncoder:
    """An encoder, and what it made of the catalogue.

    Attributes:
        encoder: untouched, fine-tuned, the mean of both, or a student of one of these.
        embeddings: (n_items, embedding_size) float32 of all items by it, unit rows.
        curves: of losses and recalls.
        choice: of the untouched weights' share, where the config leaves it `auto`; None: the config has a share.
    """

    encoder: Encoder
    embeddings: NDArray[np.float32]
    curves: dict[str, list[float]]
    choice: EncoderChoice | None


def fit_encoder(
    config: Config,
    inputs: EncoderInputs,
    histories: Histories,
    *,
    resume: Path | None = None,
    trial: EncoderTrial | None = None,
) -> FittedEncoder:
    """Fine-tune a copy of the encoder, choose between it and the untouched one, and distil it if configured.

    Args:
        config: the text section.
        inputs: from `prepare_encoder_inputs`.
        histories: as of the cutoff, over the same items.
        resume: folder of training checkpoints; a killed fine-tuning of the same settings and data resumes from it.
        trial: chooses where the config leaves it `auto`; None: the fine-tuned encoder is taken there.
    """
    tuned, encoder = _fine_tune(config, inputs, histories, resume, trial)
    curves = {**inputs.curves, "fine_tuning_loss": tuned.losses}
    if tuned.recalls:
        curves["validation_recall"] = tuned.recalls
    embeddings, choice = tuned.embeddings, None
    if tuned.losses:
        encoder, embeddings, choice = _weigh(config, inputs, encoder, tuned, trial)
    elif config.text.fine_tune.untouched_share == AUTO:
        choice = EncoderChoice(1.0, "nothing was fine-tuned")
    if config.text.distillation.layers is not None:
        encoder, embeddings, curves["distillation_loss"] = _distil(config, inputs, encoder, embeddings)
    return FittedEncoder(encoder, embeddings, curves, choice)


def _fine_tune(
    config: Config, inputs: EncoderInputs, histories: Histories, resume: Path | None, trial: EncoderTrial | None
) -> tuple[FineTuned, Encoder]:
    settings = config.text.fine_tune
    if settings.untouched_share == 1:
        settings = settings.model_copy(update={"epochs": 0})
    processes = join_training()
    encoder = inputs.copy_encoder()
    data = inputs.make_training_data(histories, fit_factors(config, settings, histories))
    checkpoint = TrainingCheckpoint(resume, _hash_training(config, encoder, histories)) if resume else None
    steps = count_steps(histories, settings, config.seed)
    review = None
    if settings.untouched_share == AUTO and trial and steps >= _MIN_STEPS_FOR_REVIEW:
        review = Review(steps // 3, lambda so_far: trial.review(inputs.zero_shot, so_far))
    with log_stage("fine-tuning") as done, training_progress_bar("Fine-tuning", steps) as progress:
        runtime = Runtime(checkpoint, processes, progress, review)
        tuned = fine_tune(encoder, data, settings, config.seed, runtime)
        done(_describe(tuned, settings))
    return tuned, encoder


def _weigh(
    config: Config, inputs: EncoderInputs, encoder: Encoder, tuned: FineTuned, trial: EncoderTrial | None
) -> tuple[Encoder, NDArray[np.float32], EncoderChoice | None]:
    """Return the encoder with the configured or the best share of the untouched weights, its embeddings and why."""
    share, choice = config.text.fine_tune.untouched_share, None
    if share == AUTO:
        if trial is not None and tuned.finished:
            choice = trial.choose(dict(zip(SHARES, (inputs.zero_shot, tuned.embeddings), strict=True)))
        elif trial is not None:
            choice = trial.reject(len(tuned.losses))
        share = choice.untouched_share if choice else 0.0
    if not share:
        return encoder, tuned.embeddings, choice
    untouched = inputs.copy_encoder()
    if share == 1:
        return untouched, inputs.zero_shot, choice
    averaged = average_encoders(encoder, untouched, float(share))
    return averaged, encode_inputs(averaged, inputs.read_layer_inputs()), choice


def fit_factors(config: Config, settings: FineTuneConfig, histories: Histories) -> NDArray[np.float32] | None:
    """Return the items' collaborative factors as of the same cutoff, if fine-tuning uses them."""
    if not settings.epochs or not (settings.objectives.cf_alignment or settings.hard_negatives.als):
        return None
    with log_stage("ALS factors for fine-tuning") as done:
        factors = AlsModel.fit(histories, config.collab.als, config.seed, config.threads).item_factors
        done(f"{format_count(int((~np.isnan(factors[:, 0])).sum()), 'item')}")
    return factors


def _distil(
    config: Config, inputs: EncoderInputs, teacher: Encoder, vectors: NDArray[np.float32]
) -> tuple[Encoder, NDArray[np.float32], list[float]]:
    settings, batch_tokens = config.text.distillation, config.text.batch_tokens
    student = prune_layers(teacher, settings.layers or len(teacher.layers))
    texts = inputs.item_texts.texts.to_list()
    known = np.flatnonzero(inputs.known)
    known_texts = [texts[item] for item in known]
    steps = count_distillation_steps(student, known_texts, settings, batch_tokens)
    with log_stage("distillation") as done, progress_bar("Distillation", steps) as progress:
        losses = distil(vectors[known], student, known_texts, settings, batch_tokens, config.seed, progress)
        done(f"{len(teacher.layers)} to {format_count(len(student.layers), 'layer')}, {_describe_losses(losses)}")
    with log_stage("embedding") as done, progress_bar("Embedding", len(texts)) as progress:
        embeddings = student.encode(texts, progress)
        done(f"{format_count(len(texts), 'text')}")
    return student, embeddings, losses


def _hash_training(config: Config, encoder: Encoder, histories: Histories) -> str:
    """Return the hash of everything that the result of a fine-tuning depends on."""
    text = config.text.model_dump(mode="json", include={"fine_tune", "fields", "max_tokens", "pooling", "projection"})
    factors = config.collab.als.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps([text, factors, config.seed], sort_keys=True).encode())
    digest.update(encoder.digest().encode())
    for array in (histories.starts, histories.items, histories.weights):
        digest.update(array.tobytes())
    for ids in (histories.item_ids, histories.user_ids):
        digest.update(json.dumps(ids.to_list()).encode())
    return digest.hexdigest()


def _describe(tuned: FineTuned, settings: FineTuneConfig) -> str:
    n = settings.validation_n
    if not tuned.losses:
        return "no training data" if settings.epochs else "the encoder is untouched"
    recall = ""
    if tuned.recalls:
        recall = f", recall@{n} of held-out items {tuned.recalls[0]:.4f} to {max(tuned.recalls):.4f}"
    return f"{format_count(len(tuned.losses), 'step')}, {_describe_losses(tuned.losses)}{recall}"


def _describe_losses(losses: list[float]) -> str:
    """Return the mean of the first and the last tenth of a noisy curve."""
    tenth = max(1, len(losses) // 10)
    return f"loss {np.mean(losses[:tenth]):.3f} to {np.mean(losses[-tenth:]):.3f}" if losses else "no step"
