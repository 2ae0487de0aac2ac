"""Embeddings on disk: a text that an encoder has read once is not read again."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import hash_texts

# An interrupted run loses at most the work of so many texts.
PORTION = 2_000
# Folders of encoders that stay, the last used: the champion's, the one before, and two to try things with.
_ENCODERS_KEPT = 4
_DIGEST = re.compile(r"[0-9a-f]{64}")

_logger = logging.getLogger(__name__)


class EmbeddingCache:
    """Vectors by the hash of their text and the digest of their encoder, kept from one run to the next.

    An encoder has a folder of its own; in it every portion of texts that was encoded is a file, named by the hash of
    its bytes. So a file is whole or known not to be, two processes may write side by side, and whoever is killed
    keeps the portions that were done. It is only a cache: what cannot be read or written costs time, never a run.

    Args:
        folder: made when the first vector is written; its folders of encoders not used lately are deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writable = True
        # To hash all weights takes longer than to encode a few texts.
        self._digests: WeakKeyDictionary[Encoder, str] = WeakKeyDictionary()

    def encode(
        self, encoder: Encoder, texts: Sequence[str] | pl.Series, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return (n_texts, embedding_size) float32, rows unit length, in the order given.

        Args:
            encoder: one whose weights do not change while this cache is in use.
            texts: valid Unicode; equal ones are encoded once.
            progress: called with the number of texts done since the last call, those found in the cache included.
        """
        if not len(texts):
            return np.zeros((0, encoder.embedding_size), dtype=np.float32)
        texts = pl.Series(texts, dtype=pl.String)
        keys, firsts, places, vectors, missing = self._look_up(encoder, texts)
        folder = self._folder / self._digest(encoder)
        if progress and len(texts) > missing.sum():
            progress(len(texts) - int(missing.sum()))
        # In the order of the texts, so that the same texts always share a portion.
        wanted = np.flatnonzero(missing)[np.argsort(firsts[missing])]
        for start in range(0, len(wanted), PORTION):
            portion = wanted[start : start + PORTION]
            vectors[portion] = encoder.encode(texts.gather(firsts[portion]).to_list(), progress)
            self._write(folder, keys[portion], vectors[portion])
        return vectors[places]

    def find_missing(self, encoder: Encoder, texts: Sequence[str] | pl.Series) -> pl.Series:
        """Return the texts that `encode` would have to read, each once, in the order it reads them.

        It reads them in portions of `PORTION`, each for itself; whoever encodes such a portion alone, on whatever
        machine that sees the folder, leaves the same bytes.
        """
        texts = pl.Series(texts, dtype=pl.String)
        _, firsts, _, _, missing = self._look_up(encoder, texts)
        return texts.gather(np.sort(firsts[missing]))

    def _look_up(
        self, encoder: Encoder, texts: pl.Series
    ) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return keys, sorted, their first text, each text's key, the keys' vectors, and which are missing."""
        hashes = np.array(hash_texts(texts).to_list(), dtype="S64")
        keys, firsts, places = np.unique(hashes, return_index=True, return_inverse=True)
        vectors = np.zeros((len(keys), encoder.embedding_size), dtype=np.float32)
        folder = self._folder / self._digest(encoder)
        with suppress(OSError):
            os.utime(folder)
        missing = ~self._read(folder, keys, vectors) if len(keys) else np.zeros(0, dtype=bool)
        return keys, firsts, places, vectors, missing

    def _digest(self, encoder: Encoder) -> str:
        if encoder not in self._digests:
            self._digests[encoder] = encoder.digest()
        return self._digests[encoder]

    def _read(self, folder: Path, keys: NDArray[np.bytes_], vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Fill in the vectors of the sorted keys that the folder knows; return (n_keys) bool, which ones."""
        found = np.zeros(len(keys), dtype=bool)
        damaged = []
        for path in sorted(folder.glob("*.safetensors")):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                # Another process has tidied up meanwhile.
                continue
            except OSError:
                damaged.append(path)
                continue
            portion = _unpack(content, vectors.shape[1]) if _hash(content) == path.stem else None
            if portion is None:
                damaged.append(path)
                with suppress(OSError):
                    path.unlink()
                continue
            at = np.searchsorted(keys, portion[0]).clip(max=len(keys) - 1)
            asked = keys[at] == portion[0]
            vectors[at[asked]] = portion[1][asked]
            found[at[asked]] = True
        if damaged:
            _logger.warning(
                "embedding cache %s: %d file(s) that cannot be read or are not as they were written, such as %s; "
                "their texts are encoded again",
                folder,
                len(damaged),
                damaged[0].name,
            )
        return found

    def _write(self, folder: Path, keys: NDArray[np.bytes_], vectors: NDArray[np.float32]) -> None:
        """Add one portion, at once or not at all."""
        if not self._writable:
            return
        content = save({"hashes": keys.view(np.uint8).reshape(len(keys), -1), "vectors": vectors})
        name = _hash(content)
        # Processes in two containers may have one number, so that does not tell them apart.
        staging = folder / f".{name}.{uuid4().hex}.tmp"
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                # Another process may be at the same.
                with suppress(OSError):
                    self._forget_old()
            staging.write_bytes(content)
            staging.replace(folder / f"{name}.safetensors")
        except OSError as error:
            self._writable = False
            with suppress(OSError):
                staging.unlink()
            _logger.warning(
                "embedding cache %s: cannot be written (%s), so the next run encodes these texts again; "
                "free some space or choose another RECSYS_HOME",
                folder,
                error.strerror,
            )

    def _forget_old(self) -> None:
        """Delete the folders of all encoders but those used last."""
        # Only what is named like an encoder: a folder given by mistake must not lose its own.
        used = [(path.stat().st_mtime_ns, path.name) for path in self._folder.iterdir() if _DIGEST.fullmatch(path.name)]
        for _, name in sorted(used)[:-_ENCODERS_KEPT]:
            shutil.rmtree(self._folder / name, ignore_errors=True)


def _unpack(content: bytes, embedding_size: int) -> tuple[NDArray[np.bytes_], NDArray[np.float32]] | None:
    """Return the keys of a portion and their vectors; None where it was written by something else."""
    try:
        tensors = load(content)
        hashes, vectors = tensors["hashes"].view("S64").ravel(), tensors["vectors"]
    except (SafetensorError, KeyError, ValueError):
        return None
    return (hashes, vectors) if vectors.shape == (len(hashes), embedding_size) else None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
