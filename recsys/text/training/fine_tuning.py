"""Fine-tuning: the encoder learns from what the same users took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.evaluation.embedding_neighbors import find_nearest
from recsys.text.encoder import Encoder
from recsys.text.training.adapters import Adapters, attach_adapters
from recsys.text.training.adversarial import perturb
from recsys.text.training.augmentation import augment
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.examples import (
    Batch,
    count_batches,
    draw_batches,
    draw_negatives,
    hold_out,
    look_back,
    shuffle_histories,
)
from recsys.text.training.inputs import Inputs, encode_inputs
from recsys.text.training.objectives import Heads, align_factors, average_past, info_nce_loss
from recsys.text.training.optimizer import make_optimizer, rate_layers, warm_up_then_cosine
from recsys.text.training.processes import Processes
from recsys.text.training.validation import Recall

# Called after each step with its examples and its loss.
StepProgress = Callable[[int, float], None]


@dataclass(frozen=True)
class FineTuned:
    """What came of a fine-tuning.

    Attributes:
        losses: of each step; empty where nothing could be learned from.
        recalls: recall@n of what was kept aside, before training and after each epoch; empty without.
        embeddings: (n_items, embedding_size) float32, unit rows: the catalogue by the encoder as it is now.
    """

    losses: list[float]
    recalls: list[float]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class TrainingInputs:
    """What a fine-tuning may look at besides texts and histories.

    Attributes:
        factors: (n_items, factor_size) float32 collaborative factors, NaN rows for items without; for `cf_alignment`
            and hard negatives from ALS.
        fields: of each text the field of each token, -1 for special ones; for `field_dropout`. None: one field.
    """

    factors: NDArray[np.float32] | None = None
    fields: Sequence[NDArray[np.int16]] | None = None


def fine_tune(
    encoder: Encoder,
    inputs: Inputs,
    histories: Histories,
    config: FineTuneConfig,
    seed: int,
    *,
    training_inputs: TrainingInputs | None = None,
    checkpoint: TrainingCheckpoint | None = None,
    processes: Processes | None = None,
    progress: StepProgress | None = None,
) -> FineTuned:
    """Teach the encoder, in place, and embed the catalogue with what it has become.

    Each step encodes a batch of items; all others stand in with the vector they last had. Examples are histories in
    which an item of the batch comes next. After each epoch all items are encoded anew.

    Args:
        encoder: changed in place.
        inputs: every item's text, in the order of `histories.item_ids`.
        histories: as of the cut-off; nothing later is learned.
        config: objectives and recipe.
        seed: draws examples, dropout and initial values; the same seed gives the same weights.
        training_inputs: for objectives that need more.
        checkpoint: where a killed training of the same kind goes on.
        processes: those that train together.
        progress: called after each step.
    """
    cuda = [encoder.device] if encoder.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        training = _Training(
            encoder, inputs, histories, config, seed, training_inputs or TrainingInputs(), processes or Processes()
        )
        return training.run(checkpoint, progress)


def count_steps(histories: Histories, config: FineTuneConfig, seed: int) -> int:
    """Return how many steps `fine_tune` takes at most, for a progress bar."""
    rest, _, _ = hold_out(histories, config.validation_share, seed)
    return config.epochs * count_batches(rest, config)


@dataclass
class _Memory:
    """The vector that each item last had, as a part of a checkpoint."""

    vectors: torch.Tensor

    def state_dict(self) -> dict[str, Any]:
        return {"vectors": self.vectors}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        self.vectors = state_dict["vectors"].to(self.vectors.device)


@dataclass
class _Best:
    """The weights of the best epoch so far, as a part of a checkpoint; empty while there is none."""

    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return self.weights

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        self.weights = dict(state_dict)


class _Training:
    """One fine-tuning, from the first step to the last."""

    def __init__(
        self,
        encoder: Encoder,
        inputs: Inputs,
        histories: Histories,
        config: FineTuneConfig,
        seed: int,
        training_inputs: TrainingInputs,
        processes: Processes,
    ) -> None:
        self.encoder, self.inputs, self.config, self.seed = encoder, inputs, config, seed
        self.training_inputs, self.processes = training_inputs, processes
        self.histories, users, items = hold_out(histories, config.validation_share, seed)
        self.recall = Recall(self.histories, users, items, config)
        self.owned: csr_array = histories.matrix()
        counts = np.bincount(self.histories.items, minlength=histories.n_items)
        self.touched = np.flatnonzero(counts > 0)
        self.log_q = np.log(np.maximum(counts, 1) / max(1, counts.sum())).astype(np.float32)
        self.lengths = np.diff(inputs.starts)
        self.steps_per_epoch = count_batches(self.histories, config)
        self.steps = config.epochs * self.steps_per_epoch
        self.updates = config.epochs * -(-self.steps_per_epoch // config.accumulation)
        self.device = encoder.device
        self.memory = _Memory(torch.from_numpy(self._embed()).to(self.device))
        self.upper = encoder.layers[len(encoder.layers) - inputs.trainable_layers :]

    def run(self, checkpoint: TrainingCheckpoint | None, progress: StepProgress | None) -> FineTuned:
        if not self.steps:
            return FineTuned([], [], self._vectors())
        config = self.config
        self.adapters = self._attach()
        aligns = config.objectives.cf_alignment and self.training_inputs.factors is not None
        factor_size = (
            self.training_inputs.factors.shape[1] if aligns and self.training_inputs.factors is not None else 0
        )
        self.heads = Heads(self.encoder.embedding_size, factor_size).to(self.device)
        below = None if config.method == "full" else self.inputs.trainable_layers
        parts = rate_layers(self.encoder, config.learning_rate, config.layer_decay, below)
        self.learned = nn.ModuleList([*(module for module, _ in parts), self.encoder.head])
        heads = [(self.heads, config.head_learning_rate), (self.encoder.head, config.head_learning_rate)]
        self.optimizer = make_optimizer([*heads, *parts], config.weight_decay)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, warm_up_then_cosine(self.updates, config.warmup_share)
        )
        self.processes.broadcast([*self.learned.parameters(), *self.heads.parameters()])
        losses, recalls = self._train(checkpoint, progress)
        if self.adapters:
            self.adapters.merge()
        if checkpoint and self.processes.is_first:
            checkpoint.clear()
        return FineTuned(losses, recalls, self._vectors())

    def _train(
        self, checkpoint: TrainingCheckpoint | None, progress: StepProgress | None
    ) -> tuple[list[float], list[float]]:
        best = _Best()
        parts: dict[str, Any] = {"layers": self.learned, "heads": self.heads, "memory": self.memory, "best": best}
        if self.adapters:
            parts["adapters"] = self.adapters
        found = checkpoint.load(parts, self.optimizer, self.scheduler) if checkpoint else None
        losses = found.losses if found else []
        recalls: list[float] = found.extra if found else self._measure([], best)
        if progress:
            for loss in losses:
                progress(0, loss)

        def save(step: int) -> None:
            if checkpoint and self.config.checkpoint_steps and self.processes.is_first:
                checkpoint.save(step, parts, self.optimizer, self.scheduler, losses, recalls)

        for epoch in range(len(losses) // self.steps_per_epoch, self.config.epochs):
            if self._is_past_best(recalls):
                break
            for step, batch, rng in self._draw(epoch):
                if step < len(losses):
                    continue
                loss = self._step(step, batch, rng)
                losses.append(loss)
                if progress:
                    progress(len(batch.entries), loss)
                if self._is_time_to_save(step + 1):
                    save(step + 1)
            self.memory.vectors = torch.from_numpy(self._embed()).to(self.device)
            recalls = self._measure(recalls, best)
            save(len(losses))
        self._take(best)
        return losses, recalls

    def _is_time_to_save(self, steps: int) -> bool:
        """Between updates gradients are under way, and after its last step an epoch has more to do."""
        every = self.config.checkpoint_steps
        if not every or not steps % self.steps_per_epoch or not self._ends_window(steps - 1):
            return False
        return steps % every < self.config.accumulation

    def _ends_window(self, step: int) -> bool:
        """Return whether the optimiser moves after this step."""
        within = step % self.steps_per_epoch + 1
        return within % self.config.accumulation == 0 or within == self.steps_per_epoch

    def _draw(self, epoch: int) -> Any:
        """Yield the steps of an epoch: number, batch, and a generator of the step's own."""
        rng = np.random.default_rng([self.seed, epoch])
        self.ordered = shuffle_histories(self.histories, rng)
        self.hard = self._mine()
        batches = draw_batches(self.ordered, self.lengths, self.config, rng)
        for number, batch in enumerate(batches):
            step = epoch * self.steps_per_epoch + number
            yield step, batch, np.random.default_rng([self.seed, epoch, number])

    def _step(self, step: int, batch: Batch, rng: np.random.Generator) -> float:
        config, processes = self.config, self.processes
        # By the step and the process: dropout is the same after a resume, and no two processes hide the same places.
        own_seed = [self.seed, step, processes.rank]
        torch.manual_seed(int(np.random.SeedSequence(own_seed).generate_state(1, np.uint64)[0] >> 1))
        mine = batch.items[processes.share(len(batch.items))]
        self.learned.train()
        hidden, mask = self._read(mine, np.random.default_rng(own_seed))
        draws = rng.bit_generator.state
        loss = self._loss(hidden, mask, batch, rng)
        (loss / config.accumulation).backward()  # type: ignore[no-untyped-call]
        if config.adversarial and hidden.grad is not None:
            rng.bit_generator.state = draws
            moved = perturb(hidden.detach(), hidden.grad, config.adversarial)
            (self._loss(moved, mask, batch, rng) / config.accumulation).backward()  # type: ignore[no-untyped-call]
        if self._ends_window(step):
            self._update(step)
        self.learned.eval()
        return float(loss.detach())

    def _read(self, items: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states and mask of this process's items, some tokens hidden."""
        hidden, mask = self.inputs.pad(self.encoder, items)
        if self.config.adversarial:
            if hidden.is_leaf:
                hidden = hidden.detach().requires_grad_()
            hidden.retain_grad()
        return hidden, self._hide(items, mask, rng)

    def _update(self, step: int) -> None:
        learning = [one for group in self.optimizer.param_groups for one in group["params"]]
        self.processes.average_gradients(learning)
        torch.nn.utils.clip_grad_norm_(learning, self.config.max_gradient_norm)
        self.optimizer.step()
        if self.adapters:
            epoch, within = divmod(step, self.steps_per_epoch)
            per_epoch = self.updates // self.config.epochs
            self.adapters.after_step(epoch * per_epoch + within // self.config.accumulation)
        self.scheduler.step()
        self.optimizer.zero_grad()

    def _loss(self, hidden: torch.Tensor, mask: torch.Tensor, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
        """Return the weighted sum of the objectives, and keep the batch's new vectors."""
        goals = self.config.objectives
        with self.encoder.autocast():
            own = self.encoder.pool(self.encoder.run_layers(hidden, mask, self.upper), mask).float()
            fresh = self.processes.gather(own, len(batch.items))
            places = torch.from_numpy(batch.items).to(self.device)
            vectors = self.memory.vectors.index_copy(0, places, fresh)
            total = fresh.new_zeros(())
            if self.adapters:
                total = total + self.adapters.penalty()
            if goals.cf_alignment and self.heads.factor_map is not None and self.training_inputs.factors is not None:
                factors = torch.from_numpy(self.training_inputs.factors[batch.items]).to(self.device)
                total = total + goals.cf_alignment * align_factors(fresh, factors, self.heads.factor_map)
            if len(batch.entries) and (goals.next_item or goals.co_interaction):
                total = total + self._contrast(vectors, batch, rng)
        self.memory.vectors = vectors.detach()
        return total

    def _contrast(self, vectors: torch.Tensor, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
        config, goals, histories = self.config, self.config.objectives, self.ordered
        targets = histories.items[batch.entries].astype(np.int64)
        columns = draw_negatives(self.touched, config, batch, self.hard, targets, rng)
        right = torch.from_numpy(np.searchsorted(columns, targets)).to(self.device)
        forbidden = torch.from_numpy(self.owned[histories.users[batch.entries]][:, columns].toarray() > 0)
        past = look_back(histories, batch.entries, config.history_length)
        candidates = vectors[torch.from_numpy(columns).to(self.device)]
        corrects = config.log_q and config.negatives == "batch" and config.draw == "interactions"
        log_q = torch.from_numpy(self.log_q[columns]).to(self.device) if corrects else None
        weights = None
        if config.event_weights:
            weights = torch.from_numpy(histories.weights[batch.entries]).to(self.device)
        rest = (right, forbidden.to(self.device), config.temperature, log_q, weights)
        total = vectors.new_zeros(())
        if goals.next_item:
            means = average_past(vectors, past, config.history_decay if histories.ordered else 1.0)
            found = info_nce_loss(self.heads.map_users(means), self.heads.map_items(candidates), *rest)
            total = total + goals.next_item * found
        if goals.co_interaction:
            near = np.minimum((past >= 0).sum(axis=1), config.max_distance)
            partner = past[np.arange(len(past)), (rng.random(len(past)) * near).astype(np.int64)]
            # Unlike plain indexing, it adds gradients up in the same order each time.
            anchors = torch.nn.functional.embedding(torch.from_numpy(partner).to(self.device), vectors)
            total = total + goals.co_interaction * info_nce_loss(anchors, candidates, *rest)
        return total

    def _hide(self, items: NDArray[np.int64], mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Return the mask of the tokens that are seen in this step."""
        settings = self.config.augmentation.model_dump()
        if not any(settings.values()):
            return mask
        fields = np.full(mask.shape, -1, dtype=np.int16)
        for row, item in enumerate(items):
            known = self.training_inputs.fields
            length = int(self.lengths[item])
            if known is not None:
                fields[row, :length] = known[item]
            else:
                fields[row, 1 : length - 1] = 0
        return torch.from_numpy(augment(self.lengths[items], fields, rng, **settings)).to(mask.device)

    def _mine(self) -> list[NDArray[np.int64]]:
        """Return tables of each item's nearest others, by factors and by the texts' vectors as they are now."""
        tables = []
        wanted, factors = self.config.hard_negatives, self.training_inputs.factors
        if wanted.text:
            tables.append(_nearest_touched(self.memory.vectors.cpu().numpy(), self.touched, wanted.text))
        if wanted.als and factors is not None:
            known = self.touched[~np.isnan(factors[self.touched, 0])]
            tables.append(_nearest_touched(factors, known, wanted.als))
        return tables

    def _measure(self, recalls: list[float], best: _Best) -> list[float]:
        """Return the recalls with that of the weights as they are; the best weights are kept."""
        if not self.recall.n_users:
            return recalls
        with torch.no_grad():
            found = self.recall.measure(self.memory.vectors, self.heads)
        if not recalls or found > max(recalls):
            best.weights = {name: value.detach().clone() for name, value in self.learned.state_dict().items()}
        return [*recalls, found]

    def _is_past_best(self, recalls: Sequence[float]) -> bool:
        return bool(recalls) and len(recalls) - 1 - int(np.argmax(recalls)) >= self.config.patience

    def _take(self, best: _Best) -> None:
        if best.weights:
            self.learned.load_state_dict(best.weights)
            self.memory.vectors = torch.from_numpy(self._embed()).to(self.device)

    def _attach(self) -> Adapters | None:
        config = self.config
        if config.method not in ("lora", "adalora"):
            return None
        return attach_adapters(
            self.encoder,
            config.method,
            rank=config.adapter.rank,
            alpha=config.adapter.alpha,
            layers=self.inputs.trainable_layers,
            total_steps=self.updates,
        )

    def _embed(self) -> NDArray[np.float32]:
        return encode_inputs(self.encoder, self.inputs)

    def _vectors(self) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.memory.vectors.float().cpu().numpy()
        return vectors


def _nearest_touched(vectors: NDArray[np.float32], places: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return (n_items, k) nearest of the given places to each of them by cosine, -1 rows for all others."""
    table = np.full((len(vectors), k), -1, dtype=np.int64)
    if len(places) > k:
        rows = vectors[places]
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        table[places] = places[find_nearest(unit.astype(np.float32), np.arange(len(places)), k)]
    return table
