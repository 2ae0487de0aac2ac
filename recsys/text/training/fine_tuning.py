"""Fine-tuning: the encoder learns from items that the same users interacted with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.text.device import seeded
from recsys.text.encoder import Encoder
from recsys.text.training.adapters import Adapters, attach_adapters
from recsys.text.training.checkpoints import TrainingCheckpoint
from recsys.text.training.data import FineTuningData
from recsys.text.training.examples import count_batches, draw_batches, hold_out, shuffle_histories
from recsys.text.training.layer_inputs import encode_inputs
from recsys.text.training.loop import TrainingLoop
from recsys.text.training.objectives import Heads
from recsys.text.training.optimizer import make_optimizer, rate_layers, warm_up_then_cosine
from recsys.text.training.processes import Processes
from recsys.text.training.step_loss import Step, StepLoss, VectorMemory
from recsys.text.training.validation import Recall

# Called after each step with its number of examples and its loss.
StepProgress = Callable[[int, float], None]


@dataclass(frozen=True)
class FineTuned:
    """The outcome of a fine-tuning.

    Attributes:
        losses: of each step; empty where there was nothing to learn from.
        recalls: recall@n of the held-out items, before training and after each epoch; empty without validation.
        embeddings: (n_items, embedding_size) float32, unit rows: the catalogue by the fine-tuned encoder.
        finished: False if the review ended the training.
    """

    losses: list[float]
    recalls: list[float]
    embeddings: NDArray[np.float32]
    finished: bool = True


@dataclass(frozen=True)
class Review:
    """A look at the embeddings part of the way through a training, which may end it.

    Attributes:
        after: number of steps before it.
        passes: is given the catalogue's embeddings, (n_items, embedding_size) float32; False ends the training.
    """

    after: int
    passes: Callable[[NDArray[np.float32]], bool]


@dataclass(frozen=True)
class Runtime:
    """How a training runs; apart from rounding between processes and the review, none of it changes the result.

    Attributes:
        checkpoint: saved to while training, and resumed from after a kill.
        processes: those that train together.
        progress: called after each step; after a resume also for the steps that were done, with 0 examples.
        review: may end the training; several processes train without it.
    """

    checkpoint: TrainingCheckpoint | None = None
    processes: Processes = field(default_factory=Processes)
    progress: StepProgress | None = None
    review: Review | None = None


def fine_tune(
    encoder: Encoder, data: FineTuningData, config: FineTuneConfig, seed: int, runtime: Runtime | None = None
) -> FineTuned:
    """Fine-tune the encoder in place and embed the catalogue with it.

    Each step encodes a batch of items; all other items are represented by the vector they last had. Examples are
    histories in which an item of the batch comes next. All items are encoded again after each epoch.

    Args:
        encoder: changed in place.
        data: texts and histories, and factors and fields for the objectives that need them.
        config: objectives and optimisation.
        seed: draws examples, dropout and initial values; the same seed gives the same weights.
        runtime: checkpoint, processes and progress.
    """
    with seeded(seed, encoder.device):
        return _FineTuning(encoder, data, config, seed, runtime or Runtime()).run()


def count_steps(histories: Histories, config: FineTuneConfig, seed: int) -> int:
    """Return the most steps that `fine_tune` takes, for a progress bar."""
    training_histories, _, _ = hold_out(histories, config.validation_share, seed)
    return config.epochs * count_batches(training_histories, config)


@dataclass
class _BestWeights:
    """The weights of the best epoch so far; empty while there is none."""

    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return self.weights

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        self.weights = dict(state_dict)


class _FineTuning:
    """One fine-tuning: epochs, validation, early stopping and checkpoints around the training loop."""

    def __init__(
        self, encoder: Encoder, data: FineTuningData, config: FineTuneConfig, seed: int, runtime: Runtime
    ) -> None:
        self.encoder, self.data, self.config, self.seed, self.runtime = encoder, data, config, seed, runtime
        self.histories, users, items = hold_out(data.histories, config.validation_share, seed)
        self.recall = Recall(self.histories, users, items, config)
        self.steps_per_epoch = count_batches(self.histories, config, data.new_days)
        self.updates = config.epochs * -(-self.steps_per_epoch // config.accumulation)
        known = data.vectors
        self.memory = VectorMemory(self._embed() if known is None else torch.from_numpy(known).to(encoder.device))
        self.finished = True

    def run(self) -> FineTuned:
        if not self.config.epochs or not self.steps_per_epoch:
            return FineTuned([], [], self._embeddings())
        self._prepare()
        recalls = self._train()
        if self.adapters:
            self.adapters.merge()
        if self.runtime.checkpoint and self.runtime.processes.is_first:
            self.runtime.checkpoint.clear()
        return FineTuned(self.loop.losses, recalls, self._embeddings(), self.finished)

    def _prepare(self) -> None:
        """Make adapters, heads, optimiser and loop."""
        encoder, config, factors, processes = self.encoder, self.config, self.data.factors, self.runtime.processes
        self.adapters = self._attach_adapters()
        aligned = factors is not None and config.objectives.cf_alignment
        self.heads = Heads(encoder.embedding_size, factors.shape[1] if factors is not None and aligned else 0)
        self.heads.to(encoder.device)
        trainable = None if config.method == "full" else self.data.inputs.trainable_layers
        layers = rate_layers(encoder, config.learning_rate, config.layer_decay, trainable)
        self.learned = nn.ModuleList([*(module for module, _ in layers), encoder.head])
        heads = [(self.heads, config.head_learning_rate), (encoder.head, config.head_learning_rate)]
        optimizer = make_optimizer([*heads, *layers], config.weight_decay)
        schedule = warm_up_then_cosine(self.updates, config.warmup_share)
        processes.broadcast([*self.learned.parameters(), *self.heads.parameters()])
        self.step_loss = StepLoss(
            encoder, self.data, self.histories, config, self.seed, self.heads, self.memory, processes, self.adapters
        )
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.loop = TrainingLoop(
            self.step_loss.compute,
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, schedule),
            learned,
            config.max_gradient_norm,
            accumulation=config.accumulation,
            before_update=lambda: processes.average_gradients(learned),
            after_update=self.adapters.after_step if self.adapters else None,
        )

    def _attach_adapters(self) -> Adapters | None:
        config = self.config
        if config.method not in ("lora", "adalora"):
            return None
        return attach_adapters(
            self.encoder,
            config.method,
            rank=config.adapter.rank,
            alpha=config.adapter.alpha,
            layers=self.data.inputs.trainable_layers,
            total_steps=self.updates,
        )

    def _train(self) -> list[float]:
        """Train epoch by epoch, from the checkpoint if there is one, and return the recalls."""
        loop, progress, best = self.loop, self.runtime.progress, _BestWeights()
        recalls = self._resume(best)
        for epoch in range(len(loop.losses) // self.steps_per_epoch, self.config.epochs):
            if self._stops_early(recalls):
                break
            steps = self._draw_epoch(epoch)
            self.learned.train()
            for step, loss in loop.run(step for step in steps if step.number >= len(loop.losses)):
                if progress:
                    progress(len(step.batch.entries), loss)
                if self._fails_review(step.number):
                    return recalls
                if self._saves_after(step.number):
                    self._save(recalls, best)
            self.learned.eval()
            self.memory.vectors = self._embed()
            recalls = self._validate(recalls, best)
            self._save(recalls, best)
        if best.weights:
            self.learned.load_state_dict(best.weights)
            self.memory.vectors = self._embed()
        return recalls

    def _fails_review(self, step: int) -> bool:
        """Return whether the review, if it follows this step, ends the training; the memory then has the embeddings."""
        review = self.runtime.review
        if review is None or step + 1 != review.after or self.runtime.processes.size > 1:
            return False
        self.learned.eval()
        vectors = self._embed()
        if review.passes(vectors.float().cpu().numpy()):
            self.learned.train()
            return False
        self.memory.vectors, self.finished = vectors, False
        return True

    def _draw_epoch(self, epoch: int) -> Iterator[Step]:
        """Yield the steps of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        histories = shuffle_histories(self.histories, rng)
        self.step_loss.start_epoch(histories)
        batches = draw_batches(histories, self.data.text_lengths, self.config, rng, self.data.new_days)
        for number, batch in enumerate(batches):
            step_rng = np.random.default_rng([self.seed, epoch, number])
            yield Step(epoch * self.steps_per_epoch + number, batch, step_rng)

    def _validate(self, recalls: list[float], best: _BestWeights) -> list[float]:
        """Return the recalls with that of the current weights; the best weights are kept."""
        if not self.recall.n_users:
            return recalls
        with torch.no_grad():
            recall = self.recall.measure(self.memory.vectors, self.heads)
        if not recalls or recall > max(recalls):
            best.weights = {name: value.detach().clone() for name, value in self.learned.state_dict().items()}
        return [*recalls, recall]

    def _stops_early(self, recalls: Sequence[float]) -> bool:
        return bool(recalls) and len(recalls) - 1 - int(np.argmax(recalls)) >= self.config.patience

    def _resume(self, best: _BestWeights) -> list[float]:
        """Restore the checkpoint and return its recalls; without one, the recall before training."""
        loop, checkpoint, progress = self.loop, self.runtime.checkpoint, self.runtime.progress
        state = checkpoint.load(self._parts(best), loop.optimizer, loop.scheduler) if checkpoint else None
        if state is None:
            return self._validate([], best)
        loop.losses = state.losses
        if progress:
            for loss in loop.losses:
                progress(0, loss)
        recalls: list[float] = state.extra
        return recalls

    def _save(self, recalls: list[float], best: _BestWeights) -> None:
        loop, checkpoint = self.loop, self.runtime.checkpoint
        if checkpoint and self.config.checkpoint_steps and self.runtime.processes.is_first:
            checkpoint.save(len(loop.losses), self._parts(best), loop.optimizer, loop.scheduler, loop.losses, recalls)

    def _parts(self, best: _BestWeights) -> dict[str, Any]:
        """Return everything with a state that changes while training."""
        parts = {"layers": self.learned, "heads": self.heads, "memory": self.memory, "best": best}
        return parts | ({"adapters": self.adapters} if self.adapters else {})

    def _saves_after(self, step: int) -> bool:
        """Return whether a checkpoint follows this step.

        Not between two updates, when gradients are pending, nor after an epoch's last step: the epoch saves when it is
        validated.
        """
        every, accumulation, done = self.config.checkpoint_steps, self.config.accumulation, step + 1
        if not every or not done % self.steps_per_epoch or done % self.steps_per_epoch % accumulation:
            return False
        return done % every < accumulation

    def _embed(self) -> torch.Tensor:
        return torch.from_numpy(encode_inputs(self.encoder, self.data.inputs)).to(self.encoder.device)

    def _embeddings(self) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.memory.vectors.float().cpu().numpy()
        return vectors
