"""Exporting the encoder as an ONNX file, for machines without torch."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import TextConfig
from recsys.errors import CheckpointError, ConfigError
from recsys.evaluation.embedding_neighbors import find_nearest
from recsys.extras import needs_extra
from recsys.storage.files import read_json, write_json
from recsys.text.encoder import Encoder, Progress, make_batches, tokenize

MODEL = "model.onnx"
SETTINGS = "encoder.json"
_OPSET = 17
# The limit of a protocol buffer.
_MAX_BYTES = 2**31 - 1
_NEIGHBOURS = 10


def export_onnx(encoder: Encoder, folder: Path, *, int8: bool) -> Path:
    """Write the model, the tokenizer and the settings that are needed to encode texts elsewhere.

    `model.onnx` takes `input_ids` and `attention_mask`, (batch, tokens) int64 of any size, and returns `vectors`,
    (batch, embedding_size) float32, rows unit length; it includes layers, pooling, projection and normalisation.
    `encoder.json` has `max_tokens`, to which texts must be truncated, `embedding_size`, `int8`, and `encoder`, the
    digest of the exported encoder.

    Args:
        encoder: not changed; exported in float32 regardless of its precision.
        folder: created if it does not exist.
        int8: quantise weights per channel and activations dynamically (Jacob et al. 2018, CVPR): a quarter of the
            size, and one in eight of an item's ten nearest neighbours changes. With one scale per matrix it would be
            one in four.

    Returns:
        The path of `model.onnx`.

    Raises:
        RecsysError: `onnx` or `onnxruntime` is not installed.
        ConfigError: the weights are too large for one ONNX file.
    """
    _need("onnx")
    _need("onnxruntime")
    size = sum(value.numel() * 4 for part in (encoder.model, encoder.head) for value in part.parameters())
    if size > _MAX_BYTES:
        raise ConfigError(
            f"ONNX export: the encoder's weights take {size / 1e9:.1f} GB, an ONNX file holds at most 2.1 GB; "
            "choose a smaller text.checkpoint or fewer text.distillation.layers"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MODEL
    if int8:
        with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
            _trace(encoder, Path(scratch) / "traced.onnx")
            _quantise(Path(scratch) / "traced.onnx", path)
    else:
        _trace(encoder, path)
    # The tokenizer's file records the last truncation and padding: a call makes them the same each time.
    encoder.tokenize([""])
    encoder.tokenizer.save_pretrained(folder)
    settings = {
        "max_tokens": encoder.max_tokens,
        "embedding_size": encoder.embedding_size,
        "int8": int8,
        "encoder": encoder.digest(),
    }
    write_json(folder / SETTINGS, settings, sort_keys=False)
    return path


class OnnxEncoder:
    """Encodes texts like `Encoder`, from an exported folder, on the CPU.

    Args:
        folder: what `export_onnx` wrote.
        batch_tokens: tokens in one batch, padding included.

    Raises:
        RecsysError: `onnxruntime` is not installed.
        CheckpointError: a file of the folder is missing or cannot be read.
    """

    def __init__(self, folder: Path, batch_tokens: int = TextConfig().batch_tokens) -> None:
        from transformers import AutoTokenizer

        runtime = _need("onnxruntime")
        next_step = "export the encoder again with 'recsys export'"
        missing = [name for name in (MODEL, SETTINGS, "tokenizer_config.json") if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"exported encoder {folder}: no {', '.join(missing)}; {next_step}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            settings = read_json(folder / SETTINGS)
            self.max_tokens: int = settings["max_tokens"]
            self.embedding_size: int = settings["embedding_size"]
            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self._session = runtime.InferenceSession(folder / MODEL, options, providers=["CPUExecutionProvider"])
        # The libraries raise errors of many types; each means that the folder cannot be used.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"exported encoder {folder}: cannot be read ({reason}); {next_step}") from error
        self._batch_tokens = batch_tokens

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            texts: any strings, also empty ones.
            progress: called with the number of texts encoded since the last call.
        """
        vectors = np.zeros((len(texts), self.embedding_size), dtype=np.float32)
        tokens = tokenize(self._tokenizer, texts, self.max_tokens)
        for batch in make_batches([len(text) for text in tokens], self._batch_tokens):
            ids, mask = self._pad([tokens[text] for text in batch])
            vectors[batch] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            if progress:
                progress(len(batch))
        return vectors

    def _pad(self, tokens: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lengths = np.array([len(text) for text in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(tokens)
        return ids, mask.astype(np.int64)


@dataclass(frozen=True)
class Agreement:
    """How close vectors are to the reference vectors of the same texts.

    Attributes:
        lowest_cosine: of the text with the largest deviation.
        mean_cosine: over all texts.
        neighbours_kept: share of each text's ten nearest neighbours that are the same in both; 1 for a single text.
    """

    lowest_cosine: float
    mean_cosine: float
    neighbours_kept: float


def measure_agreement(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """Compare two encodings of the same texts, (n_texts, embedding_size) float32 each, rows unit length, n at least 1.

    With at most eleven texts all others are neighbours, so `neighbours_kept` is 1.
    """
    cosines = np.vecdot(vectors, reference).clip(-1.0, 1.0)
    k = min(_NEIGHBOURS, len(vectors) - 1)
    kept = 1.0
    if k:
        rows = np.arange(len(vectors))
        actual, expected = find_nearest(vectors, rows, k), find_nearest(reference, rows, k)
        kept = float((actual[:, :, None] == expected[:, None, :]).any(axis=2).mean())
    return Agreement(float(cosines.min()), float(cosines.mean()), kept)


class _Graph(torch.nn.Module):
    """An encoder from tokens to vectors, as one module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model, self.head, self._encoder = encoder.model, encoder.head, encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        is_token = mask.bool()
        hidden = self._encoder.run_layers(self._encoder.embed_tokens(ids), is_token, self._encoder.layers)
        return self._encoder.pool(hidden, is_token)


def _trace(encoder: Encoder, path: Path) -> None:
    """Write the encoder in float32."""
    # Two texts of different lengths, so that neither the batch size nor the length is traced as a constant.
    ids, mask = encoder.pad(encoder.tokenize(["", "one more"]))
    sizes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The newer exporter needs another package and gives the same vectors. Tracing warns about branches that always
        # go the same way in an encoder.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            _Graph(encoder).eval(),
            (ids, mask.long()),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": sizes, "attention_mask": sizes, "vectors": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    quantization = _need("onnxruntime.quantization")
    prepared = source.with_name("prepared.onnx")
    quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_dynamic(
        str(prepared), str(target), per_channel=True, weight_type=quantization.QuantType.QInt8
    )


def _need(module: str) -> Any:
    """Import a package that only the export needs."""
    with needs_extra("export", "ONNX export"):
        return importlib.import_module(module)
