"""Recall of what was kept aside: how far training has come, without a look at the future."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories
from recsys.text.training.objectives import Heads, average_past

_USERS_AT_ONCE = 1024
# More users would cost time and move the number little.
_MAX_USERS = 5_000


class Recall:
    """Recall@n of one item per user that was kept aside, among all items the user does not have.

    Args:
        histories: without what was kept aside.
        users: (n_users) numbers.
        items: (n_users) the item that was kept aside of each.
        config: how histories are read, and n.
    """

    def __init__(
        self, histories: Histories, users: NDArray[np.int64], items: NDArray[np.int64], config: FineTuneConfig
    ) -> None:
        self._items, self._config = items[:_MAX_USERS], config
        self._histories = histories
        self._users = users[:_MAX_USERS]

    @property
    def n_users(self) -> int:
        """How many users are asked."""
        return len(self._users)

    def measure(self, vectors: torch.Tensor, heads: Heads) -> float:
        """Return the share of users whose item is among the first n; of equal scores the right one comes last.

        Args:
            vectors: (n_items, size) of all texts.
            heads: maps of items and users.
        """
        histories, config, found = self._histories, self._config, 0
        items = heads.map_items(vectors)
        past = histories.recent_items(config.history_length)[self._users].astype(np.int64)
        owned = histories.matrix()[self._users]
        for start in range(0, len(self._users), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            means = average_past(vectors, past[part], config.history_decay if histories.ordered else 1.0)
            scores = heads.map_users(means) @ items.T
            scores[torch.from_numpy(owned[part].toarray() > 0).to(scores.device)] = -torch.inf
            right = scores.gather(1, torch.from_numpy(self._items[part, None]).to(scores.device))
            found += int(((scores >= right).sum(dim=1) <= config.validation_n).sum())
        return found / max(1, self.n_users)
