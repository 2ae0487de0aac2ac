"""The mean of two encoders' weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from recsys.text.encoder import Encoder


def average_encoders(tuned: Encoder, untouched: Encoder, untouched_share: float) -> Encoder:
    """Return an encoder whose weights are the weighted mean of those before and after fine-tuning.

    It keeps more of what the checkpoint knows than the fine-tuned encoder, at the same cost (Wortsman et al. 2022,
    CVPR, "Robust fine-tuning of zero-shot models", arXiv 2109.01903).

    Args:
        tuned: not changed.
        untouched: the same encoder before fine-tuning; not changed.
        untouched_share: weight of the untouched encoder, from 0 to 1.
    """
    averaged = copy.deepcopy(tuned)
    before = dict(_name_weights(untouched))
    with torch.no_grad():
        for name, weight in _name_weights(averaged):
            weight.lerp_(before[name], untouched_share)
    return averaged


def _name_weights(encoder: Encoder) -> Iterator[tuple[str, nn.Parameter]]:
    yield from encoder.model.named_parameters(prefix="model")
    yield from encoder.head.named_parameters(prefix="head")
