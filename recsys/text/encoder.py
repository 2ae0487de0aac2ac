"""The BERT encoder: turns texts into unit vectors."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from recsys.config import TextConfig
from recsys.errors import ConfigError
from recsys.progress import format_count
from recsys.storage.files import hash_file, write_json
from recsys.text.checkpoint import load_pretrained
from recsys.text.device import has_fast_bfloat16, pick_device, products_in
from recsys.text.head import Head
from recsys.text.inference import CACHE_TOKENS, FastLayers, spread
from recsys.text.item_text import clean_text

Progress = Callable[[int], None]
# (batch, tokens, size) hidden states and the (batch, tokens) bool mask of tokens -> hidden states
Layers = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Result = TypeVar("Result")
_TEXTS_AT_ONCE = 10_000


class Encoder:
    """BERT with one vector per text: pooled, optionally projected, unit length (Reimers and Gurevych 2019, 1908.10084).

    Texts are encoded in batches of similar length, padded to the longest of the batch.

    Args:
        checkpoint: folder, packaged name or pinned hub name.
        config: token limit, precision, batch size and pooling. A folder written by `save` keeps its pooling and
            projection.

    Raises:
        CheckpointError: the checkpoint cannot be found or loaded.

    Attributes:
        tokenizer: of the checkpoint.
        device: where the model runs.
        model: the transformer below the head, float32.
        head: pooling and projection, with their trainable parameters.
        max_tokens: longer texts are truncated.
    """

    def __init__(self, checkpoint: str, config: TextConfig) -> None:
        self._config = config
        self.tokenizer, self.model = load_pretrained(checkpoint)
        self.device = pick_device()
        self.model.to(self.device).eval()
        self.head = Head.load(self.model.name_or_path, self.model.config.hidden_size, config).to(self.device).eval()
        # The RoBERTa family, which includes CamemBERT, does not use positions up to the padding index.
        spare = 0 if self.model.config.model_type in ("bert", "electra") else 2
        self.max_tokens = min(config.max_tokens, self.model.config.max_position_embeddings - spare)

    @property
    def embedding_size(self) -> int:
        """Length of the vectors."""
        return self.head.embedding_size

    @property
    def layers(self) -> Any:
        """The transformer layers, lowest first."""
        return self.model.encoder.layer

    def hash_checkpoint(self) -> str:
        """Return the SHA-256 of the weights that were loaded, as the file has them now."""
        return hash_file(Path(self.model.name_or_path) / "model.safetensors")

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, at most `max_tokens`."""
        return tokenize(self.tokenizer, texts, self.max_tokens)

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            texts: any strings, also empty ones.
            progress: called with the number of texts encoded since the last call.
        """
        vectors = np.zeros((len(texts), self.embedding_size), dtype=np.float32)
        tokens = self.tokenize(texts)
        run = self.prepare(self.layers)

        def compute_vectors(batch: NDArray[np.int64]) -> torch.Tensor:
            with torch.inference_mode():
                ids, mask = self.pad([tokens[text] for text in batch])
                return self.pool(run(self.embed_tokens(ids), mask), mask).cpu()

        for batch, batch_vectors in self.run_batches(compute_vectors, [len(text) for text in tokens]):
            vectors[batch] = batch_vectors.numpy()
            if progress:
                progress(len(batch))
        return vectors

    def run_batches(
        self, work: Callable[[NDArray[np.int64]], Result], lengths: Sequence[int]
    ) -> Iterator[tuple[NDArray[np.int64], Result]]:
        """Yield batches of texts, longest first, each with the result of `work`.

        On a GPU, batches have `batch_tokens` tokens and run one after the other. On a CPU, batches fit its cache, and
        torch's threads process one batch each.

        Args:
            work: takes the indices of a batch's texts; called on other threads, without gradients.
            lengths: tokens of each text.
        """
        if self.device.type == "cpu":
            batches = list(make_batches(lengths, min(CACHE_TOKENS, self._config.batch_tokens)))
            yield from zip(batches, spread(work, batches), strict=True)
        else:
            yield from ((batch, work(batch)) for batch in make_batches(lengths, self._config.batch_tokens))

    def pad(self, tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, longest) int64 token ids and the bool mask of tokens, on the device."""
        longest = max(len(text) for text in tokens)
        ids = np.full((len(tokens), longest), self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(tokens), longest), dtype=bool)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = True
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, size) hidden states below the first layer."""
        hidden: torch.Tensor = self.model.embeddings(input_ids=ids)
        # Small ELECTRA models have token vectors that are narrower than their layers.
        project = getattr(self.model, "embeddings_project", None)
        return hidden if project is None else project(hidden)

    @staticmethod
    def run_layers(hidden: torch.Tensor, mask: torch.Tensor, layers: Any) -> torch.Tensor:
        """Return the (batch, tokens, size) hidden states after some of the layers."""
        for layer in layers:
            hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden

    def prepare(self, layers: Any) -> Layers:
        """Return some of the layers, with their current weights, as a function for fast inference."""
        if FastLayers.fits(layers):
            return FastLayers(layers, getattr(torch, self.precision))

        def run(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            with self.autocast():
                return self.run_layers(hidden, mask, layers)

        return run

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the texts' vectors, (batch, embedding_size) float32, rows unit length; gradients flow through.

        Args:
            hidden: (batch, tokens, size) states after the last layer.
            mask: (batch, tokens) bool, the tokens.
        """
        vectors: torch.Tensor = self.head(hidden, mask)
        return vectors

    def project(self, vectors: NDArray[np.float32], size: int) -> None:
        """Project all vectors, from now on, to the principal axes of a catalogue's vectors.

        An encoder that was loaded with a projection keeps it.

        Args:
            vectors: (n, embedding_size) float32, as `encode` returns them now.
            size: `embedding_size` afterwards.

        Raises:
            ConfigError: the vectors are shorter than `size`.
        """
        if self.head.projection is not None:
            return
        if size > self.embedding_size:
            raise ConfigError(
                f"text.projection: is {size}, but the encoder's vectors have "
                f"{format_count(self.embedding_size, 'dimension')}; "
                f"expected at most {self.embedding_size}, or null for no projection"
            )
        self.head.add_projection(vectors, size)
        self.head.to(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that computes matrix products in the configured precision."""
        return products_in(self.precision, self.device)

    @property
    def precision(self) -> str:
        """The precision of matrix products on this machine, `float32` or `bfloat16`."""
        if self._config.precision == "auto":
            return "bfloat16" if has_fast_bfloat16(self.device) else "float32"
        return self._config.precision

    def in_full_precision(self) -> Encoder:
        """Return the same encoder, sharing its weights, with all products in float32.

        Its vectors are those of sentence-transformers and transformers for the saved folder, up to rounding.
        """
        exact = copy.copy(self)
        exact._config = self._config.model_copy(update={"precision": "float32"})
        return exact

    def digest(self) -> str:
        """Return the SHA-256 of weights, head, tokenizer, token limit and precision.

        Equal digests give equal vectors.
        """
        digest = hashlib.sha256(self.head.pooling.encode())
        for part in (self.model, self.head):
            digest.update(save({name: value.cpu() for name, value in part.state_dict().items()}))
        # The whole tokenizer, not only its vocabulary: it may or may not lower-case. Truncation and padding are left
        # out, because they depend on the last call.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        tokenizer = json.loads(backend.to_str()) if backend else self.tokenizer.get_vocab()
        tokenizer |= {"truncation": None, "padding": None}
        digest.update(json.dumps(tokenizer, sort_keys=True).encode())
        digest.update(f"{self.model.config.num_attention_heads} {self.max_tokens} {self.precision}".encode())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the layout that transformers, sentence-transformers and the hub load; weights as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        # The tokenizer's file records the last truncation and padding: a call makes them the same each time.
        self.tokenize([""])
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
        modules += self.head.save(folder)
        settings = {"max_seq_length": self.max_tokens, "do_lower_case": False}
        for name, content in (("modules.json", modules), ("sentence_bert_config.json", settings)):
            write_json(folder / name, content, sort_keys=False)


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Return the token ids of each text, special tokens included, at most `max_tokens`; accepts any string."""
    tokens: list[list[int]] = []
    # Besides the ids, the tokenizer makes offsets, words and masks of all texts that it is given at once.
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        clean = [clean_text(text, max_tokens) for text in texts[start : start + _TEXTS_AT_ONCE]]
        encoded = tokenizer(clean, truncation=True, max_length=max_tokens, return_attention_mask=False)
        tokens += encoded["input_ids"]
    return tokens


def make_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yield the text indices of batches, longest texts first, with at most `batch_tokens` padded tokens each.

    Texts of equal length keep their order, so the same texts always share a batch.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
