"""The BERT encoder: texts in, unit vectors out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from recsys.config import TextConfig
from recsys.text.checkpoint import load_pretrained

Progress = Callable[[int], None]


class Encoder:
    """Mean-pooled, length-normalised BERT (Reimers and Gurevych 2019, arXiv 1908.10084).

    Texts go through in batches of similar length, padded only to their own longest.

    Args:
        checkpoint: folder, packaged name or hub name.
        config: token limit, precision and batch size.
    """

    def __init__(self, checkpoint: str, config: TextConfig) -> None:
        self._config = config
        self.tokenizer, self.model = load_pretrained(checkpoint)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device).eval()
        self.embedding_size: int = self.model.config.hidden_size
        # Positions up to the padding index are not used by the RoBERTa family (CamemBERT is one of it).
        spare = 0 if self.model.config.model_type in ("bert", "electra") else 2
        self.max_tokens = min(config.max_tokens, self.model.config.max_position_embeddings - spare)

    @property
    def layers(self) -> Any:
        """The transformer layers, lowest first."""
        return self.model.encoder.layer

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return token numbers of each text, special tokens included, at most `max_tokens`."""
        if not texts:
            return []
        # What no tokenizer expects must not reach it: NULs, half characters, a text of megabytes. Forty characters
        # for each token is more than any writing needs.
        limit = self.max_tokens * 40
        clean = [text[:limit].replace("\0", " ").encode(errors="replace").decode() for text in texts]
        tokens: list[list[int]] = self.tokenizer(
            clean, truncation=True, max_length=self.max_tokens, return_attention_mask=False
        )["input_ids"]
        return tokens

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            texts: any strings; an empty one has the vector of the empty text.
            progress: called with the number of texts done since the last call.
        """
        vectors = np.zeros((len(texts), self.embedding_size), dtype=np.float32)
        tokens = self.tokenize(texts)
        with torch.inference_mode(), self.autocast():
            for batch in make_batches([len(one) for one in tokens], self._config.batch_tokens):
                ids, mask = self.pad([tokens[place] for place in batch])
                hidden = self.run_layers(self.embed_tokens(ids), mask, self.layers)
                vectors[batch] = pool(hidden, mask).float().cpu().numpy()
                if progress:
                    progress(len(batch))
        return vectors

    def pad(self, tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, longest) int64 token numbers and the bool mask of real tokens, on the device."""
        longest = max(len(one) for one in tokens)
        ids = np.full((len(tokens), longest), self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(tokens), longest), dtype=bool)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = True
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, size) hidden states below the first layer."""
        hidden: torch.Tensor = self.model.embeddings(input_ids=ids)
        # Small ELECTRA models have token vectors narrower than their layers.
        project = getattr(self.model, "embeddings_project", None)
        return hidden if project is None else project(hidden)

    @staticmethod
    def run_layers(hidden: torch.Tensor, mask: torch.Tensor, layers: Any) -> torch.Tensor:
        """Run (batch, tokens, size) hidden states through some of the layers."""
        for layer in layers:
            hidden = layer(hidden, attention_mask=mask[:, None, None, :])
        return hidden

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that runs matrix products in the configured precision."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    @property
    def precision(self) -> str:
        """The precision of matrix products on this machine, `float32` or `bfloat16`."""
        if self._config.precision == "auto":
            return "bfloat16" if has_fast_bfloat16(self.device) else "float32"
        return self._config.precision

    def digest(self) -> str:
        """Return the SHA-256 of weights, tokenizer, token limit and precision: equal digests give equal vectors."""
        found = hashlib.sha256(save({name: value.cpu() for name, value in self.model.state_dict().items()}))
        # Not only the words count: a tokenizer may or may not lower them. How it last cut and padded does not.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        tokenizer = json.loads(backend.to_str()) if backend else self.tokenizer.get_vocab()
        tokenizer |= {"truncation": None, "padding": None}
        found.update(json.dumps(tokenizer, sort_keys=True).encode())
        found.update(f"{self.model.config.num_attention_heads} {self.max_tokens} {self.precision}".encode())
        return found.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the layout that transformers, sentence-transformers and the hub read; weights as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        # The tokenizer's file holds how it last cut and padded: make that our way, whatever was encoded before.
        self.tokenize([""])
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]
        pooling = {"word_embedding_dimension": self.embedding_size, "pooling_mode_mean_tokens": True}
        settings = {"max_seq_length": self.max_tokens, "do_lower_case": False}
        for name, content in (
            ("modules.json", modules),
            ("1_Pooling/config.json", pooling),
            ("sentence_bert_config.json", settings),
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / "2_Normalize").mkdir(exist_ok=True)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def make_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yield places of texts, longest first, so that each batch holds at most `batch_tokens` padded tokens.

    Equal lengths keep their order, so the same texts always meet in the same batch.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of the real tokens' hidden states, unit length, (batch, size) float32."""
    weights = mask.unsqueeze(-1).float()
    mean = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1.0)
    return torch.nn.functional.normalize(mean, dim=-1)
