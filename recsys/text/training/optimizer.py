"""The optimiser of a training: which parameters learn how fast, and the schedule of the learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from recsys.text.encoder import Encoder

# A module and its learning rate.
RatedModule = tuple[nn.Module, float]


def rate_layers(
    encoder: Encoder, learning_rate: float, layer_decay: float = 1.0, trainable_layers: int | None = None
) -> list[RatedModule]:
    """Return the encoder's layers, top first, each with its learning rate (Howard and Ruder 2018, ACL).

    The top layer has `learning_rate`, each layer below it `layer_decay` times the rate of the layer above, and the
    embeddings count as one more layer: low layers hold general language and should change least.

    Args:
        encoder: not changed.
        learning_rate: of the top layer.
        layer_decay: 1 gives all layers the same rate.
        trainable_layers: number of top layers to return, without the embeddings; None: all layers and the embeddings.
    """
    layers = list(encoder.layers)
    chosen = layers if trainable_layers is None else layers[max(0, len(layers) - trainable_layers) :]
    levels = [[layer] for layer in reversed(chosen)]
    if trainable_layers is None:
        # Small ELECTRA models widen their token vectors; that map belongs to the embeddings.
        below = (encoder.model.embeddings, getattr(encoder.model, "embeddings_project", None))
        levels.append([module for module in below if module is not None])
    return [(module, learning_rate * layer_decay**depth) for depth, modules in enumerate(levels) for module in modules]


def make_optimizer(modules: Iterable[RatedModule], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of modules (Loshchilov and Hutter 2019, ICLR, arXiv 1711.05101).

    Weight decay is decoupled from the gradient, and applies to matrices only: norms, biases and other vectors do not
    decay. Frozen parameters are left out, so with adapters attached only the adapters learn. A parameter that is in two
    modules gets the rate of the first.

    Args:
        modules: with their learning rates, such as `[(head, 1e-3), *rate_layers(encoder, 5e-5, 0.9)]`.
        weight_decay: per step, relative to the learning rate.

    Raises:
        ValueError: no parameter of the modules is trainable.
    """
    groups: list[dict[str, object]] = []
    seen: set[int] = set()
    for module, rate in modules:
        fresh = [
            parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in seen
        ]
        seen.update(id(parameter) for parameter in fresh)
        for decays in (True, False):
            chosen = [parameter for parameter in fresh if (parameter.ndim >= 2) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay if decays else 0.0})
    # Fused: one pass over the weights instead of a dozen, which matters on a CPU.
    return torch.optim.AdamW(groups, fused=True)


def warm_up_then_cosine(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Return the factor of the learning rate by step, for `LambdaLR` (Loshchilov and Hutter 2017, ICLR).

    It rises linearly to 1 over the first `warmup_share` of the steps (at least 1 step), then falls along half a cosine
    towards 0.
    """
    warmup = max(1, round(steps * warmup_share))

    def multiply(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return multiply
