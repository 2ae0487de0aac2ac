"""Fitting the encoder: fine-tuning on one past, in one process or several, and a smaller student if wanted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.collab.als import AlsModel
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.progress import log_stage, progress_bar, training_progress_bar
from recsys.text.distillation import count_distillation_steps, distil, prune_layers
from recsys.text.encoder import Encoder
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.fine_tuning import FineTuned, TrainingInputs, count_steps, fine_tune
from recsys.text.training.processes import Processes, join_processes
from recsys.training.encoder_inputs import EncoderInputs

# The first process also fits and measures all the rest while the others wait at the next training's start.
_TIMEOUT_SECONDS = 6 * 3600.0


def join_training() -> Processes:
    """Return the processes that torchrun started together, of which this is one; without torchrun it is alone."""
    return join_processes(_TIMEOUT_SECONDS)


def fit_encoder(
    config: Config, catalogue: EncoderInputs, histories: Histories, *, resume: Path | None = None
) -> tuple[Encoder, NDArray[np.float32], dict[str, list[float]]]:
    """Fine-tune a copy of the catalogue's encoder.

    Args:
        config: the text section.
        catalogue: from `prepare_encoder_inputs`.
        histories: as of the cut-off, over the same catalogue.
        resume: folder in which a killed fine-tuning of the same settings and data goes on.

    Returns:
        The encoder, the catalogue's embeddings by it, (n_items, embedding_size) float32 with unit rows, and the curves
        of what was trained.
    """
    settings = config.text.fine_tune
    processes = join_training()
    encoder = catalogue.make_encoder()
    training_inputs = TrainingInputs(_fit_factors(config, histories), catalogue.fields)
    checkpoint = TrainingCheckpoint(resume, _identify(config, encoder, histories)) if resume else None
    steps = count_steps(histories, settings, config.seed)
    with log_stage("fine-tuning") as done, training_progress_bar("Fine-tuning", steps) as progress:
        tuned = fine_tune(
            encoder,
            catalogue.inputs,
            histories,
            settings,
            config.seed,
            training_inputs=training_inputs,
            checkpoint=checkpoint,
            processes=processes,
            progress=progress,
        )
        done(_describe(tuned, settings.validation_n))
    curves = {**catalogue.curves, "fine_tuning_loss": tuned.losses}
    if tuned.recalls:
        curves["validation_recall"] = tuned.recalls
    if config.text.distillation.layers is None:
        return encoder, tuned.embeddings, curves
    student, embeddings, curves["distillation_loss"] = _distil(config, catalogue, encoder, tuned.embeddings)
    return student, embeddings, curves


def _fit_factors(config: Config, histories: Histories) -> NDArray[np.float32] | None:
    """Return the items' collaborative factors as of the same cut-off, if something learns from them."""
    settings = config.text.fine_tune
    if not settings.epochs or not (settings.objectives.cf_alignment or settings.hard_negatives.als):
        return None
    with log_stage("factors to learn from") as done:
        factors = AlsModel.fit(histories, config.collab.als, config.seed, config.threads).item_factors
        done(f"{int((~np.isnan(factors[:, 0])).sum()):,} items")
    return factors


def _distil(
    config: Config, catalogue: EncoderInputs, teacher: Encoder, vectors: NDArray[np.float32]
) -> tuple[Encoder, NDArray[np.float32], list[float]]:
    settings, tokens = config.text.distillation, config.text.batch_tokens
    student = prune_layers(teacher, settings.layers or len(teacher.layers))
    known = np.flatnonzero(catalogue.known)
    texts = [catalogue.texts[place] for place in known]
    steps = count_distillation_steps(student, texts, settings, tokens)
    with log_stage("distillation") as done, progress_bar("Distillation", steps) as progress:
        losses = distil(vectors[known], student, texts, settings, tokens, config.seed, progress)
        done(f"{len(teacher.layers)} to {len(student.layers)} layers, {_show_ends(losses)}")
    with log_stage("embedding") as done, progress_bar("Embedding", len(catalogue.texts)) as progress:
        embeddings = student.encode(catalogue.texts, progress)
        done(f"{len(catalogue.texts):,} texts")
    return student, embeddings, losses


def _identify(config: Config, encoder: Encoder, histories: Histories) -> str:
    """Return the hash of all that decides where a fine-tuning ends."""
    text = config.text.model_dump(mode="json", include={"fine_tune", "fields", "max_tokens", "pooling", "projection"})
    factors = config.collab.als.model_dump(mode="json")
    found = hashlib.sha256(json.dumps([text, factors, config.seed], sort_keys=True).encode())
    found.update(encoder.digest().encode())
    for array in (histories.starts, histories.items, histories.weights):
        found.update(array.tobytes())
    for ids in (histories.item_ids, histories.user_ids):
        found.update(json.dumps(ids.to_list()).encode())
    return found.hexdigest()


def _describe(tuned: FineTuned, n: int) -> str:
    parts = [f"{len(tuned.losses):,} steps"]
    if tuned.losses:
        parts.append(_show_ends(tuned.losses))
    if tuned.recalls:
        parts.append(f"recall@{n} of what was kept aside {tuned.recalls[0]:.4f} to {max(tuned.recalls):.4f}")
    return ", ".join(parts)


def _show_ends(losses: list[float]) -> str:
    """Show first and last tenth of a noisy curve."""
    tenth = max(1, len(losses) // 10)
    return f"loss {np.mean(losses[:tenth]):.3f} to {np.mean(losses[-tenth:]):.3f}" if losses else "no step"
