"""Adversarial training: the same texts, moved a little to where the loss grows fastest."""

from __future__ import annotations

import torch


def perturb(hidden: torch.Tensor, gradient: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Move each text's token vectors by `epsilon` along its gradient (Miyato et al. 2017, ICLR, arXiv 1605.07725).

    The step is as long for every text, however many tokens it has: only the direction comes from the gradient, so it
    does not matter how the loss is scaled. A text whose gradient is zero stays where it is.

    Args:
        hidden: (texts, tokens, size), as `Encoder.embed_tokens` gives them; gradients flow back through it.
        gradient: of the loss with respect to `hidden`, the same shape; taken as constant.
        epsilon: length of the step, over all tokens of a text together.

    Returns:
        (texts, tokens, size) of the dtype of `hidden`.
    """
    direction = gradient.detach().float()
    length = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
    step = epsilon * direction / length.clamp(min=torch.finfo(torch.float32).tiny)
    moved: torch.Tensor = hidden + step.to(hidden.dtype)
    return moved
