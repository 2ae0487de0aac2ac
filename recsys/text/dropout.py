"""Dropout whose random numbers are cheap on a processor."""

from __future__ import annotations

import torch
from torch import nn

# Rates are rounded to the next smaller multiple of a byte's share.
_LEVELS = 256


class ByteDropout(nn.Module):
    """Sets each element to zero at a rate, and scales the others so that the mean stays.

    One random byte decides about an element, so a 64-bit draw decides about eight: on a processor `nn.Dropout`, which
    draws a number per element, takes longer than the matrix products between the layers of a small transformer.

    Args:
        rate: probability that an element is set to zero, rounded down to a multiple of 1/256.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._dropped = int(rate * _LEVELS)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values, changed only in training."""
        if not self.training or not self._dropped:
            return values
        count = values.numel()
        # The whole range of 64 bits; without a lower limit the sign bit would always be zero.
        draws = torch.empty(-(-count // 8), dtype=torch.int64, device=values.device).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[:count].view(values.shape) >= self._dropped
        scaled: torch.Tensor = (values * kept).mul_(_LEVELS / (_LEVELS - self._dropped))
        return scaled
