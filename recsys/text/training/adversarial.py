"""Adversarial training: texts perturbed in the direction in which the loss grows fastest."""

from __future__ import annotations

import torch


def perturb(hidden: torch.Tensor, gradient: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Move each text's token vectors by `epsilon` along their gradient (Miyato et al. 2017, ICLR, arXiv 1605.07725).

    The perturbation has the same length for every text, however many tokens it has: only the direction depends on the
    gradient, so the scale of the loss does not matter. A text with a zero gradient is not perturbed.

    Args:
        hidden: (texts, tokens, size), as `Encoder.embed_tokens` returns them; gradients flow back through them.
        gradient: of the loss with respect to `hidden`, the same shape; treated as constant.
        epsilon: length of the perturbation over all tokens of a text together.

    Returns:
        (texts, tokens, size) of the dtype of `hidden`.
    """
    direction = gradient.detach().float()
    length = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
    step = epsilon * direction / length.clamp(min=torch.finfo(torch.float32).tiny)
    perturbed: torch.Tensor = hidden + step.to(hidden.dtype)
    return perturbed
