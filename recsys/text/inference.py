"""Fast inference with BERT layers: the model's own computation, optimised for the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import nn
from torch.nn import functional

from recsys.text.attention import attend
from recsys.text.device import products_in

# Size of a block that is allocated and freed once: afterwards glibc's allocator keeps that much memory for the next
# operations, instead of returning it to the system after each and mapping it again page by page.
_KEPT_BYTES = 31 * 2**20
_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
# Tokens that one CPU thread runs through all layers together, so that their states stay in its cache.
CACHE_TOKENS = 1024
# (weight, bias)
_Pair = tuple[torch.Tensor, torch.Tensor]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def spread(work: Callable[[_Item], _Result], items: Sequence[_Item], *, share: bool = True) -> Iterator[_Result]:
    """Yield the result of `work` for each item, in order; torch's threads process one item each.

    Threads that share every operation synchronise after each, thousands of times a second, and wait long if other
    programs use the CPU too. Threads with an item each do not wait.

    Args:
        work: torch operations that release the GIL; contexts such as `no_grad` are not inherited.
        items: to process.
        share: a single item is processed by all of torch's threads.
    """
    threads = torch.get_num_threads()
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)
    if threads == 1 or (share and len(items) < 2):
        yield from map(work, items)
        return
    # Threads that start now inherit this setting.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(threads)


class FastLayers:
    """A copy of transformer layers for inference, with their current weights.

    It is faster than the model's own forward pass because weights are cast to the precision of the products once
    rather than for every batch, query, key and value are one product, and a batch without padding needs no mask. States
    between layers are float32, so rounding errors do not accumulate. Dropout and gradients are off.

    Args:
        layers: of a BERT-family model, on any device, for which `fits` is true.
        dtype: of the products, float32 or bfloat16.
    """

    def __init__(self, layers: Iterable[Any], dtype: torch.dtype) -> None:
        self._layers = [_Layer.copy(layer, dtype) for layer in layers]
        self._dtype = dtype

    @staticmethod
    def fits(layers: Iterable[Any]) -> bool:
        """Return whether the layers are plain BERT layers, without additions such as adapters."""
        return all(
            _has(layer, _LINEARS, nn.Linear) and _has(layer, _NORMS, nn.LayerNorm) and hasattr(layer, "intermediate")
            for layer in layers
        )

    @torch.no_grad()
    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run hidden states through the layers.

        Args:
            hidden: (batch, tokens, size) states below the first of the layers.
            mask: (batch, tokens) bool, the tokens.

        Returns:
            (batch, tokens, size) float32; arbitrary at padding.
        """
        batch, tokens, size = hidden.shape
        padding = None if bool(mask.all()) else mask[:, None, None, :]
        states = hidden.reshape(batch * tokens, size).float()
        with products_in("float32", hidden.device):
            for layer in self._layers:
                parts = functional.linear(states.to(self._dtype), *layer.query_key_value)
                query, key, value = parts.view(batch, tokens, 3, layer.heads, -1).permute(2, 0, 3, 1, 4).unbind()
                # The queries are scaled in advance, instead of the scores.
                mixed = attend(query, key, value, mask=padding, scale=1.0).transpose(1, 2).reshape(batch * tokens, -1)
                states = layer.norm_attention(states + functional.linear(mixed, *layer.attention))
                wide = layer.activation(functional.linear(states.to(self._dtype), *layer.up))
                states = layer.norm_output(states + functional.linear(wide, *layer.down))
        return states.view(batch, tokens, size)


@dataclass(frozen=True)
class _Layer:
    """The weights of one layer: those of products in their precision, those of norms in float32."""

    heads: int
    query_key_value: _Pair
    attention: _Pair
    norm_attention: Any
    up: _Pair
    activation: Any
    down: _Pair
    norm_output: Any

    @classmethod
    def copy(cls, layer: Any, dtype: torch.dtype) -> Self:
        own = layer.attention.self
        scale = own.attention_head_size**-0.5
        scales = (scale, 1.0, 1.0)
        three = (own.query, own.key, own.value)
        weight = torch.cat([linear.weight.detach() * by for linear, by in zip(three, scales, strict=True)])
        bias = torch.cat([linear.bias.detach() * by for linear, by in zip(three, scales, strict=True)])
        return cls(
            heads=own.num_attention_heads,
            query_key_value=(weight.to(dtype), bias.to(dtype)),
            attention=_read(layer.attention.output.dense, dtype),
            norm_attention=layer.attention.output.LayerNorm,
            up=_read(layer.intermediate.dense, dtype),
            activation=layer.intermediate.intermediate_act_fn,
            down=_read(layer.output.dense, dtype),
            norm_output=layer.output.LayerNorm,
        )


def _read(linear: nn.Linear, dtype: torch.dtype) -> _Pair:
    return linear.weight.detach().to(dtype), linear.bias.detach().to(dtype)


def _has(layer: Any, names: Iterable[str], kind: type) -> bool:
    """Return whether all these submodules of a layer have exactly this type."""
    try:
        return all(type(layer.get_submodule(name)) is kind for name in names)
    except AttributeError:
        return False
