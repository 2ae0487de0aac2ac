"""From token states to one vector per text: pooling and projection, in the layout of sentence-transformers."""

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
from recsys.text.device import products_in

# Only `Head.save` writes this file: the checkpoint's weights were trained for the pooling and projection it names.
_SETTINGS = "recsys_head.json"
_KINDS = ("mean", "cls", "attention")
_POOLING, _PROJECTION = "1_Pooling", "2_Dense"
_PEER = "sentence_transformers.models"

_logger = logging.getLogger(__name__)


class AttentionPooling(nn.Module):
    """The weighted mean of a text's token states; the weights depend on a learned direction.

    The weights are a softmax over the dot products with the direction (Yang et al. 2016, NAACL, "hierarchical attention
    networks", without its hidden layer). The direction starts at zero, which gives the plain mean.

    sentence-transformers instantiates it by its name in `modules.json`, through `load`. That requires this package and
    `SentenceTransformer(folder, trust_remote_code=True)`; the other kinds of pooling require neither.

    Args:
        size: length of a token's state.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(size))

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (batch, size) means of (batch, tokens, size) states over the tokens of the mask."""
        scores = (hidden @ self.direction).masked_fill(~mask, torch.finfo(hidden.dtype).min)
        return (hidden * scores.softmax(-1).unsqueeze(-1)).sum(1)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add `sentence_embedding` to the features that sentence-transformers passes between modules."""
        mask = features["attention_mask"].bool()
        return features | {"sentence_embedding": self.pool(features["token_embeddings"], mask)}

    def get_embedding_dimension(self) -> int:
        """Return the length of the vectors, as sentence-transformers expects."""
        return len(self.direction)

    def save(self, folder: str, *_: Any, **__: Any) -> None:
        """Write the direction into a folder."""
        _write_tensor(Path(folder), "direction", self.direction)

    @classmethod
    def load(cls, folder: str) -> Self:
        """Load what `save` wrote."""
        direction = load_file(Path(folder) / "model.safetensors")["direction"]
        pooling = cls(len(direction))
        pooling.direction.data = direction
        return pooling


class Head(nn.Module):
    """Pooling and projection of an encoder; its parameters are trained in fine-tuning.

    Attributes:
        pooling: `mean`, `cls` (the first token) or `attention`.
        attention: None unless the pooling is `attention`.
        projection: a linear map to fewer dimensions; None without one.
    """

    def __init__(self, pooling: str, size: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.attention = AttentionPooling(size) if pooling == "attention" else None
        self.projection: nn.Linear | None = None
        self._size = size

    @property
    def embedding_size(self) -> int:
        """Length of the vectors."""
        return self._projected_size or self._size

    @property
    def _projected_size(self) -> int | None:
        return self.projection.out_features if self.projection is not None else None

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (batch, embedding_size) float32, rows unit length; a text without tokens has zeros.

        Args:
            hidden: (batch, tokens, size) states of the last layer, of any precision.
            mask: (batch, tokens) bool, the tokens.
        """
        with products_in("float32", hidden.device):
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
        """Project, from now on, to the principal axes of (n, size of the token states) vectors, largest first.

        The axes are those of the uncentred vectors: among all maps to this number of dimensions they preserve dot
        products best (Eckart and Young 1936, Psychometrika). The largest entry of each axis by absolute value is
        positive, so the signs are reproducible.
        """
        exact = vectors.astype(np.float64)
        axes = np.linalg.eigh(exact.T @ exact)[1][:, ::-1][:, :size].T
        axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), axis=1))
        self._set_projection(torch.from_numpy(np.ascontiguousarray(axes, dtype=np.float32)))

    def _set_projection(self, axes: torch.Tensor) -> None:
        # On the meta device the map is not initialised, so it draws no random numbers.
        self.projection = nn.Linear(axes.shape[1], axes.shape[0], bias=False, device="meta")
        self.projection.load_state_dict({"weight": axes}, assign=True)

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write pooling, projection and normalisation into an encoder's folder.

        Returns:
            Their entries in `modules.json`, numbered from 1.
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
            {"idx": number, "name": str(number), "path": path, "type": kind}
            for number, (path, kind) in enumerate(kinds.items(), start=1)
        ]

    @classmethod
    def load(cls, where: str, size: int, config: TextConfig) -> Self:
        """Return the head that `save` wrote with an encoder's weights, or one with the configured pooling.

        A saved head takes precedence over the settings, because the weights were trained for it. For a checkpoint of
        sentence-transformers the settings take precedence. A difference between the two is logged as a warning.

        Args:
            where: the checkpoint's folder or hub name.
            size: length of a token's state.
            config: pooling and projection.

        Raises:
            CheckpointError: the head's files cannot be read or are inconsistent.
        """
        try:
            saved = _read_json(where, _SETTINGS)
            if saved is None:
                _warn_if_different("pooling", config.pooling, _read_peer_pooling(where), where, "using the setting")
                return cls(config.pooling, size)
            pooling, projection = str(saved["pooling"]), saved["projection"]
            _warn_if_different("pooling", config.pooling, pooling, where, "using the checkpoint's")
            if config.projection:
                _warn_if_different("projection", config.projection, projection, where, "using the checkpoint's")
            if pooling not in _KINDS:
                raise ValueError(f"unknown pooling {pooling}")
            head = cls(pooling, size)
            if head.attention is not None:
                head.attention.direction.data = _read_tensor(where, _POOLING, "direction", (size,))
            if projection is not None:
                head._set_projection(_read_tensor(where, _PROJECTION, "linear.weight", (projection, size)))
            return head
        except (AttributeError, KeyError, OSError, TypeError, ValueError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"checkpoint '{where}': its pooling and projection cannot be read ({reason}), expected the files of "
                f"{_POOLING} and {_PROJECTION} to match {_SETTINGS}; save the encoder again, or choose another "
                "text.checkpoint"
            ) from error


def _warn_if_different(name: str, setting: object, trained: object, where: str, outcome: str) -> None:
    if trained not in (None, setting):
        _logger.warning(
            "text.%s is %s, but checkpoint '%s' was trained with %s; %s", name, setting, where, trained, outcome
        )


def _locate(where: str, name: str) -> Path | None:
    """Return the path of a checkpoint's file, in its folder or downloaded from the hub; None if it has none."""
    from transformers.utils import cached_file

    try:
        path = cached_file(where, name)
    except OSError:
        return None
    return Path(path) if path else None


def _read_json(where: str, name: str) -> Any:
    path = _locate(where, name)
    return read_json(path) if path else None


def _read_peer_pooling(where: str) -> str | None:
    """Return the pooling that sentence-transformers uses with a checkpoint; None if it is not specified."""
    content = _read_json(where, f"{_POOLING}/config.json")
    if content is None or "pooling_mode" in content:
        return content and str(content["pooling_mode"])
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, used in content.items() if key.startswith(prefix) and used]
    return "+".join(mode.removesuffix("s").removesuffix("_token") for mode in modes) or None


def _read_tensor(where: str, folder: str, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    path = _locate(where, f"{folder}/model.safetensors")
    if path is None:
        raise FileNotFoundError(f"no {folder}/model.safetensors")
    tensor: torch.Tensor = load_file(path)[name]
    if tensor.shape != shape:
        raise ValueError(f"{name} in {folder} has the shape {tuple(tensor.shape)}, not {shape}")
    return tensor


def _write_tensor(folder: Path, name: str, tensor: torch.Tensor) -> None:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.detach().cpu()}, folder / "model.safetensors")
