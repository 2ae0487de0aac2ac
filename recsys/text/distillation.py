"""A smaller encoder that gives nearly the same vectors: fewer layers, taught by the whole one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import DistillationConfig
from recsys.errors import ConfigError, DataError
from recsys.text.encoder import Encoder, Progress
from recsys.text.training.batches import count_text_batches, mix_text_batches
from recsys.text.training.optimizer import make_optimizer, warm_up_then_cosine

_WEIGHT_DECAY = 0.01
_WARMUP_SHARE = 0.1
_LARGEST_GRADIENT = 1.0


def prune_layers(encoder: Encoder, layers: int) -> Encoder:
    """Return a copy of an encoder that has only some of its transformer layers (Sanh et al. 2019, arXiv 1910.01108).

    The layers are evenly spread, the first and the last among them; of two that are as near, the higher one. A single
    layer is the first. The copy saves and loads like any encoder; its vectors are poor until it has been taught.

    Args:
        encoder: not changed.
        layers: how many to keep, at least 1.

    Raises:
        ConfigError: the encoder does not have so many.
    """
    found = len(encoder.layers)
    if not 1 <= layers <= found:
        raise ConfigError(
            f"text.distillation.layers: is {layers}, but the encoder has {found} layers; "
            f"give 1 to {found}, or null for no student"
        )
    student = copy.deepcopy(encoder)
    gaps = max(1, layers - 1)
    kept = [(2 * number * (found - 1) + gaps) // (2 * gaps) for number in range(layers)]
    student.model.encoder.layer = torch.nn.ModuleList(student.layers[place] for place in kept).eval()
    student.model.config.num_hidden_layers = layers
    return student


def distil(
    teacher_vectors: NDArray[np.float32],
    student: Encoder,
    texts: Sequence[str],
    config: DistillationConfig,
    batch_tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Teach a student, in place, to give its teacher's vectors (Hinton et al. 2015, arXiv 1503.02531).

    All its layers learn; word vectors, pooling and projection are the teacher's and stay. The loss of a batch is how
    far its vectors are from the teacher's, 1 - cosine, plus how far its texts' cosines to each other are from the
    teacher's, squared (Park et al. 2019, CVPR, "relational knowledge distillation"). Nothing is dropped out: what the
    teacher says of a text does not vary either, and neighbours come out nearer to the teacher's.

    Args:
        teacher_vectors: (n_texts, embedding_size) float32, rows unit length.
        student: changed in place, its weights stay float32.
        texts: any; labels are not needed, so the whole catalogue will do.
        config: epochs and learning rate.
        batch_tokens: tokens in a batch that is only encoded; a training batch has a quarter of them.
        seed: draws which texts meet in a batch, and the batches' order.
        progress: called with 1 after each step.

    Returns:
        The loss of each step; empty where there is no text.

    Raises:
        DataError: the teacher's vectors are not one per text, or not as long as the student's.
    """
    expected = (len(texts), student.embedding_size)
    if teacher_vectors.shape != expected:
        raise DataError(
            f"distillation: the teacher's vectors are {teacher_vectors.shape}, expected {expected}, one per text and "
            "as long as the student's; encode the same texts with the encoder the student was made from"
        )
    if not texts:
        return []
    tokens = student.tokenize(texts)
    lengths = [len(one) for one in tokens]
    batches = list(mix_text_batches(lengths, config.epochs, batch_tokens, np.random.default_rng(seed)))
    optimizer = make_optimizer([(student.layers, config.learning_rate)], _WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(len(batches), _WARMUP_SHARE))
    losses: list[torch.Tensor] = []
    for batch in batches:
        ids, mask = student.pad([tokens[place] for place in batch])
        with student.autocast():
            with torch.no_grad():
                hidden = student.embed_tokens(ids)
            hidden = student.run_layers(hidden, mask, student.layers)
        loss = _miss(student.pool(hidden, mask), torch.from_numpy(teacher_vectors[batch]).to(student.device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.layers.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if progress:
            progress(1)
    # Gradients went through the head too.
    optimizer.zero_grad()
    student.head.zero_grad()
    found: list[float] = torch.stack(losses).tolist()
    return found


def count_distillation_steps(
    student: Encoder, texts: Sequence[str], config: DistillationConfig, batch_tokens: int
) -> int:
    """Return how many steps `distil` will take, for a progress bar."""
    return config.epochs * count_text_batches([len(one) for one in student.tokenize(texts)], batch_tokens)


def _miss(vectors: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return how far unit vectors are from what they should be, each alone and all among themselves."""
    alone = (1.0 - (vectors * wanted).sum(1)).mean()
    among = (vectors @ vectors.T - wanted @ wanted.T).square().mean()
    return alone + among
