"""Adapters: small matrices beside the encoder's frozen weights that learn in their place, folded in afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from recsys.errors import CheckpointError
from recsys.text.encoder import Encoder

_NAME = "default"
# What the BERT family calls the linear maps of its layers.
_ATTENTION = ("query", "value")
_DENSE = "dense"
# Strength of AdaLoRA's wish that its singular vectors stay perpendicular.
_PERPENDICULAR = 0.5
_IMPORTANCE = ("exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


class Adapters:
    """What `attach_adapters` put into an encoder, to be looked after while training and folded in at the end."""

    def __init__(self, tuner: Any, encoder: Encoder, unfrozen: list[nn.Parameter]) -> None:
        self._tuner, self._encoder, self._unfrozen = tuner, encoder, unfrozen

    @property
    def _allocator(self) -> Any:
        return getattr(self._tuner, "rankallocator", None)

    def penalty(self) -> torch.Tensor:
        """Return what to add to the loss: how far AdaLoRA's singular vectors are from perpendicular; 0 for LoRA."""
        gaps = []
        with torch.autocast(self._encoder.device.type, enabled=False):
            for name, one in self._encoder.model.named_parameters() if self._allocator else ():
                if ".lora_A." in name or ".lora_B." in name:
                    product = one @ one.T if ".lora_A." in name else one.T @ one
                    gaps.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=one.device)))
        return _PERPENDICULAR * torch.stack(gaps).mean() if gaps else torch.zeros((), device=self._encoder.device)

    def after_step(self, step: int) -> None:
        """Let AdaLoRA move rank to where it counts; LoRA needs nothing.

        Args:
            step: number of the step that was just taken, from 0; its gradients must still be there.
        """
        if self._allocator:
            self._tuner.update_and_allocate(step)

    def merge(self) -> None:
        """Fold what was learned into the plain weights, in place, and unfreeze what was not frozen before.

        The encoder has the layers and the vectors (up to rounding) it had with adapters, and saves and loads as ever.
        """
        self._tuner.merge_and_unload()
        for parameter in self._unfrozen:
            parameter.requires_grad_()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what AdaLoRA knows besides its weights, which are the model's: how much each rank counts."""
        if not self._allocator:
            return {}
        state = {
            f"{kind}/{name}": value for kind in _IMPORTANCE for name, value in getattr(self._allocator, kind).items()
        }
        pattern = self._tuner.peft_config[_NAME].rank_pattern or {}
        return state | {f"{_PATTERN}/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned."""
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
    """Put adapters beside the attention's query and value maps, in place, and freeze the rest of the model.

    LoRA learns a product of two thin matrices (Hu et al. 2022, ICLR, arXiv 2106.09685), which starts at zero: the
    vectors are the same until the first step. AdaLoRA learns it as singular values and vectors, starts with half as
    many again, and takes from those that count least (Zhang et al. 2023, ICLR, arXiv 2303.10512). `encoder.layers` and
    `encoder.embed_tokens` work as before. Initial values come from torch's generator.

    Args:
        encoder: changed in place; what it has besides its model (such as a head) is left alone.
        method: which of the two.
        rank: of each product; AdaLoRA's mean rank at the end.
        alpha: what is learned counts `alpha / rank` times.
        layers: the last so many; None: all.
        dense: also adapt the layers' other linear maps.
        total_steps: optimiser steps of the training, at least 1.

    Raises:
        CheckpointError: the model has no such linear maps.
    """
    # It takes seconds to import; only trainings with adapters pay for it.
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
    """A tenth of the steps with all ranks; then fewer and fewer; the last fifth with those that are left."""
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
            f"adapters: the {type(model).__name__} has no linear maps called {' or '.join(suffixes)} in its layers; "
            "choose a BERT-family text.checkpoint, or train layers instead of adapters"
        )
    return names
