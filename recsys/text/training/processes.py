"""Data-parallel training: several processes that train one model together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from recsys.errors import ConfigError, RecsysError
from recsys.progress import format_count
from recsys.text.device import claim_device


@dataclass(frozen=True)
class Processes:
    """The processes of a training, and which of them this is.

    All hold the same model and draw the same batch. Each encodes its share of the batch's items and gathers the vectors
    of all; then all compute the same loss of the whole batch, backpropagate it, and average their gradients. The result
    equals that of one process, up to rounding. With one process, all methods return their input.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return which of n rows are this process's: every `size`-th.

        If rows are sorted by length, all shares cost about the same. With fewer rows than processes, the last processes
        have none.
        """
        return slice(self.rank, n, self.size)

    def gather(self, vectors: torch.Tensor, n: int) -> torch.Tensor:
        """Return the vectors of all processes in the common order of rows.

        In the backward pass each process receives the gradient of its own rows, without communication. It is scaled by
        `size`, which `average_gradients` undoes, so that parameters before and after the gathering can be averaged
        alike.

        Args:
            vectors: (rows of `share(n)`, …).
            n: rows of all processes together.

        Returns:
            (n, …) of the same dtype.

        Raises:
            RecsysError: another process has stopped or is stuck.
        """
        if self.size == 1:
            return vectors
        own = len(range(n)[self.share(n)])
        if len(vectors) != own:
            raise ValueError(
                f"process {self.rank} of {self.size} returned {format_count(len(vectors), 'vector')}, expected its "
                f"share of {n}, {own}"
            )
        if not own and torch.is_grad_enabled():
            # A process without rows takes part in the backward pass too.
            vectors = vectors.detach().requires_grad_()
        gathered: torch.Tensor = _Gather.apply(vectors, n, self)  # type: ignore[no-untyped-call]
        return gathered

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients with their mean over all processes, in one exchange, bit-identical everywhere.

        Therefore differences between processes, such as dropout after the gathering, cannot make their models diverge.
        A missing gradient counts as zero, unless it is missing in all processes: then it stays missing.

        Raises:
            RecsysError: another process has stopped or is stuck.
        """
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        if self.size == 1 or not learned:
            return
        gradients = [_flat_gradient(parameter) for parameter in learned]
        present = torch.tensor([parameter.grad is not None for parameter in learned]).to(gradients[0])
        flat = torch.cat([*gradients, present])
        with self._communicating("averaging gradients"):
            distributed.all_reduce(flat)
        flat /= self.size
        *means, present = torch.split(flat, [*(parameter.numel() for parameter in learned), len(learned)])
        for parameter, mean, exists in zip(learned, means, present.tolist(), strict=True):
            parameter.grad = mean.view_as(parameter).to(parameter.dtype) if exists else None

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors or parameters, in place, with those of the first process.

        Raises:
            RecsysError: another process has stopped or is stuck.
        """
        if self.size == 1:
            return
        with self._communicating("broadcasting the first process's tensors"), torch.no_grad():
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), src=0)

    def close(self) -> None:
        """Leave the process group; call it when training is over, also after an error."""
        if self.size > 1 and distributed.is_initialized():
            with suppress(RuntimeError):
                distributed.destroy_process_group()

    @contextmanager
    def _communicating(self, action: str) -> Iterator[None]:
        try:
            yield
        # Torch raises it for every failure of the other processes.
        except RuntimeError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RecsysError(
                f"process {self.rank} of {self.size}: lost the other processes while {action} ({reason}); one of "
                "them has stopped or is stuck; read its error message, then restart all of them"
            ) from error


class _Gather(torch.autograd.Function):
    """Interleaves the rows of all processes; the backward pass returns the gradient of the own rows."""

    @staticmethod
    def forward(context: Any, vectors: torch.Tensor, n: int, processes: Processes) -> torch.Tensor:
        context.share, context.size = processes.share(n), processes.size
        longest = -(-n // processes.size)
        # All send the same number of rows; the padding of a short share is cut off behind row n.
        sent = vectors.new_zeros((longest, *vectors.shape[1:]))
        sent[: len(vectors)] = vectors
        received = [torch.empty_like(sent) for _ in range(processes.size)]
        with processes._communicating("gathering vectors"):
            distributed.all_gather(received, sent)
        return torch.stack(received, dim=1).flatten(0, 1)[:n]

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][context.share] * context.size, None, None


def _flat_gradient(parameter: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter).flatten() if parameter.grad is None else parameter.grad.flatten()


def join_processes(timeout_seconds: float = 600.0) -> Processes:
    """Join the processes that torchrun started together with this one; without torchrun, this one is alone.

    Call it before the model is loaded: on a machine with GPUs, each process selects its own. GPUs communicate over
    NCCL, CPUs over gloo.

    Args:
        timeout_seconds: how long to wait for the others at any exchange; longer than any time that one process works
            alone.

    Raises:
        ConfigError: an environment variable of torchrun is missing, or there are more processes than GPUs.
        RecsysError: the others did not join in time.
    """
    size = _read_number("WORLD_SIZE", 1)
    if size <= 1:
        return Processes()
    processes = Processes(_read_number("RANK"), size)
    if not distributed.is_initialized():
        backend = _choose_backend(_read_number("LOCAL_RANK"))
        with processes._communicating("waiting for all processes to join"):
            distributed.init_process_group(
                backend, rank=processes.rank, world_size=size, timeout=timedelta(seconds=timeout_seconds)
            )
    return processes


def _read_number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ConfigError(
            f"environment variable {name}: is '{text}', expected a number as torchrun sets it; "
            "start with torchrun, or unset WORLD_SIZE to train in one process"
        )
    return int(text)


def _choose_backend(local_rank: int) -> str:
    if claim_device(local_rank).type == "cpu":
        return "gloo"
    # Otherwise the loss of another process ends this one silently after the timeout, instead of raising an error here.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    return "nccl"
