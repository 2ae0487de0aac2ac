"""Attention of transformer layers, in the way that is fastest where it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from recsys.text.dropout import drop

# The name under which a model of transformers finds `attend` once it is registered.
_NAME = "recsys"


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return (batch, heads, tokens, size) attention outputs of queries, keys and values of that shape.

    On a processor, bfloat16 and dropout take two batched products around a softmax: torch's fused kernel takes several
    times as long with them, most of it for its backward pass and for a random number for every score.

    Args:
        query: of each token.
        key: likewise.
        value: likewise.
        mask: (batch, 1, 1 or tokens, tokens) bool, the tokens that are seen; None: all, or the earlier ones.
        causal: without a mask, each token sees itself and those before it.
        scale: by which scores are multiplied before the softmax.
        dropout: share of the scores that are set to zero after it.
    """
    if query.device.type != "cpu" or (query.dtype == torch.float32 and not dropout):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scale
        )
    shape = query.shape
    query, key, value = (part.reshape(-1, *shape[2:]) for part in (query, key, value))
    unseen = _weigh_unseen(query, shape, mask, causal)
    if unseen is not None:
        scores = torch.baddbmm(unseen, query, key.mT, alpha=scale)
    else:
        scores = torch.bmm(query if scale == 1.0 else query * scale, key.mT)
    return torch.bmm(drop(scores.softmax(-1), dropout), value).view(shape)


def _weigh_unseen(
    query: torch.Tensor, shape: torch.Size, mask: torch.Tensor | None, causal: bool
) -> torch.Tensor | None:
    """Return what is added to the (batch x heads, tokens, tokens) scores: least where a token is not seen."""
    least = torch.finfo(query.dtype).min
    if mask is not None:
        hidden = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, least)
        return hidden.expand(-1, shape[1], -1, -1).flatten(0, 1)
    if causal:
        return torch.full((shape[2], shape[2]), least, dtype=query.dtype).triu(1)
    return None


def register_attention() -> str:
    """Make `attend` known to transformers, and return the name that its models take as `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attend_in_model)
    # The encoder runs the layers itself; without this, a model's own forward pass would attend to padding.
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    return _NAME


def _attend_in_model(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute what transformers asks of an attention function: (batch, tokens, heads, size) outputs, and no scores."""
    del module
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed = attend(query, key, value, mask=attention_mask, scale=scale, dropout=dropout)
    return mixed.transpose(1, 2).contiguous(), None
