"""Training checkpoints: a killed training resumes and ends with bit-identical weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from recsys.errors import ArtifactError
from recsys.storage.files import replace_file
from recsys.storage.folders import sweep
from recsys.text.device import read_random_states, restore_random_states

_FILE = "training.safetensors"
_RANDOM = "random/"
_Tensors = dict[str, torch.Tensor]

_logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """An object whose state is named tensors: a module, adapters, the best weights so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Restore them."""


class Schedule(Protocol):
    """A learning-rate scheduler of torch whose state is plain JSON."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Restore it."""


@dataclass(frozen=True)
class TrainingState:
    """What a training resumes with, besides its weights.

    Attributes:
        step: steps that were taken.
        losses: of each step.
        extra: the JSON value that was saved with them.
    """

    step: int
    losses: list[float]
    extra: Any


class TrainingCheckpoint:
    """The single checkpoint of one training.

    It is one file without pickle (safetensors, with JSON in its header) that is replaced atomically: a kill at any
    instant leaves the old one or the new one. No training depends on it: an error costs the checkpoint and logs a
    warning, but never stops the run.

    Args:
        folder: created when needed; no other training may write to it at the same time.
        key: hash of everything the result depends on (settings, data, initial weights); checkpoints with another key
            are ignored.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path, self._key = folder / _FILE, key
        self._warned = False

    def save(
        self,
        step: int,
        parts: Mapping[str, Stateful],
        optimizer: torch.optim.Optimizer,
        scheduler: Schedule,
        losses: Sequence[float],
        extra: Any = None,
    ) -> None:
        """Replace the checkpoint with the state after `step` steps; a full disk only logs a warning, once.

        Args:
            step: steps taken.
            parts: everything that changes while training, by names without a slash. Frozen parameters of a module are
                not written: they are part of the initial weights.
            optimizer: whose moments and learning rates are saved.
            scheduler: of the learning rates.
            losses: of the steps taken.
            extra: a JSON value that `load` returns unchanged, such as the recalls so far.
        """
        tensors = {f"parts/{name}/{key}": value for name, part in parts.items() for key, value in _read(part).items()}
        state = optimizer.state_dict()
        for number, moments in state["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
        tensors |= {f"{_RANDOM}{name}": value for name, value in read_random_states().items()}
        facts = {
            "key": self._key,
            "step": step,
            "groups": state["param_groups"],
            "scheduler": scheduler.state_dict(),
            "losses": list(losses),
            "extra": extra,
        }
        metadata = {name: json.dumps(value) for name, value in facts.items()}
        try:
            # What a killed run left behind.
            sweep(self._path.parent, f"{_FILE}.")
            with replace_file(self._path, "free some space") as staging:
                save_file({name: value.detach().contiguous() for name, value in tensors.items()}, staging, metadata)
        except (OSError, ArtifactError, SafetensorError) as error:
            if not self._warned:
                _logger.warning("training checkpoint: %s; training continues without it", error)
            self._warned = True

    def load(
        self, parts: Mapping[str, Stateful], optimizer: torch.optim.Optimizer, scheduler: Schedule
    ) -> TrainingState | None:
        """Restore everything, including torch's random state, to when `save` was called with the same arguments.

        Returns:
            The state to resume from. None, with nothing changed, if there is no checkpoint, if it belongs to another
            run (logged as INFO), or if it is damaged (logged as a warning).
        """
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                facts = {name: json.loads(value) for name, value in file.metadata().items()}
                if facts["key"] != self._key:
                    _logger.info("training checkpoint %s: belongs to another run; starting from scratch", self._path)
                    return None
                names = file.keys()
                tensors: _Tensors = {name: file.get_tensor(name) for name in names}
            resumed = TrainingState(facts["step"], facts["losses"], facts["extra"])
            states, moments = _part_tensors(tensors, parts), _optimizer_state(tensors, facts["groups"])
            _check_fit(parts, states, optimizer, moments)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            _logger.warning("training checkpoint %s: cannot be read (%s); starting from scratch", self._path, error)
            return None
        for name, part in parts.items():
            _restore(part, states[name])
        optimizer.load_state_dict(moments)
        scheduler.load_state_dict(facts["scheduler"])
        restore_random_states(
            {name.removeprefix(_RANDOM): value for name, value in tensors.items() if name.startswith(_RANDOM)}
        )
        _logger.info("training checkpoint %s: resuming after step %s", self._path, f"{resumed.step:,}")
        return resumed

    def clear(self) -> None:
        """Remove the checkpoint: its training is done."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            sweep(self._path.parent, f"{_FILE}.")


def _read(part: Stateful) -> _Tensors:
    """Return the tensors of a part that may have changed."""
    named = part.named_parameters() if isinstance(part, nn.Module) else ()
    frozen = {name for name, parameter in named if not parameter.requires_grad}
    return {name: value for name, value in part.state_dict().items() if name not in frozen}


def _restore(part: Stateful, state: _Tensors) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict(state, strict=False)
    else:
        part.load_state_dict(state)


def _part_tensors(tensors: _Tensors, parts: Mapping[str, Stateful]) -> dict[str, _Tensors]:
    states: dict[str, _Tensors] = {name: {} for name in parts}
    for path, value in tensors.items():
        kind, _, rest = path.partition("/")
        if kind == "parts":
            name, _, key = rest.partition("/")
            # Copied, because the tensor may be a view of the mapped file.
            states[name][key] = value.clone()
    return states


def _optimizer_state(tensors: _Tensors, groups: list[dict[str, Any]]) -> dict[str, Any]:
    moments: dict[int, _Tensors] = {}
    for path, value in tensors.items():
        kind, _, rest = path.partition("/")
        if kind == "optimizer":
            number, _, name = rest.partition("/")
            moments.setdefault(int(number), {})[name] = value.clone()
    return {"state": moments, "param_groups": groups}


def _check_fit(
    parts: Mapping[str, Stateful],
    states: Mapping[str, _Tensors],
    optimizer: torch.optim.Optimizer,
    moments: Mapping[str, Any],
) -> None:
    """Raise ValueError if a file with the right key does not fit, before anything is changed."""
    for name, part in parts.items():
        if isinstance(part, nn.Module) and _shapes(states[name]) != _shapes(_read(part)):
            raise ValueError(f"the weights of '{name}' have different names or shapes")
    numbers = [group["params"] for group in moments["param_groups"]]
    if numbers != [group["params"] for group in optimizer.state_dict()["param_groups"]]:
        raise ValueError("the optimiser has different parameters")


def _shapes(tensors: _Tensors) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}
