"""Distillation: an encoder with fewer layers that learns to reproduce the vectors of the full encoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import DistillationConfig
from recsys.errors import ConfigError, DataError
from recsys.progress import format_count
from recsys.text.encoder import Encoder, Progress
from recsys.text.training.batches import count_text_batches, mix_text_batches
from recsys.text.training.loop import TrainingLoop
from recsys.text.training.optimizer import make_optimizer, warm_up_then_cosine

_WEIGHT_DECAY = 0.01
_WARMUP_SHARE = 0.1
_MAX_GRADIENT_NORM = 1.0


def prune_layers(encoder: Encoder, layers: int) -> Encoder:
    """Return a copy of an encoder with only some of its transformer layers (Sanh et al. 2019, arXiv 1910.01108).

    The kept layers are evenly spread and include the first and the last; of two equally near layers the higher one is
    kept. A single layer is the first. The copy saves and loads like any encoder; its vectors are poor until it is
    trained.

    Args:
        encoder: not changed.
        layers: how many to keep, at least 1.

    Raises:
        ConfigError: the encoder has fewer layers.
    """
    available = len(encoder.layers)
    if not 1 <= layers <= available:
        raise ConfigError(
            f"text.distillation.layers: is {layers}, but the encoder has {format_count(available, 'layer')}; "
            f"expected 1 to {available}, or null to train no student"
        )
    student = copy.deepcopy(encoder)
    gaps = max(1, layers - 1)
    kept = [(2 * number * (available - 1) + gaps) // (2 * gaps) for number in range(layers)]
    student.model.encoder.layer = torch.nn.ModuleList(student.layers[index] for index in kept).eval()
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
    """Train a student, in place, to reproduce its teacher's vectors (Hinton et al. 2015, arXiv 1503.02531).

    All its layers learn; word vectors, pooling and projection stay the teacher's. The loss of a batch is the distance
    of its vectors to the teacher's, 1 - cosine, plus the squared differences between the cosines of its texts to each
    other and the teacher's (Park et al. 2019, CVPR, "relational knowledge distillation"). There is no dropout: the
    teacher's vectors do not vary either, and without it the student's nearest neighbours agree better with the
    teacher's.

    Args:
        teacher_vectors: (n_texts, embedding_size) float32, rows unit length.
        student: changed in place; its weights stay float32.
        texts: any; labels are not needed, so the whole catalogue can be used.
        config: epochs and learning rate.
        batch_tokens: tokens in a batch that is only encoded; a training batch has a quarter of them.
        seed: draws which texts share a batch, and the order of the batches.
        progress: called with 1 after each step.

    Returns:
        The loss of each step; empty without texts.

    Raises:
        DataError: the number or the length of the teacher's vectors is wrong.
    """
    expected = (len(texts), student.embedding_size)
    if teacher_vectors.shape != expected:
        raise DataError(
            f"distillation: the teacher's vectors have the shape {teacher_vectors.shape}, expected {expected}, one per "
            "text and as long as the student's; encode the same texts with the encoder the student was made from"
        )
    if not texts:
        return []
    tokens = student.tokenize(texts)
    lengths = [len(text) for text in tokens]
    batches = list(mix_text_batches(lengths, config.epochs, batch_tokens, np.random.default_rng(seed)))
    optimizer = make_optimizer([(student.layers, config.learning_rate)], _WEIGHT_DECAY)

    def compute_losses(batch: NDArray[np.int64]) -> Iterator[torch.Tensor]:
        ids, mask = student.pad([tokens[text] for text in batch])
        with student.autocast():
            with torch.no_grad():
                hidden = student.embed_tokens(ids)
            hidden = student.run_layers(hidden, mask, student.layers)
        yield _distance(student.pool(hidden, mask), torch.from_numpy(teacher_vectors[batch]).to(student.device))

    loop = TrainingLoop(
        compute_losses,
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(len(batches), _WARMUP_SHARE)),
        list(student.layers.parameters()),
        _MAX_GRADIENT_NORM,
    )
    for _ in loop.run(batches):
        if progress:
            progress(1)
    # The head does not learn, but gradients flowed through it.
    student.head.zero_grad()
    return loop.losses


def count_distillation_steps(
    student: Encoder, texts: Sequence[str], config: DistillationConfig, batch_tokens: int
) -> int:
    """Return how many steps `distil` will take, for a progress bar."""
    return config.epochs * count_text_batches([len(text) for text in student.tokenize(texts)], batch_tokens)


def _distance(vectors: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return the distance of unit vectors to the expected ones, plus that of their cosines to each other."""
    pointwise = (1.0 - (vectors * expected).sum(1)).mean()
    pairwise = (vectors @ vectors.T - expected @ expected.T).square().mean()
    return pointwise + pairwise
