"""Dropout whose random numbers are cheap on a processor."""

from __future__ import annotations

import torch
from torch import nn

# Rates are rounded to the next smaller multiple of a byte's share.
_LEVELS = 256


def drop(values: torch.Tensor, rate: float) -> torch.Tensor:
    """Set each element to zero at a rate, and scale the others so that the mean stays.

    One random byte decides about an element, so a 64-bit draw decides about eight: on a processor torch's own dropout,
    which draws a number per element, takes longer than the matrix products between the layers of a small transformer.

    Args:
        values: of any shape.
        rate: probability that an element is set to zero, rounded down to a multiple of 1/256.
    """
    dropped = int(rate * _LEVELS)
    if not dropped:
        return values
    count = values.numel()
    # The whole range of 64 bits; without a lower limit the sign bit would always be zero.
    draws = torch.empty(-(-count // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[:count].view(values.shape) >= dropped
    # A product with a bool takes twice as long.
    return torch.where(kept, values * (_LEVELS / (_LEVELS - dropped)), 0.0)


class ByteDropout(nn.Module):
    """Drops elements in training, as `drop` does.

    Args:
        rate: probability that an element is set to zero.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, changed only in training."""
        return drop(values, self._rate) if self.training else values
