"""The encoder as one ONNX file, for machines without torch: texts' tokens in, unit vectors out."""

from __future__ import annotations

import importlib
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recsys.config import TextConfig
from recsys.errors import CheckpointError, ConfigError, RecsysError
from recsys.evaluation.embedding_neighbors import find_nearest
from recsys.storage.files import read_json, write_json
from recsys.text.encoder import Encoder, Progress, make_batches, tokenize

MODEL = "model.onnx"
SETTINGS = "encoder.json"
_OPSET = 17
# A protocol buffer cannot be larger.
_LARGEST_BYTES = 2**31 - 1
_NEIGHBOURS = 10


def export_onnx(encoder: Encoder, folder: Path, *, int8: bool) -> Path:
    """Write what it takes to encode texts elsewhere: the model, the tokenizer and a few settings.

    `model.onnx` takes `input_ids` and `attention_mask`, (batch, tokens) int64 of any size, and gives `vectors`,
    (batch, embedding_size) float32, rows unit length: layers, pooling, projection and normalisation are all inside.
    `encoder.json` holds `max_tokens`, to which texts must be cut, `embedding_size`, `int8` and `encoder`, the digest
    of what was exported.

    Args:
        encoder: not changed; exported in float32 whatever its precision.
        folder: made if it is not there.
        int8: quantise weights, each channel by itself, and activations as they come (Jacob et al. 2018, CVPR): a
            quarter of the size, and one in eight of an item's nearest ten is another. With one scale for a whole
            matrix it would be one in four.

    Returns:
        The path of `model.onnx`.

    Raises:
        RecsysError: `onnx` or `onnxruntime` is not installed.
        ConfigError: the weights are too large for one ONNX file.
    """
    _need("onnx")
    _need("onnxruntime")
    size = sum(value.numel() * 4 for part in (encoder.model, encoder.head) for value in part.parameters())
    if size > _LARGEST_BYTES:
        raise ConfigError(
            f"ONNX export: the encoder's weights take {size / 1e9:.1f} GB, one file holds 2.1 GB at most; "
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
    # The tokenizer's file holds how it last cut and padded: make that our way, whatever was encoded before.
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
    """Encodes as `Encoder` does, from an exported folder, on the processor.

    Args:
        folder: what `export_onnx` wrote.
        batch_tokens: tokens in one batch, padding included.

    Raises:
        RecsysError: `onnxruntime` is not installed.
        CheckpointError: the folder lacks a file, or one cannot be read.
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
        # The libraries below raise errors of many kinds; whichever it is, this folder cannot be used.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"exported encoder {folder}: cannot be read ({reason}); {next_step}") from error
        self._batch_tokens = batch_tokens

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            texts: any strings; an empty one has the vector of the empty text.
            progress: called with the number of texts done since the last call.
        """
        vectors = np.zeros((len(texts), self.embedding_size), dtype=np.float32)
        tokens = tokenize(self._tokenizer, texts, self.max_tokens)
        for batch in make_batches([len(one) for one in tokens], self._batch_tokens):
            ids, mask = self._pad([tokens[place] for place in batch])
            vectors[batch] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            if progress:
                progress(len(batch))
        return vectors

    def _pad(self, tokens: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lengths = np.array([len(one) for one in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(tokens)
        return ids, mask.astype(np.int64)


@dataclass(frozen=True)
class Agreement:
    """How near vectors are to those they stand for.

    Attributes:
        lowest_cosine: of the text that fares worst.
        mean_cosine: over all texts.
        neighbours_kept: share of each text's nearest ten among the others that are still its nearest ten; 1 where
            there are no others.
    """

    lowest_cosine: float
    mean_cosine: float
    neighbours_kept: float


def measure_agreement(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    """Compare two encodings of the same texts, (n_texts, embedding_size) float32 each, rows unit length, n at least 1.

    With ten other texts or fewer each text's neighbours are all of them, and only more texts tell anything.
    """
    cosines = np.vecdot(vectors, reference).clip(-1.0, 1.0)
    k = min(_NEIGHBOURS, len(vectors) - 1)
    kept = 1.0
    if k:
        everyone = np.arange(len(vectors))
        found, expected = (find_nearest(one, everyone, k) for one in (vectors, reference))
        kept = float((found[:, :, None] == expected[:, None, :]).any(axis=2).mean())
    return Agreement(float(cosines.min()), float(cosines.mean()), kept)


def compare_exports(encoder: Encoder, config: TextConfig, texts: Sequence[str]) -> pl.DataFrame:
    """Encode texts in every form an encoder can have: what each costs, and how far it is from float32 on torch.

    Args:
        encoder: not changed.
        config: the encoder's own settings; each form has its precision in turn.
        texts: at least one; a thousand of the catalogue's tell enough. All are on as many threads as torch has.

    Returns:
        A row per form: `form` (String), `texts_per_second`, `lowest_cosine`, `mean_cosine`, `neighbours_kept` as in
        `Agreement` (Float64) and `megabytes` of the file of weights (Float64).

    Raises:
        RecsysError: `onnx` or `onnxruntime` is not installed.
    """
    rows: list[dict[str, object]] = []
    reference: NDArray[np.float32] | None = None
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        for form, file, encode in _make_forms(encoder, config, Path(scratch)):
            # What is only done once, such as choosing kernels, is not what a text costs.
            encode(texts[:1])
            start = time.perf_counter()
            vectors = encode(texts)
            seconds = time.perf_counter() - start
            reference = vectors if reference is None else reference
            size = file.stat().st_size / 1e6
            agreement = vars(measure_agreement(vectors, reference))
            rows.append({"form": form, "texts_per_second": len(texts) / seconds, **agreement, "megabytes": size})
    return pl.DataFrame(rows)


_Form = tuple[str, Path, Callable[[Sequence[str]], NDArray[np.float32]]]


def _make_forms(encoder: Encoder, config: TextConfig, scratch: Path) -> list[_Form]:
    """Return the name, the file and the encoding of each form, float32 on torch first."""
    encoder.save(scratch / "torch")
    forms: list[_Form] = []
    for precision in ("float32", "bfloat16"):
        loaded = Encoder(str(scratch / "torch"), config.model_copy(update={"precision": precision}))
        forms.append((f"torch {precision}", scratch / "torch" / "model.safetensors", loaded.encode))
    for name, int8 in (("float32", False), ("int8", True)):
        path = export_onnx(encoder, scratch / name, int8=int8)
        forms.append((f"onnx {name}", path, OnnxEncoder(path.parent, config.batch_tokens).encode))
    return forms


class _Graph(torch.nn.Module):
    """What an encoder does between tokens and vectors, as one module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model, self.head, self._encoder = encoder.model, encoder.head, encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        real = mask.bool()
        hidden = self._encoder.run_layers(self._encoder.embed_tokens(ids), real, self._encoder.layers)
        return self._encoder.pool(hidden, real)


def _trace(encoder: Encoder, path: Path) -> None:
    """Write the encoder as it is, in float32."""
    # Two texts of different lengths, so that neither number is taken for a constant.
    ids, mask = encoder.pad(encoder.tokenize(["", "one more"]))
    sizes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The newer exporter needs one package more and gives the same vectors; of the branches that tracing warns
        # of, each has one side only for an encoder.
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
    """Import a package that only exporting needs."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RecsysError(
            f"ONNX export: the package {error.name} is not installed; install recsys[export], then run again"
        ) from error
