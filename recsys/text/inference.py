"""Running BERT layers fast where nothing is learned: the same sums as the model's own, laid out for the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import torch
from torch import nn
from torch.nn import functional

# Bytes of a block that is taken and freed once: from then on the system's allocator (glibc's, where it is that) keeps
# as much for the next operations instead of handing it back after each and taking it again, page by page.
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
# Tokens that one thread of a processor takes through all layers together: their states stay in its cache.
CACHE_TOKENS = 1024
# (weight, bias)
_Pair = tuple[torch.Tensor, torch.Tensor]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def spread(work: Callable[[_Item], _Result], items: Sequence[_Item], *, share: bool = True) -> Iterator[_Result]:
    """Yield `work` of each item, in order, each done by one of as many threads as torch has.

    Threads that share every operation wait for each other after each, some thousand times a second, and for long
    where other programs want the processor too. Threads with work of their own do not.

    Args:
        work: torch operations that let others run meanwhile; it starts outside of any context such as `no_grad`.
        items: what to do.
        share: all of torch's threads take part in a single item.
    """
    threads = torch.get_num_threads()
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)
    if threads == 1 or (share and len(items) < 2):
        yield from map(work, items)
        return
    # Threads that start now take over the number.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(threads)


class FastLayers:
    """Transformer layers with the weights they have now; make a new one after they have learned.

    What makes it faster than the model's own forward pass: weights are cast to the precision of the products once,
    not for every batch; query, key and value are one product; a batch without padding has no mask; and bfloat16
    attention on a processor is two batched products around a softmax, in half the time of torch's fused kernel.
    Between layers the states stay float32, so rounding does not add up. Nothing is dropped out, nothing keeps a
    gradient.

    Args:
        layers: of a BERT-family model, on any device; `fits` must be true of them.
        dtype: of the products, float32 or bfloat16.
    """

    def __init__(self, layers: Iterable[Any], dtype: torch.dtype) -> None:
        self._layers = [_Layer.copy(layer, dtype) for layer in layers]
        self._dtype = dtype

    @staticmethod
    def fits(layers: Iterable[Any]) -> bool:
        """Return whether the layers are BERT's and nothing was added to them, such as adapters."""
        return all(
            _has(layer, _LINEARS, nn.Linear) and _has(layer, _NORMS, nn.LayerNorm) and hasattr(layer, "intermediate")
            for layer in layers
        )

    @torch.no_grad()
    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run hidden states through the layers.

        Args:
            hidden: (batch, tokens, size) states below the first of the layers.
            mask: (batch, tokens) bool, the real tokens.

        Returns:
            (batch, tokens, size) float32; what stands at padding means nothing.
        """
        batch, tokens, size = hidden.shape
        fused = self._dtype == torch.float32 or hidden.device.type != "cpu"
        attend = _attend_fused if fused else _attend_in_steps
        padding = None if bool(mask.all()) else mask[:, None, None, :]
        states = hidden.reshape(batch * tokens, size).float()
        with torch.autocast(hidden.device.type, enabled=False):
            for layer in self._layers:
                parts = functional.linear(states.to(self._dtype), *layer.query_key_value)
                query, key, value = parts.view(batch, tokens, 3, layer.heads, -1).permute(2, 0, 3, 1, 4).unbind()
                mixed = attend(query, key, value, padding).transpose(1, 2).reshape(batch * tokens, -1)
                states = layer.norm_attention(states + functional.linear(mixed, *layer.attention))
                wide = layer.activation(functional.linear(states.to(self._dtype), *layer.up))
                states = layer.norm_output(states + functional.linear(wide, *layer.down))
        return states.view(batch, tokens, size)


@dataclass(frozen=True)
class _Layer:
    """One layer's weights: those of products in their precision, those of norms in float32."""

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
        # The scale of the scores goes into the queries, where it costs nothing.
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
    """Return whether all these parts of a layer are of exactly this kind."""
    try:
        return all(type(layer.get_submodule(name)) is kind for name in names)
    except AttributeError:
        return False


def _attend_fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return (batch, heads, tokens, size) values mixed by torch's fused kernel."""
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)


def _attend_in_steps(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return (batch, heads, tokens, size) values mixed by plain products."""
    shape = query.shape
    query, key, value = (part.reshape(-1, *shape[2:]) for part in (query, key, value))
    if mask is None:
        scores = torch.bmm(query, key.mT)
    else:
        hidden = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, torch.finfo(query.dtype).min)
        scores = torch.baddbmm(hidden.expand(-1, shape[1], -1, -1).reshape(-1, 1, shape[2]), query, key.mT)
    return torch.bmm(scores.softmax(-1), value).view(shape)
