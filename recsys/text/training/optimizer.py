"""The optimiser of a training run: which part learns how fast, and how that changes over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from recsys.text.encoder import Encoder

# A module and its learning rate.
Rated = tuple[nn.Module, float]


def rate_layers(
    encoder: Encoder, learning_rate: float, layer_decay: float = 1.0, trainable_layers: int | None = None
) -> list[Rated]:
    """Return the encoder's layers, top first, each with its own learning rate (Howard and Ruder 2018, ACL).

    The top layer has `learning_rate`, each layer below `layer_decay` times that of the one above it, and the
    embeddings are one more step down: what lies deep is language in general and should move least.

    Args:
        encoder: not changed.
        learning_rate: of the top layer.
        layer_decay: 1 gives all layers the same.
        trainable_layers: the last so many layers, without the embeddings; None: all layers and the embeddings.
    """
    layers = list(encoder.layers)
    chosen = layers if trainable_layers is None else layers[max(0, len(layers) - trainable_layers) :]
    steps = [[layer] for layer in reversed(chosen)]
    if trainable_layers is None:
        # Small ELECTRA models widen their token vectors; that belongs to the embeddings.
        below = (encoder.model.embeddings, getattr(encoder.model, "embeddings_project", None))
        steps.append([module for module in below if module is not None])
    return [(module, learning_rate * layer_decay**depth) for depth, modules in enumerate(steps) for module in modules]


def make_optimizer(parts: Iterable[Rated], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over what can learn in some modules (Loshchilov and Hutter 2019, ICLR, arXiv 1711.05101).

    Weights decay independently of the gradient. Norms, biases and every other single vector or number do not decay:
    they have nothing to be shrunk for. Frozen parameters are left out, so with adapters attached only these learn; a
    parameter that is in two parts belongs to the first.

    Args:
        parts: modules with their learning rates, such as `[(head, 1e-3), *rate_layers(encoder, 5e-5, 0.9)]`.
        weight_decay: per step and learning rate.

    Raises:
        ValueError: nothing in the parts can learn.
    """
    groups: list[dict[str, object]] = []
    seen: set[int] = set()
    for module, rate in parts:
        fresh = [one for one in module.parameters() if one.requires_grad and id(one) not in seen]
        seen.update(id(one) for one in fresh)
        for decays in (True, False):
            chosen = [one for one in fresh if (one.ndim >= 2) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay if decays else 0.0})
    # Fused: one pass over the weights instead of a dozen; it counts for what a step costs on a processor.
    return torch.optim.AdamW(groups, fused=True)


def warm_up_then_cosine(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Return what the learning rate is multiplied with at each step, for `LambdaLR` (Loshchilov and Hutter 2017, ICLR).

    It rises in equal steps to 1 over the first `warmup_share` of the steps (one at least), then falls along half a
    cosine towards 0.
    """
    warmup = max(1, round(steps * warmup_share))

    def multiply(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return multiply
