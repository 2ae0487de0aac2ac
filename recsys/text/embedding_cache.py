"""Embeddings on disk: a text that an encoder has encoded once is not encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.storage.array_cache import ArrayCache
from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import hash_texts

# Texts per file: an interrupted run loses at most the work on this many.
TEXTS_PER_FILE = 2_000
# The champion, the one before it, and two for experiments.
_ENCODERS_KEPT = 4
# A SHA-256 in 64-bit words.
_KEY_WORDS = 4


class EmbeddingCache:
    """Embeddings by the hash of their text and the digest of their encoder, kept from one run to the next.

    `ArrayCache` describes what happens to files that cannot be read or written.

    Args:
        folder: created when the first embedding is written; embeddings of encoders not used lately are deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Opened once per encoder: hashing all weights takes longer than encoding a few texts.
        self._caches: WeakKeyDictionary[Encoder, ArrayCache] = WeakKeyDictionary()

    def encode(
        self, encoder: Encoder, texts: Sequence[str] | pl.Series, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            encoder: its weights must not change while this cache is in use.
            texts: valid Unicode; equal texts are encoded once.
            progress: called with the number of texts done since the last call, those from the cache included.
        """
        if not len(texts):
            return np.zeros((0, encoder.embedding_size), dtype=np.float32)
        texts = pl.Series(texts, dtype=pl.String)
        cache = self._open(encoder)
        keys, first_texts, inverse = _number_texts(texts)
        vectors, known = cache.look_up(keys)
        missing = np.flatnonzero(~known)
        if progress and len(texts) > len(missing):
            progress(len(texts) - len(missing))
        # In the order of the texts, so equal input is always split into the same files.
        missing = missing[np.argsort(first_texts[missing])]
        for start in range(0, len(missing), TEXTS_PER_FILE):
            batch = missing[start : start + TEXTS_PER_FILE]
            vectors[batch] = encoder.encode(texts.gather(first_texts[batch]).to_list(), progress)
            if cache.write(keys[batch], vectors[batch], "texts"):
                cache.forget_models(_ENCODERS_KEPT)
        return vectors[inverse]

    def find_missing(self, encoder: Encoder, texts: Sequence[str] | pl.Series) -> pl.Series:
        """Return the texts that `encode` would have to encode, each once, in the order it encodes them.

        It encodes `TEXTS_PER_FILE` of them at a time, independently of the rest: encoding such a batch alone, on any
        machine that sees the folder, writes the same file.
        """
        texts = pl.Series(texts, dtype=pl.String)
        if not len(texts):
            return texts
        keys, first_texts, _ = _number_texts(texts)
        _, known = self._open(encoder).look_up(keys)
        return texts.gather(np.sort(first_texts[~known]))

    def _open(self, encoder: Encoder) -> ArrayCache:
        """Return the encoder's cache, with the files that are there now."""
        if encoder not in self._caches:
            self._caches[encoder] = ArrayCache(self._folder, encoder.digest(), _KEY_WORDS, encoder.embedding_size)
        self._caches[encoder].reload()
        return self._caches[encoder]


def _number_texts(texts: pl.Series) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct texts' keys, the index of each one's first text, and each text's index among the distinct."""
    hashes = np.array(hash_texts(texts).to_list(), dtype="S64")
    distinct, first_texts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    keys = np.frombuffer(bytes.fromhex(distinct.tobytes().decode("ascii")), dtype=">u8").astype(np.uint64)
    return keys.reshape(-1, _KEY_WORDS), first_texts, inverse
