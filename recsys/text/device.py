"""The device that torch runs on, and what depends on it: precision, seeds, random states, one GPU per process.

No other module names a kind of device. Tensors are created on the CPU or on the device of another tensor, and models
are moved to `pick_device`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.errors import ConfigError


def pick_device() -> torch.device:
    """Return the device that models run on: the current CUDA GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def products_in(precision: str, device: torch.device) -> torch.autocast:
    """Return the context that computes matrix products in a precision, also inside another such context.

    Args:
        precision: `float32` or `bfloat16`. Weights and everything but products stay float32.
        device: that the products are computed on.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


# By identity of the array, for as long as it exists.
_kept: dict[int, torch.Tensor] = {}


def keep_on(device: torch.device, array: NDArray[np.float32]) -> torch.Tensor:
    """Return an array as a tensor on a device; a GPU keeps it, so the next call with the same array copies nothing.

    Args:
        device: the CPU, which shares the array's memory, or the GPU of this process.
        array: that is not changed as long as it exists.
    """
    if device.type == "cpu":
        return torch.from_numpy(array)
    key = id(array)
    if (kept := _kept.get(key)) is None:
        kept = _kept[key] = torch.from_numpy(array).to(device)
        weakref.finalize(array, _kept.pop, key, None).atexit = False
    return kept


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside the block; the caller's random state is restored afterwards.

    Args:
        seed: for the CPU and the device.
        device: whose generator is saved and restored, in addition to the CPU's.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def read_random_states() -> dict[str, torch.Tensor]:
    """Return the states of the generators of the CPU and of the device, by name."""
    states = {"cpu": torch.get_rng_state()}
    if pick_device().type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: Mapping[str, torch.Tensor]) -> None:
    """Restore what `read_random_states` returned; the state of a GPU that this machine lacks is ignored."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and pick_device().type == "cuda":
        torch.cuda.set_rng_state(states["cuda"])


def claim_device(number: int) -> torch.device:
    """Make a GPU the current one of this process, which `pick_device` returns from now on.

    Args:
        number: of the process on this machine, from 0.

    Returns:
        The device; the CPU, which all processes share, if there is no GPU.

    Raises:
        ConfigError: there are GPUs, but too few.
    """
    device = pick_device()
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if number >= gpus:
            raise ConfigError(
                f"processes: this is number {number + 1} on a machine with {gpus} GPU{'s' * (gpus > 1)}, expected one "
                f"GPU per process; start torchrun with --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(number)
    return device
