"""Fitting the encoder: fine-tuning as of one cutoff, in one process or several, and an optional student."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.collab.als import AlsModel
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.progress import format_count, log_stage, progress_bar, training_progress_bar
from recsys.text.distillation import count_distillation_steps, distil, prune_layers
from recsys.text.encoder import Encoder
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.fine_tuning import FineTuned, Runtime, count_steps, fine_tune
from recsys.text.training.processes import Processes, join_processes
from recsys.training.encoder_inputs import EncoderInputs

# The first process also fits and measures everything else while the others wait at the start of the next training.
_TIMEOUT_SECONDS = 6 * 3600.0


def join_training() -> Processes:
    """Return the processes that torchrun started together with this one; without torchrun, this one alone."""
    return join_processes(_TIMEOUT_SECONDS)


def fit_encoder(
    config: Config, inputs: EncoderInputs, histories: Histories, *, resume: Path | None = None
) -> tuple[Encoder, NDArray[np.float32], dict[str, list[float]]]:
    """Fine-tune a copy of the encoder, and distil it if configured.

    Args:
        config: the text section.
        inputs: from `prepare_encoder_inputs`.
        histories: as of the cutoff, over the same items.
        resume: folder of training checkpoints; a killed fine-tuning of the same settings and data resumes from it.

    Returns:
        The encoder, the embeddings of all items by it, (n_items, embedding_size) float32 with unit rows, and the loss
        and recall curves.
    """
    settings = config.text.fine_tune
    processes = join_training()
    encoder = inputs.copy_encoder()
    data = inputs.make_training_data(histories, _fit_factors(config, histories))
    checkpoint = TrainingCheckpoint(resume, _hash_training(config, encoder, histories)) if resume else None
    steps = count_steps(histories, settings, config.seed)
    with log_stage("fine-tuning") as done, training_progress_bar("Fine-tuning", steps) as progress:
        runtime = Runtime(checkpoint, processes, progress)
        tuned = fine_tune(encoder, data, settings, config.seed, runtime)
        done(_describe(tuned, settings.validation_n))
    curves = {**inputs.curves, "fine_tuning_loss": tuned.losses}
    if tuned.recalls:
        curves["validation_recall"] = tuned.recalls
    if config.text.distillation.layers is None:
        return encoder, tuned.embeddings, curves
    student, embeddings, curves["distillation_loss"] = _distil(config, inputs, encoder, tuned.embeddings)
    return student, embeddings, curves


def _fit_factors(config: Config, histories: Histories) -> NDArray[np.float32] | None:
    """Return the items' collaborative factors as of the same cutoff, if fine-tuning uses them."""
    settings = config.text.fine_tune
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


def _describe(tuned: FineTuned, n: int) -> str:
    if not tuned.losses:
        return "no training data"
    recall = ""
    if tuned.recalls:
        recall = f", recall@{n} of held-out items {tuned.recalls[0]:.4f} to {max(tuned.recalls):.4f}"
    return f"{format_count(len(tuned.losses), 'step')}, {_describe_losses(tuned.losses)}{recall}"


def _describe_losses(losses: list[float]) -> str:
    """Return the mean of the first and the last tenth of a noisy curve."""
    tenth = max(1, len(losses) // 10)
    return f"loss {np.mean(losses[:tenth]):.3f} to {np.mean(losses[-tenth:]):.3f}" if losses else "no step"
