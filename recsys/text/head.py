"""From token states to one vector: pooling and projection, in the layout that sentence-transformers reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from recsys.config import TextConfig
from recsys.errors import CheckpointError
from recsys.storage.files import read_json, write_json

# Written by us alone: where it lies, the checkpoint's weights were trained for the pooling and projection it names.
_SETTINGS = "recsys_head.json"
_KINDS = ("mean", "cls", "attention")
_POOLING, _PROJECTION = "1_Pooling", "2_Dense"
_PEER = "sentence_transformers.models"

_logger = logging.getLogger(__name__)


class AttentionPooling(nn.Module):
    """The mean of a text's token states, each weighing the more the nearer it points to a learned direction.

    The weights are a softmax over the dot products (Yang et al. 2016, NAACL, "hierarchical attention networks",
    without its hidden layer); the direction is zero at first, and the mean plain.

    sentence-transformers builds one from its name in `modules.json`, through `load`. That needs this package and
    `SentenceTransformer(folder, trust_remote_code=True)`; the other poolings need neither.

    Args:
        size: length of a token's state.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(size))

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (batch, size) means of (batch, tokens, size) states, of the real tokens alone."""
        scores = (hidden @ self.direction).masked_fill(~mask, torch.finfo(hidden.dtype).min)
        return (hidden * scores.softmax(-1).unsqueeze(-1)).sum(1)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add `sentence_embedding` to what sentence-transformers hands from module to module."""
        mask = features["attention_mask"].bool()
        return features | {"sentence_embedding": self.pool(features["token_embeddings"], mask)}

    def get_embedding_dimension(self) -> int:
        """Return the length of the vectors, which sentence-transformers asks for."""
        return len(self.direction)

    def save(self, folder: str, *_: Any, **__: Any) -> None:
        """Write the direction where `load` finds it."""
        _write_tensor(Path(folder), "direction", self.direction)

    @classmethod
    def load(cls, folder: str) -> Self:
        """Read what `save` wrote."""
        direction = load_file(Path(folder) / "model.safetensors")["direction"]
        pooling = cls(len(direction))
        pooling.direction.data = direction
        return pooling


class Head(nn.Module):
    """Pooling and projection of one encoder; its parameters learn in fine-tuning.

    Attributes:
        pooling: `mean`, `cls` (the first token) or `attention`.
        attention: the learned direction; None unless the pooling is `attention`.
        projection: a linear map to fewer dimensions; None where the pooled vectors stay as they are.
    """

    def __init__(self, pooling: str, size: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.attention = AttentionPooling(size) if pooling == "attention" else None
        self.projection: nn.Linear | None = None
        self._size = size

    @property
    def embedding_size(self) -> int:
        """Length of the vectors that come out."""
        return self._projected_size or self._size

    @property
    def _projected_size(self) -> int | None:
        return self.projection.out_features if self.projection is not None else None

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (batch, embedding_size) float32, rows unit length; a text without tokens has zeros.

        Args:
            hidden: (batch, tokens, size) states of the last layer, of any precision.
            mask: (batch, tokens) bool, the real tokens.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            vectors = self._pool(hidden.float(), mask) * mask.any(1, keepdim=True)
            if self.projection is not None:
                vectors = self.projection(vectors)
            return nn.functional.normalize(vectors, dim=-1)

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.attention is not None:
            return self.attention.pool(hidden, mask)
        if self.pooling == "cls":
            return hidden[:, 0]
        return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)

    def add_projection(self, vectors: NDArray[np.float32], size: int) -> None:
        """Project from now on to the principal axes of (n, size of the token states) vectors, largest first.

        The axes are those of the vectors themselves, not of their differences from the mean: of all maps to as few
        dimensions they keep the dot products best (Eckart and Young 1936, Psychometrika). Of each axis the entry
        furthest from zero is positive, so the signs are the same each time.
        """
        exact = vectors.astype(np.float64)
        axes = np.linalg.eigh(exact.T @ exact)[1][:, ::-1][:, :size].T
        axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), axis=1))
        self._set_projection(torch.from_numpy(np.ascontiguousarray(axes, dtype=np.float32)))

    def _set_projection(self, axes: torch.Tensor) -> None:
        # Without the random numbers that a linear map starts with: nobody else's draws must change.
        self.projection = nn.Linear(axes.shape[1], axes.shape[0], bias=False, device="meta")
        self.projection.load_state_dict({"weight": axes}, assign=True)

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write pooling, projection and normalisation into an encoder's folder.

        Returns:
            Their entries of `modules.json`, from number 1 on.
        """
        write_json(folder / _SETTINGS, {"pooling": self.pooling, "projection": self._projected_size}, sort_keys=False)
        kinds = {_POOLING: f"{_PEER}.Pooling"}
        if self.attention is not None:
            kinds[_POOLING] = f"{AttentionPooling.__module__}.{AttentionPooling.__name__}"
            self.attention.save(str(folder / _POOLING))
        else:
            modes = {f"pooling_mode_{mode}": mode.startswith(self.pooling) for mode in ("cls_token", "mean_tokens")}
            (folder / _POOLING).mkdir(exist_ok=True)
            pooling = {"word_embedding_dimension": self._size, **modes}
            write_json(folder / _POOLING / "config.json", pooling, sort_keys=False)
        if self.projection is not None:
            kinds[_PROJECTION] = f"{_PEER}.Dense"
            shape = {"in_features": self._size, "out_features": self._projected_size, "bias": False}
            activation = {"activation_function": "torch.nn.modules.linear.Identity"}
            (folder / _PROJECTION).mkdir(exist_ok=True)
            write_json(folder / _PROJECTION / "config.json", shape | activation, sort_keys=False)
            _write_tensor(folder / _PROJECTION, "linear.weight", self.projection.weight)
        last = f"{len(kinds) + 1}_Normalize"
        (folder / last).mkdir(exist_ok=True)
        kinds[last] = f"{_PEER}.Normalize"
        return [
            {"idx": place, "name": str(place), "path": path, "type": kind}
            for place, (path, kind) in enumerate(kinds.items(), start=1)
        ]

    @classmethod
    def load(cls, where: str, size: int, config: TextConfig) -> Self:
        """Return the head that `save` wrote beside an encoder's weights, or else one with the pooling of the settings.

        What we wrote is used as it is, whatever the settings say: the weights were trained for it. To a checkpoint of
        sentence-transformers the settings apply. Where the two differ a warning says so.

        Args:
            where: the checkpoint's folder or hub name.
            size: length of a token's state.
            config: pooling and projection.

        Raises:
            CheckpointError: the head's files cannot be read or do not fit together.
        """
        try:
            own = _read_json(where, _SETTINGS)
            if own is None:
                _compare("pooling", config.pooling, _read_peer_pooling(where), where, "the setting counts")
                return cls(config.pooling, size)
            pooling, projection = str(own["pooling"]), own["projection"]
            _compare("pooling", config.pooling, pooling, where, "the checkpoint counts")
            if config.projection:
                _compare("projection", config.projection, projection, where, "the checkpoint counts")
            if pooling not in _KINDS:
                raise ValueError(f"there is no pooling {pooling}")
            head = cls(pooling, size)
            if head.attention is not None:
                head.attention.direction.data = _read_tensor(where, _POOLING, "direction", (size,))
            if projection is not None:
                head._set_projection(_read_tensor(where, _PROJECTION, "linear.weight", (projection, size)))
            return head
        except (AttributeError, KeyError, OSError, TypeError, ValueError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"checkpoint '{where}': its pooling and projection cannot be read ({reason}), expected what "
                f"{_SETTINGS} says in {_POOLING} and {_PROJECTION}; save the encoder again, or choose another "
                "text.checkpoint"
            ) from error


def _compare(name: str, wanted: object, found: object, where: str, result: str) -> None:
    if found not in (None, wanted):
        _logger.warning(
            "text.%s is %s, but checkpoint '%s' was trained with %s; %s", name, wanted, where, found, result
        )


def _find(where: str, name: str) -> Path | None:
    """Return a file of a checkpoint, from its folder or from the hub."""
    from transformers.utils import cached_file

    try:
        found = cached_file(where, name)
    except OSError:
        return None
    return Path(found) if found else None


def _read_json(where: str, name: str) -> Any:
    path = _find(where, name)
    return read_json(path) if path else None


def _read_peer_pooling(where: str) -> str | None:
    """Return how sentence-transformers pools with a checkpoint; None where it does not say."""
    content = _read_json(where, f"{_POOLING}/config.json")
    if content is None or "pooling_mode" in content:
        return content and str(content["pooling_mode"])
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, used in content.items() if key.startswith(prefix) and used]
    return "+".join(mode.removesuffix("s").removesuffix("_token") for mode in modes) or None


def _read_tensor(where: str, folder: str, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    path = _find(where, f"{folder}/model.safetensors")
    if path is None:
        raise FileNotFoundError(f"no {folder}/model.safetensors")
    tensor: torch.Tensor = load_file(path)[name]
    if tensor.shape != shape:
        raise ValueError(f"{name} in {folder} has the shape {tuple(tensor.shape)}, not {shape}")
    return tensor


def _write_tensor(folder: Path, name: str, tensor: torch.Tensor) -> None:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.detach().cpu()}, folder / "model.safetensors")
