"""The interest model: how much a user's history asks for an item, from text alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories
from recsys.text.encoder import Progress


class InterestModel:
    """Scaled dot product of a user vector and an item vector.

    The item vector is the embedding e plus a learned linear map of it; the user vector is the mean m of the user's
    newest embeddings, each step back weighing `history_decay` times less, plus another linear map of m. Both maps
    start at zero, so an untrained model is the plain cosine of the encoder; items nobody has touched are scored
    like all others. Both maps are trained together by a softmax over the whole catalogue.

    Args:
        embedding_size: length of the encoder's vectors.
        config: how to train and how far to look back.
    """

    def __init__(self, embedding_size: int, config: InterestConfig) -> None:
        self._config = config
        self.item_map: NDArray[np.float32] = np.zeros((embedding_size, embedding_size), dtype=np.float32)
        self.user_map: NDArray[np.float32] = np.zeros((embedding_size, embedding_size), dtype=np.float32)

    def fit(
        self,
        histories: Histories,
        embeddings: NDArray[np.float32],
        seed: int,
        progress: Progress | None = None,
        *,
        known: NDArray[np.bool_] | None = None,
    ) -> list[float]:
        """Train on "given a history so far, which item came next?".

        Args:
            histories: as of the cut-off.
            embeddings: (n_items, embedding_size) float32, unit rows, in the order of `histories.item_ids`.
            seed: draws the examples.
            progress: called with 1 after each step.
            known: (n_items) bool; items that joined the catalogue only after the cut-off are no negatives.

        Returns:
            Mean loss of each epoch; empty where no history has two items.
        """
        config = self._config
        rng = np.random.default_rng(seed)
        items = torch.from_numpy(embeddings)
        unknown = torch.zeros(len(items), dtype=torch.bool)
        if known is not None:
            touched = np.bincount(histories.items, minlength=histories.n_items) > 0
            unknown = torch.from_numpy(~(known | touched))
        maps = [torch.zeros_like(torch.from_numpy(self.item_map), requires_grad=True) for _ in range(2)]
        optimizer = torch.optim.AdamW(maps, lr=config.learning_rate, weight_decay=config.weight_decay)
        means: list[float] = []
        for _ in range(config.epochs):
            losses = []
            for entries in self._draw_examples(histories, rng):
                past = torch.from_numpy(_past_items(histories, entries, config.history_length))
                targets = torch.from_numpy(histories.items[entries].astype(np.int64))
                mean = _weighted_mean(items, past, config.history_decay if histories.ordered else 1.0)
                item_vectors = torch.nn.functional.normalize(items + items @ maps[0], dim=-1)
                user_vectors = torch.nn.functional.normalize(mean + mean @ maps[1], dim=-1)
                logits = user_vectors @ item_vectors.T / config.temperature
                # What the user already touched is never a negative.
                rows, owned = _older_items(histories, entries)
                seen = unknown.repeat(len(entries), 1)
                seen[rows, owned] = True
                loss = torch.nn.functional.cross_entropy(logits.masked_fill(seen, -torch.inf), targets)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(float(loss.detach()))
                if progress:
                    progress(1)
            if losses:
                means.append(float(np.mean(losses)))
        self.item_map, self.user_map = (one.detach().numpy() for one in maps)
        return means

    def count_steps(self, histories: Histories) -> int:
        """Return how many steps `fit` will take, for a progress bar."""
        examples = min(int((histories.lengths - 1).clip(min=0).sum()), self._config.max_examples)
        return self._config.epochs * -(-examples // self._config.batch_size)

    def item_vectors(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_items, embedding_size) float32, unit rows."""
        return _unit_rows(embeddings + embeddings @ self.item_map)

    def user_vectors(self, histories: Histories, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_users, embedding_size) float32, unit rows; zeros for an empty history."""
        past = torch.from_numpy(histories.recent_items(self._config.history_length).astype(np.int64))
        decay = self._config.history_decay if histories.ordered else 1.0
        mean = _weighted_mean(torch.from_numpy(embeddings), past, decay).numpy()
        return _unit_rows(mean + mean @ self.user_map)

    def save(self, path: Path) -> None:
        """Write both maps as safetensors."""
        save_file({"item_map": self.item_map, "user_map": self.user_map}, path)

    @classmethod
    def load(cls, path: Path, config: InterestConfig) -> InterestModel:
        """Read what `save` wrote."""
        maps = load_file(path)
        model = cls(len(maps["item_map"]), config)
        model.item_map, model.user_map = maps["item_map"], maps["user_map"]
        return model

    def _draw_examples(self, histories: Histories, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Draw one epoch of batches of entries that have an older entry before them."""
        older = np.arange(len(histories.items)) - np.repeat(histories.starts[:-1], histories.lengths)
        entries = rng.permutation(np.flatnonzero(older > 0))[: self._config.max_examples]
        return np.array_split(entries, -(-len(entries) // self._config.batch_size)) if len(entries) else []


def _past_items(histories: Histories, entries: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return (n_entries, length) int64 items before each entry, newest first, -1 where there is none."""
    first = histories.starts[histories.users[entries]]
    places = entries[:, None] - 1 - np.arange(length)[None, :]
    found = places >= first[:, None]
    return np.where(found, histories.items[np.where(found, places, 0)], -1).astype(np.int64)


def _older_items(histories: Histories, entries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row (place among `entries`) and item number of everything before each entry, however far back."""
    first = histories.starts[histories.users[entries]]
    older = entries - first
    rows = np.repeat(np.arange(len(entries)), older)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(older) - older, older)
    return rows, histories.items[first[rows] + step].astype(np.int64)


def _weighted_mean(items: torch.Tensor, past: torch.Tensor, decay: float) -> torch.Tensor:
    """Return (rows, size): the mean of the past items' vectors, weights `decay ** steps back`; zeros for none."""
    weights = (decay ** torch.arange(past.shape[1], dtype=torch.float32))[None, :] * (past >= 0)
    total = torch.nn.functional.embedding_bag(
        past.clamp(min=0), items, per_sample_weights=weights.to(items.dtype), mode="sum"
    )
    return total / weights.sum(1, keepdim=True).clamp(min=1e-12)


def _unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
