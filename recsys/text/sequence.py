"""The sequence model: what comes next, by the order of a history and the texts in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from recsys.config import SequenceConfig
from recsys.dataset.histories import Histories
from recsys.text.encoder import Progress

_USERS_AT_ONCE = 256


class SequenceModel:
    """A small causal transformer over item vectors, scored by a dot product (Kang and McAuley 2018, ICDM).

    An item's vector is a linear map of its text embedding plus a residual of its own, learned for items that training
    has seen. The residual says what text cannot know; items without one are placed by their text alone, and because
    residuals are dropped at random while training, that works. A user's vector is the transformer's state after the
    newest item. Trained on every next item of every history by a softmax over shared negatives drawn evenly (Klenitskiy
    and Vasilev 2023, RecSys: with a full loss the plain architecture is as good as later ones).

    Args:
        embedding_size: length of the encoder's vectors.
        item_ids: (n_items) the catalogue whose residuals are learned.
        config: shape and training.
    """

    def __init__(self, embedding_size: int, item_ids: pl.Series, config: SequenceConfig) -> None:
        self._config = config
        self._item_ids = item_ids
        with torch.random.fork_rng(devices=[]):
            # Also one that is never trained has the same bytes each time.
            torch.manual_seed(0)
            self._tower = _Tower(embedding_size, config).eval()
        self._residuals: NDArray[np.float32] = np.zeros((len(item_ids), config.size), dtype=np.float32)

    def fit(
        self,
        histories: Histories,
        embeddings: NDArray[np.float32],
        seed: int,
        progress: Progress | None = None,
        *,
        bfloat16: bool = False,
    ) -> list[float]:
        """Train on "given a history so far, which item came next?" at every place of every history.

        Args:
            histories: as of the cut-off, over the model's catalogue.
            embeddings: (n_items, embedding_size) float32, unit rows, in the order of `histories.item_ids`.
            seed: draws initial weights, order, negatives and dropout.
            progress: called with 1 after each step.
            bfloat16: run matrix products in it; the weights stay float32.

        Returns:
            Mean loss of each epoch; empty where there is no order, or no history has two items.
        """
        config = self._config
        users = np.flatnonzero(histories.lengths > 1)
        if not histories.ordered or not len(users):
            return []
        rng = np.random.default_rng(seed)
        touched = np.bincount(histories.items, minlength=histories.n_items) > 0
        pool, owned = np.flatnonzero(touched), histories.matrix()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tower = _Tower(embeddings.shape[1], config)
            residuals = nn.Parameter(torch.randn(len(embeddings), config.size) * _INITIAL)
            texts = torch.from_numpy(embeddings)
            optimizer = torch.optim.AdamW([*tower.parameters(), residuals], config.learning_rate, weight_decay=0.0)
            means = []
            for _ in range(self._count_epochs(len(users))):
                losses = []
                for batch in _make_batches(users, config.batch_size, rng):
                    negatives = rng.choice(pool, min(config.negatives, len(pool)), replace=False)
                    sequences, real = _cut_sequences(histories, batch, config.history_length + 1, rng)
                    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                        logits = _score_next(
                            tower, texts, residuals, sequences, real, negatives, owned[batch], config.residual_dropout
                        )
                    loss = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_([*tower.parameters(), residuals], 5.0)
                    optimizer.step()
                    losses.append(float(loss.detach()))
                    if progress:
                        progress(1)
                means.append(float(np.mean(losses)))
        self._tower = tower.eval()
        self._residuals = residuals.detach().numpy() * touched[:, None].astype(np.float32)
        return means

    def count_steps(self, histories: Histories) -> int:
        """Return how many steps `fit` will take, for a progress bar."""
        users = int((histories.lengths > 1).sum()) if histories.ordered else 0
        return self._count_epochs(users) * -(-users // self._config.batch_size)

    def _count_epochs(self, users: int) -> int:
        """As many as the config wants, fewer where they would take more than its most steps, but one at least."""
        steps = -(-users // self._config.batch_size)
        return min(self._config.epochs, max(1, self._config.max_steps // max(1, steps)))

    @property
    def trained(self) -> bool:
        """False: there was nothing to learn from, or nobody asked; the model has nothing to say."""
        return bool(self._residuals.any())

    def align(self, item_ids: pl.Series) -> SequenceModel:
        """Return the model over another catalogue; items it does not know have no residual."""
        if self._item_ids.equals(item_ids):
            return self
        known = pl.DataFrame({"item_id": self._item_ids}).with_row_index("place")
        places = pl.DataFrame({"item_id": item_ids}).join(known, on="item_id", how="left", maintain_order="left")
        place = places["place"].cast(pl.Int64).fill_null(-1).to_numpy()
        moved = SequenceModel(self._tower.map.in_features, item_ids, self._config)
        moved._tower = self._tower
        moved._residuals[place >= 0] = self._residuals[place[place >= 0]]
        return moved

    def item_vectors(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_items, size) float32: the mapped texts of the model's catalogue plus the residuals."""
        with torch.inference_mode():
            mapped: NDArray[np.float32] = self._tower.map(torch.from_numpy(embeddings)).numpy()
        return mapped + self._residuals

    def user_vectors(self, histories: Histories, item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n_users, size) float32 of histories over the model's catalogue; zeros for an empty one.

        Args:
            histories: as of the cut-off.
            item_vectors: from `item_vectors`.
        """
        vectors = np.zeros((histories.n_users, self._config.size), dtype=np.float32)
        items = torch.from_numpy(item_vectors)
        # Users of like length go through together; what stands beside a user changes nothing but the last bit.
        present = np.flatnonzero(histories.lengths > 0)
        order = present[np.argsort(histories.lengths[present], kind="stable")]
        with torch.inference_mode():
            for start in range(0, len(order), _USERS_AT_ONCE):
                users = order[start : start + _USERS_AT_ONCE]
                sequences, real = _cut_sequences(histories, users, self._config.history_length, None)
                states = self._tower(items[torch.from_numpy(sequences)])
                vectors[users] = states[np.arange(len(users)), real.sum(axis=1) - 1].numpy()
        return vectors

    def save(self, path: Path) -> None:
        """Write weights and residuals as safetensors; the catalogue is the caller's to keep."""
        save_file({**self._tower.state_dict(), "residuals": torch.from_numpy(self._residuals)}, path)

    @classmethod
    def load(cls, path: Path, item_ids: pl.Series, config: SequenceConfig) -> SequenceModel:
        """Read what `save` wrote over the same catalogue."""
        state = load_file(path)
        model = cls(state["map.weight"].shape[1], item_ids, config)
        model._residuals = state.pop("residuals").numpy()
        model._tower.load_state_dict(state)
        return model


# Spread of the initial weights of map, residuals and positions.
_INITIAL = 0.02


class _Tower(nn.Module):
    """Item vectors in their order to states: the state at a place has seen that place and those before it."""

    def __init__(self, embedding_size: int, config: SequenceConfig) -> None:
        super().__init__()
        self.map = nn.Linear(embedding_size, config.size, bias=False)
        self.positions = nn.Parameter(torch.zeros(config.history_length, config.size))
        for weight in (self.map.weight, self.positions):
            nn.init.normal_(weight, 0.0, _INITIAL)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.size)
        self.dropout = nn.Dropout(config.dropout)
        self._scale = float(config.size) ** 0.5

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, length, size) vectors to (batch, length, size) states; places beyond a history's end are noise."""
        states: torch.Tensor = self.dropout(vectors * self._scale + self.positions[: vectors.shape[1]])
        for block in self.blocks:
            states = block(states)
        normed: torch.Tensor = self.norm(states)
        return normed


class _Block(nn.Module):
    """One transformer layer, norms first, in which no place sees a later one."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        size = config.size
        self.heads, self.rate = config.heads, config.dropout
        self.attention_norm, self.feed_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.output = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * size, size)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, size = states.shape
        parts = self.query_key_value(self.attention_norm(states)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=rate)
        states = states + self.dropout(self.output(seen.transpose(1, 2).reshape(batch, length, size)))
        fed: torch.Tensor = states + self.dropout(self.feed(self.feed_norm(states)))
        return fed


def _make_batches(users: NDArray[np.int64], size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    return np.array_split(rng.permutation(users), -(-len(users) // size))


def _cut_sequences(
    histories: Histories, users: NDArray[np.int64], length: int, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (n_users, longest) item numbers, oldest first, and which places are real.

    Of a longer history the newest `length` items; with a generator every other time a stretch drawn from anywhere, so
    that training meets all of it.
    """
    lengths = histories.lengths[users]
    taken = np.minimum(lengths, length)
    first = histories.starts[users] + lengths - taken
    if rng is not None:
        spare = lengths - taken
        drawn = histories.starts[users] + (rng.random(len(users)) * (spare + 1)).astype(np.int64)
        first = np.where(rng.random(len(users)) < 0.5, first, drawn)
    steps = np.arange(int(taken.max()))[None, :]
    real = steps < taken[:, None]
    return np.where(real, histories.items[np.where(real, first[:, None] + steps, 0)], 0).astype(np.int64), real


def _score_next(
    tower: _Tower,
    texts: torch.Tensor,
    residuals: torch.Tensor,
    sequences: NDArray[np.int64],
    real: NDArray[np.bool_],
    negatives: NDArray[np.int64],
    owned: csr_array,
    residual_dropout: float,
) -> torch.Tensor:
    """Return (n_places, 1 + n_negatives) logits of every place with a next one: that item first, then the negatives.

    What the user of a place has at any time is no negative.
    """
    needed, places = np.unique(np.concatenate([sequences.ravel(), negatives]), return_inverse=True)
    rows = torch.from_numpy(needed)
    kept = (torch.rand(len(needed), 1) >= residual_dropout).float()
    vectors = tower.map(texts[rows]) + residuals[rows] * kept
    inside, outside = places[: sequences.size].reshape(sequences.shape), places[sequences.size :]
    asked = torch.from_numpy(real[:, 1:])
    states = tower(vectors[torch.from_numpy(inside[:, :-1])])[asked]
    right = (states * vectors[torch.from_numpy(inside[:, 1:])][asked]).sum(dim=1, keepdim=True)
    wrong = states @ vectors[torch.from_numpy(outside)].T
    has = torch.from_numpy(owned[:, negatives].toarray() > 0)
    user = torch.arange(len(sequences))[:, None].expand(asked.shape)[asked]
    # Each negative stands for as many items as there are per one drawn.
    weight = float(np.log(owned.shape[1] / max(1, len(negatives))))
    wrong = (wrong.float() + weight).masked_fill(has[user], -torch.inf)
    return torch.cat([right.float(), wrong], dim=1)
