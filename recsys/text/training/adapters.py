"""Adapters: low-rank matrices that learn instead of the encoder's frozen weights, and are merged in afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from recsys.errors import CheckpointError
from recsys.text.device import products_in
from recsys.text.encoder import Encoder

_NAME = "default"
# Names of the linear maps in the layers of BERT-family models.
_ATTENTION = ("query", "value")
_DENSE = "dense"
# Weight of AdaLoRA's penalty on singular vectors that are not orthogonal.
_ORTHOGONALITY = 0.5
_IMPORTANCE = ("exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


class Adapters:
    """The adapters that `attach_adapters` added to an encoder: called while training, and merged at the end."""

    def __init__(self, tuner: Any, encoder: Encoder, unfrozen: list[nn.Parameter]) -> None:
        self._tuner, self._encoder, self._unfrozen = tuner, encoder, unfrozen

    @property
    def _allocator(self) -> Any:
        return getattr(self._tuner, "rankallocator", None)

    def penalty(self) -> torch.Tensor:
        """Return a term of the loss: how far AdaLoRA's singular vectors are from orthogonal; 0 for LoRA."""
        gaps = []
        with products_in("float32", self._encoder.device):
            for name, matrix in self._encoder.model.named_parameters() if self._allocator else ():
                if ".lora_A." in name or ".lora_B." in name:
                    product = matrix @ matrix.T if ".lora_A." in name else matrix.T @ matrix
                    gaps.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=matrix.device)))
        return _ORTHOGONALITY * torch.stack(gaps).mean() if gaps else torch.zeros((), device=self._encoder.device)

    def after_step(self, step: int) -> None:
        """Let AdaLoRA reallocate ranks by importance; LoRA does nothing.

        Args:
            step: number of the update that was just made, from 0; its gradients must still exist.
        """
        if self._allocator:
            self._tuner.update_and_allocate(step)

    def merge(self) -> None:
        """Merge the adapters into the plain weights, in place, and unfreeze what was not frozen before.

        The encoder has its original layers again, with the vectors (up to rounding) that it had with adapters.
        """
        self._tuner.merge_and_unload()
        for parameter in self._unfrozen:
            parameter.requires_grad_()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state of AdaLoRA that is not in the model's weights: the importance of each rank."""
        if not self._allocator:
            return {}
        state = {
            f"{kind}/{name}": value for kind in _IMPORTANCE for name, value in getattr(self._allocator, kind).items()
        }
        pattern = self._tuner.peft_config[_NAME].rank_pattern or {}
        return state | {f"{_PATTERN}/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        parts: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in (*_IMPORTANCE, _PATTERN)}
        for key, value in state.items():
            kind, name = key.split("/", 1)
            parts[kind][name] = value.to(self._encoder.device)
        if self._allocator:
            for kind in _IMPORTANCE:
                setattr(self._allocator, kind, parts[kind])
            pattern = {name: kept.tolist() for name, kept in parts[_PATTERN].items()}
            self._tuner.peft_config[_NAME].rank_pattern = pattern or None


def attach_adapters(
    encoder: Encoder,
    method: Literal["lora", "adalora"],
    *,
    rank: int,
    alpha: float,
    layers: int | None = None,
    dense: bool = False,
    total_steps: int,
) -> Adapters:
    """Add adapters to the attention's query and value maps, in place, and freeze the rest of the model.

    LoRA learns a product of two low-rank matrices (Hu et al. 2022, ICLR, arXiv 2106.09685), which starts at zero, so
    the vectors do not change before the first step. AdaLoRA learns the product as singular values and vectors, starts
    with 1.5 times the rank, and prunes the least important ones (Zhang et al. 2023, ICLR, arXiv 2303.10512).
    `encoder.layers` and `encoder.embed_tokens` work as before. Initial values come from torch's generator.

    Args:
        encoder: changed in place; its head is not changed.
        method: which of the two.
        rank: of each product; for AdaLoRA the mean rank at the end.
        alpha: the product is scaled by `alpha / rank`.
        layers: number of top layers to adapt; None: all.
        dense: also adapt the layers' other linear maps.
        total_steps: optimiser steps of the training, at least 1.

    Raises:
        CheckpointError: the model has no such linear maps.
    """
    # Imported here because the import takes seconds.
    from peft import AdaLoraConfig, AdaLoraModel, LoraConfig, LoraModel

    chosen = list(encoder.layers)
    chosen = chosen if layers is None else chosen[max(0, len(chosen) - layers) :]
    names = _find_linear(encoder.model, nn.ModuleList(chosen), (*_ATTENTION, _DENSE) if dense else _ATTENTION)
    unfrozen = [parameter for parameter in encoder.model.parameters() if parameter.requires_grad]
    settings: dict[str, Any] = {"target_modules": names}
    make_tuner: Any
    if method == "lora":
        settings |= {"r": rank, "lora_alpha": alpha}
        config, make_tuner = LoraConfig(**settings), LoraModel
    else:
        # AdaLoRA divides by the rank it starts with.
        start = rank + (rank + 1) // 2
        settings |= {"init_r": start, "target_r": rank, "lora_alpha": alpha * start / rank}
        config, make_tuner = AdaLoraConfig(**settings, **_plan_ranks(total_steps)), AdaLoraModel
    tuner = make_tuner(encoder.model, config, _NAME)
    return Adapters(tuner, encoder, unfrozen)


def _plan_ranks(total_steps: int) -> dict[str, Any]:
    """Keep all ranks for a tenth of the steps, then prune, and keep the final ranks for the last fifth."""
    final = min(total_steps - 1, max(1, total_steps // 5))
    return {"total_step": total_steps, "tinit": total_steps // 10, "tfinal": final}


def _find_linear(model: nn.Module, layers: nn.ModuleList, suffixes: tuple[str, ...]) -> list[str]:
    inside = {id(module) for module in layers.modules()}
    names = [
        name
        for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear) and name.rpartition(".")[2] in suffixes
    ]
    if not names:
        raise CheckpointError(
            f"adapters: the {type(model).__name__} has no linear layers named {' or '.join(suffixes)} in its layers; "
            "choose a BERT-family text.checkpoint, or train layers instead of adapters"
        )
    return names
