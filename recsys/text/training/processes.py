"""Several processes that train one model together, as if they were one."""

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


@dataclass(frozen=True)
class Processes:
    """The processes of a training run, and which of them this is.

    All hold the same model and draw the same batch. Each encodes its share of the batch's items and gathers everyone's
    vectors; then all compute the same whole loss, go back through it, and average their gradients. That equals what
    one process would do, up to rounding. Alone, everything here hands back what it was given.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return which of n rows are this process's: every `size`-th.

        Where rows stand in the order of their lengths, all shares cost the same. With fewer rows than processes, the
        last have none.
        """
        return slice(self.rank, n, self.size)

    def gather(self, vectors: torch.Tensor, n: int) -> torch.Tensor:
        """Return the vectors of all processes in the common order of rows.

        Going back, each process receives the gradient of its own rows, without waiting for the others. It is `size`
        times too large, which `average_gradients` undoes: so what comes before the gathering and what comes after it
        may be averaged alike.

        Args:
            vectors: (rows of `share(n)`, …), any number of rows among the processes.
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
                f"process {self.rank} of {self.size} gave {len(vectors)} vectors, its share of {n} is {own}"
            )
        if not own and torch.is_grad_enabled():
            # Also a process without rows of its own goes back through the loss.
            vectors = vectors.detach().requires_grad_()
        gathered: torch.Tensor = _Gather.apply(vectors, n, self)  # type: ignore[no-untyped-call]
        return gathered

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all processes' gradients, in one exchange; the same bits everywhere.

        Also what differs between processes, such as dropout after the gathering, cannot make their models drift apart.
        A parameter without gradient counts as zero, unless no process has one: then it stays without.

        Raises:
            RecsysError: another process has stopped or is stuck.
        """
        chosen = [one for one in parameters if one.requires_grad]
        if self.size == 1 or not chosen:
            return
        parts = [torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten() for one in chosen]
        present = torch.tensor([one.grad is not None for one in chosen], dtype=parts[0].dtype, device=parts[0].device)
        flat = torch.cat([*parts, present])
        with self._together("averaging gradients"):
            distributed.all_reduce(flat)
        flat /= self.size
        *means, somewhere = torch.split(flat, [*(one.numel() for one in chosen), len(chosen)])
        for parameter, mean, known in zip(chosen, means, somewhere.tolist(), strict=True):
            parameter.grad = mean.view_as(parameter).to(parameter.dtype) if known else None

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors or parameters, in place, with those of the first process.

        Raises:
            RecsysError: another process has stopped or is stuck.
        """
        if self.size == 1:
            return
        with self._together("handing out the first one's tensors"), torch.no_grad():
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), src=0)

    def close(self) -> None:
        """Leave the group; to be called once training is over, also after an error."""
        if self.size > 1 and distributed.is_initialized():
            with suppress(RuntimeError):
                distributed.destroy_process_group()

    @contextmanager
    def _together(self, doing: str) -> Iterator[None]:
        try:
            yield
        # Whatever is wrong with the others, torch says it with one of these.
        except RuntimeError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RecsysError(
                f"process {self.rank} of {self.size}: the others were lost while {doing} ({reason}); one of them has "
                "stopped or is stuck; read its own message, then start all of them again"
            ) from error


class _Gather(torch.autograd.Function):
    """Rows of all processes, interleaved; back goes what belongs to the own rows."""

    @staticmethod
    def forward(context: Any, vectors: torch.Tensor, n: int, processes: Processes) -> torch.Tensor:
        context.share, context.size = processes.share(n), processes.size
        most = -(-n // processes.size)
        # All send the same number of rows; what fills up a short share ends behind row n.
        sent = vectors.new_zeros((most, *vectors.shape[1:]))
        sent[: len(vectors)] = vectors
        received = [torch.empty_like(sent) for _ in range(processes.size)]
        with processes._together("gathering vectors"):
            distributed.all_gather(received, sent)
        return torch.stack(received, dim=1).flatten(0, 1)[:n]

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][context.share] * context.size, None, None


def join_processes(timeout_seconds: float = 600.0) -> Processes:
    """Join the processes that torchrun started with this one; without torchrun there is this one alone.

    To be called before the model is loaded: with GPUs, each process takes its own. GPUs talk over NCCL, processors
    over gloo.

    Args:
        timeout_seconds: how long to wait for the others at any exchange; more than the longest stretch in which one
            works alone.

    Raises:
        ConfigError: torchrun's environment variables are not whole, or there are more processes than GPUs.
        RecsysError: the others did not come in time.
    """
    size = _read_number("WORLD_SIZE", 1)
    if size <= 1:
        return Processes()
    processes = Processes(_read_number("RANK"), size)
    if not distributed.is_initialized():
        backend = _choose_backend(_read_number("LOCAL_RANK"))
        with processes._together("waiting for all to come"):
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
    if not torch.cuda.is_available():
        return "gloo"
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise ConfigError(
            f"processes: this is number {local_rank + 1} on a machine with {found} GPU{'s' * (found > 1)}, expected a "
            f"GPU for each; start torchrun with --nproc-per-node {found}"
        )
    torch.cuda.set_device(local_rank)
    # Otherwise a lost process ends this one without a word once the time is over, instead of raising an error here.
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    return "nccl"
