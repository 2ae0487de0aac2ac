"""The loss of one fine-tuning step: a batch of items against the remembered vectors of all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.evaluation.embedding_neighbors import find_nearest
from recsys.text.encoder import Encoder
from recsys.text.training.adapters import Adapters
from recsys.text.training.adversarial import perturb
from recsys.text.training.augmentation import augment
from recsys.text.training.data import FineTuningData
from recsys.text.training.examples import Batch, draw_negatives, preceding_items
from recsys.text.training.objectives import Heads, align_factors, average_histories, info_nce_loss
from recsys.text.training.processes import Processes


@dataclass
class VectorMemory:
    """The vector that each item had when it was last encoded (Wang et al. 2020, arXiv 1912.06798).

    Attributes:
        vectors: (n_items, embedding_size) without gradients, on the encoder's device.
    """

    vectors: torch.Tensor

    def state_dict(self) -> dict[str, Any]:
        """Return the vectors, for a checkpoint."""
        return {"vectors": self.vectors}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Restore the vectors."""
        self.vectors = state_dict["vectors"].to(self.vectors.device)


@dataclass(frozen=True)
class Step:
    """One step of a fine-tuning.

    Attributes:
        number: from 0, over all epochs.
        batch: items to encode, and examples.
        rng: the step's own generator, the same after a resume.
    """

    number: int
    batch: Batch
    rng: np.random.Generator


@dataclass
class StepLoss:
    """Encodes a step's items and computes the weighted sum of the configured objectives.

    `start_epoch` must be called before the first step.

    Attributes:
        encoder: the model that learns.
        data: inputs, histories, factors and fields.
        training_histories: `data.histories` without the entries held out for validation.
        config: objectives, negatives and augmentation.
        seed: with the number of a step, seeds its dropout and augmentation.
        heads: maps of items, users and factors.
        memory: updated with the batch's vectors.
        processes: each encodes its share of the batch.
        adapters: whose penalty is added to the loss, if any.
    """

    encoder: Encoder
    data: FineTuningData
    training_histories: Histories
    config: FineTuneConfig
    seed: int
    heads: Heads
    memory: VectorMemory
    processes: Processes
    adapters: Adapters | None = None

    def __post_init__(self) -> None:
        inputs, histories = self.data.inputs, self.training_histories
        self._layers = self.encoder.layers[len(self.encoder.layers) - inputs.trainable_layers :]
        self._text_lengths = self.data.text_lengths
        self._interacted: csr_array = self.data.histories.matrix()
        counts = np.bincount(histories.items, minlength=histories.n_items)
        self._interacted_items = np.flatnonzero(counts > 0)
        self._log_q = np.log(np.maximum(counts, 1) / max(1, counts.sum())).astype(np.float32)
        self._ordered, self._hard_negatives = histories, list[NDArray[np.int64]]()

    def start_epoch(self, histories: Histories) -> None:
        """Take the epoch's order of histories, and mine hard negatives with the vectors as they are now."""
        self._ordered = histories
        self._hard_negatives = []
        wanted, factors = self.config.hard_negatives, self.data.factors
        if wanted.text:
            vectors = self.memory.vectors.cpu().numpy()
            self._hard_negatives.append(_nearest_items(vectors, self._interacted_items, wanted.text))
        if wanted.als and factors is not None:
            known = self._interacted_items[~np.isnan(factors[self._interacted_items, 0])]
            self._hard_negatives.append(_nearest_items(factors, known, wanted.als))

    def compute(self, step: Step) -> Iterator[torch.Tensor]:
        """Yield the loss of a step and, after its backward pass, the loss at perturbed texts if configured."""
        batch, rng, processes = step.batch, step.rng, self.processes
        # Seeded by step and process: a resumed run repeats its dropout, and no two processes drop the same units.
        own_seed = [self.seed, step.number, processes.rank]
        torch.manual_seed(int(np.random.SeedSequence(own_seed).generate_state(1, np.uint64)[0] >> 1))
        own_items = batch.items[processes.share(len(batch.items))]
        hidden, mask = self._pad(own_items, np.random.default_rng(own_seed))
        state = rng.bit_generator.state
        yield self._loss(hidden, mask, batch, rng)
        if self.config.adversarial and hidden.grad is not None:
            rng.bit_generator.state = state
            perturbed = perturb(hidden.detach(), hidden.grad, self.config.adversarial)
            yield self._loss(perturbed, mask, batch, rng)

    def _pad(self, items: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states and mask of this process's items; augmentation masks some tokens."""
        hidden, mask = self.data.inputs.pad(self.encoder, items)
        if self.config.adversarial:
            if hidden.is_leaf:
                hidden = hidden.detach().requires_grad_()
            hidden.retain_grad()
        return hidden, self._augment(items, mask, rng)

    def _augment(self, items: NDArray[np.int64], mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the mask of the tokens that are seen in this step."""
        settings = self.config.augmentation.model_dump()
        if not any(settings.values()):
            return mask
        fields = np.full(mask.shape, -1, dtype=np.int16)
        for row, item in enumerate(items):
            length = int(self._text_lengths[item])
            if self.data.fields is not None:
                fields[row, :length] = self.data.fields[item]
            else:
                fields[row, 1 : length - 1] = 0
        return torch.from_numpy(augment(self._text_lengths[items], fields, rng, **settings)).to(mask.device)

    def _loss(self, hidden: torch.Tensor, mask: torch.Tensor, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
        """Return the weighted sum of the objectives, and remember the batch's new vectors."""
        weights, encoder, factors = self.config.objectives, self.encoder, self.data.factors
        with encoder.autocast():
            own = encoder.pool(encoder.run_layers(hidden, mask, self._layers), mask).float()
            encoded = self.processes.gather(own, len(batch.items))
            items = self._to_device(batch.items)
            vectors = self.memory.vectors.index_copy(0, items, encoded)
            total = encoded.new_zeros(())
            if self.adapters:
                total = total + self.adapters.penalty()
            if weights.cf_alignment and self.heads.factor_map is not None and factors is not None:
                batch_factors = self._to_device(factors[batch.items])
                total = total + weights.cf_alignment * align_factors(encoded, batch_factors, self.heads.factor_map)
            if len(batch.entries) and (weights.next_item or weights.co_interaction):
                total = total + self._contrast(vectors, batch, rng)
        self.memory.vectors = vectors.detach()
        return total

    def _contrast(self, vectors: torch.Tensor, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
        """Return the weighted sum of the objectives that compare a target with negatives."""
        config, weights, histories = self.config, self.config.objectives, self._ordered
        targets = histories.items[batch.entries].astype(np.int64)
        columns = draw_negatives(self._interacted_items, config, batch, self._hard_negatives, targets, rng)
        excluded = self._interacted[histories.users[batch.entries]][:, columns].toarray() > 0
        past = preceding_items(histories, batch.entries, config.history_length)
        candidates = vectors[self._to_device(columns)]
        corrects_frequency = config.log_q and config.negatives == "batch" and config.draw == "interactions"
        shared = (
            self._to_device(np.searchsorted(columns, targets)),
            self._to_device(excluded),
            config.temperature,
            self._to_device(self._log_q[columns]) if corrects_frequency else None,
            self._to_device(histories.weights[batch.entries]) if config.event_weights else None,
        )
        total = vectors.new_zeros(())
        if weights.next_item:
            means = average_histories(vectors, past, config.history_decay if histories.ordered else 1.0)
            loss = info_nce_loss(self.heads.map_users(means), self.heads.map_items(candidates), *shared)
            total = total + weights.next_item * loss
        if weights.co_interaction:
            near = np.minimum((past >= 0).sum(axis=1), config.max_distance)
            partners = past[np.arange(len(past)), (rng.random(len(past)) * near).astype(np.int64)]
            # Unlike plain indexing, embedding sums gradients in a fixed order.
            anchors = torch.nn.functional.embedding(self._to_device(partners), vectors)
            total = total + weights.co_interaction * info_nce_loss(anchors, candidates, *shared)
        return total

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.encoder.device)


def _nearest_items(vectors: NDArray[np.float32], items: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return (n_items, k) int64: for each of the given items its nearest by cosine among them; other rows are -1."""
    table = np.full((len(vectors), k), -1, dtype=np.int64)
    if len(items) > k:
        rows = vectors[items]
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        table[items] = items[find_nearest(unit.astype(np.float32), np.arange(len(items)), k)]
    return table
