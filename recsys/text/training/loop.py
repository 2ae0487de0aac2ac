"""The training loop that fine-tuning, the interest model, adaptation and distillation share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import nn

Batch = TypeVar("Batch")


@dataclass
class TrainingLoop(Generic[Batch]):
    """Takes training steps: backward passes, gradient clipping, the optimiser and its learning-rate schedule.

    A step is one batch. The optimiser moves after every `accumulation` steps and at the end of `run`; gradients are
    zero before and after.

    Attributes:
        compute_losses: yields the losses of a batch, at least one. Each is backpropagated before the next is requested,
            so a later loss may depend on the gradients of an earlier one. The first is the loss of the step.
        optimizer: over the parameters that learn.
        scheduler: of the learning rates, advanced once per update.
        parameters: their gradients are clipped together, to this order's norm.
        max_gradient_norm: gradients with a larger norm are scaled down to it.
        accumulation: steps whose gradients are averaged into one update.
        before_update: called before gradients are clipped, such as to average them over processes.
        after_update: called with the number of the update, from 0, while its gradients still exist.
        losses: of each step so far; a resumed training starts with those of its checkpoint.
    """

    compute_losses: Callable[[Batch], Iterable[torch.Tensor]]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    parameters: Sequence[nn.Parameter]
    max_gradient_norm: float
    accumulation: int = 1
    before_update: Callable[[], None] | None = None
    after_update: Callable[[int], None] | None = None
    losses: list[float] = field(default_factory=list)

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
        """Take one step per batch and yield the batch with its loss; the caller must exhaust the iterator.

        A step that ends an accumulation window is yielded after the optimiser moved, except for the last batch of an
        unfinished window: its update follows once there are no more batches.
        """
        self.optimizer.zero_grad()
        pending = 0
        for batch in batches:
            self.losses.append(self._backpropagate(batch))
            pending += 1
            if pending == self.accumulation:
                self._update()
                pending = 0
            yield batch, self.losses[-1]
        if pending:
            self._update()

    def _backpropagate(self, batch: Batch) -> float:
        """Add a batch's gradients and return its loss."""
        step_loss: torch.Tensor | None = None
        for loss in self.compute_losses(batch):
            (loss / self.accumulation).backward()  # type: ignore[no-untyped-call]
            step_loss = loss.detach() if step_loss is None else step_loss
        if step_loss is None:
            raise RuntimeError("training loop: a batch without a loss; internal error in compute_losses")
        return float(step_loss)

    def _update(self) -> None:
        if self.before_update:
            self.before_update()
        nn.utils.clip_grad_norm_(self.parameters, self.max_gradient_norm)
        self.optimizer.step()
        if self.after_update:
            # A scheduler counts its updates, and a checkpoint restores the count.
            self.after_update(self.scheduler.last_epoch)
        self.scheduler.step()
        self.optimizer.zero_grad()
