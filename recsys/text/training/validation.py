"""Recall of held-out items: how well the encoder does, without looking past the cutoff."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.text.training.objectives import Heads, average_histories

_BLOCK_USERS = 1024
# More users would cost time and hardly change the recall.
_MAX_USERS = 5_000


class Recall:
    """Recall@n of one held-out item per user, among all items the user did not interact with.

    Args:
        histories: without the held-out entries.
        users: (n_users) indices.
        items: (n_users) the held-out item of each.
        config: how histories are averaged, and n.
    """

    def __init__(
        self, histories: Histories, users: NDArray[np.int64], items: NDArray[np.int64], config: FineTuneConfig
    ) -> None:
        self._items, self._config = items[:_MAX_USERS], config
        self._histories = histories
        self._users = users[:_MAX_USERS]

    @property
    def n_users(self) -> int:
        """Number of users that are measured."""
        return len(self._users)

    def measure(self, vectors: torch.Tensor, heads: Heads) -> float:
        """Return the share of users whose held-out item is among the first n; ties count against it.

        Args:
            vectors: (n_items, size) of all texts.
            heads: maps of items and users.
        """
        histories, config, hits = self._histories, self._config, 0
        item_vectors = heads.map_items(vectors)
        past = histories.recent_items(config.history_length)[self._users].astype(np.int64)
        interacted = histories.matrix()[self._users]
        for start in range(0, len(self._users), _BLOCK_USERS):
            block = slice(start, start + _BLOCK_USERS)
            means = average_histories(vectors, past[block], config.history_decay if histories.ordered else 1.0)
            scores = heads.map_users(means) @ item_vectors.T
            scores[torch.from_numpy(interacted[block].toarray() > 0).to(scores.device)] = -torch.inf
            held_out = scores.gather(1, torch.from_numpy(self._items[block, None]).to(scores.device))
            hits += int(((scores >= held_out).sum(dim=1) <= config.validation_n).sum())
        return hits / max(1, self.n_users)
