"""A real data set with some items held back as if nobody had touched them yet, for the encoder's benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import Config, load_config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.ingestion import ingest
from recsys.evaluation.metrics import count_positives, find_hits, ndcg, recall
from recsys.text.item_text import make_texts
from recsys.text.training.examples import hold_out

Scorer = Callable[[Histories], NDArray[np.float32]]
_USERS_AT_ONCE = 2048


@dataclass(frozen=True)
class ColdWorld:
    """What may be learned, and what is asked afterwards.

    Attributes:
        config: of the data set.
        items: `Items`.
        texts: (n_items) one per item.
        cold: (n_items) bool: nothing is known of these but their texts.
        train: histories on the other items, without the newest one of a fifth of the users.
        asked: histories of users with at least 3 warm items, one item of whom is known to be a cold one they took.
        cold_positives: (n_asked, n_items) of those users.
        warm_users: histories of the users whose newest warm item was kept aside.
        warm_items: (n_warm_users) those items.
    """

    config: Config
    items: pl.DataFrame
    texts: list[str]
    cold: NDArray[np.bool_]
    train: Histories
    asked: Histories
    cold_positives: csr_array
    warm_users: Histories
    warm_items: NDArray[np.int64]

    def measure_cold(self, score: Scorer) -> dict[str, NDArray[np.float64]]:
        """Return recall@20, recall@50 and nDCG@100 of each asked user, the cold items ranked among themselves."""
        columns = np.flatnonzero(self.cold)
        lists = self._rank(self.asked, score, columns, 100)
        hits, counts = find_hits(lists, self.cold_positives), count_positives(self.cold_positives)
        return {
            "cold recall@20": recall(hits, counts, 20),
            "cold recall@50": recall(hits, counts, 50),
            "cold nDCG@100": ndcg(hits, counts, 100),
        }

    def measure_warm(self, score: Scorer) -> dict[str, NDArray[np.float64]]:
        """Return nDCG@10 and recall@20 of the item kept aside of each user, among warm items the user does not have."""
        lists = self._rank(self.warm_users, score, np.flatnonzero(~self.cold), 20)
        rows = np.arange(len(self.warm_items))
        shape = (len(rows), self.items.height)
        positives = csr_array((np.ones(len(rows), dtype=np.float32), (rows, self.warm_items)), shape=shape)
        hits, counts = find_hits(lists, positives), count_positives(positives)
        return {"warm nDCG@10": ndcg(hits, counts, 10), "warm recall@20": recall(hits, counts, 20)}

    def _rank(self, users: Histories, score: Scorer, columns: NDArray[np.int64], n: int) -> NDArray[np.int32]:
        lists = []
        for _, shard in users.split(_USERS_AT_ONCE):
            scores = score(shard)
            scores[shard.users, shard.items] = -np.inf
            scores = scores[:, columns]
            top = np.argpartition(-scores, n, axis=1)[:, :n]
            order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
            lists.append(columns[np.take_along_axis(top, order, 1)].astype(np.int32))
        return np.concatenate(lists)


def load_cold_world(path: Path, cold_items: int, *, liked: float | None = None, seed: int = 0) -> ColdWorld:
    """Hold back some items of a config's data set.

    Args:
        path: the config; RECSYS_DATA must name the folder of its data.
        cold_items: how many, drawn from all.
        liked: only interactions with a value from this one on, or without a value, count.
        seed: draws them.
    """
    config = load_config(path)
    found = ingest(config.dataset, now=datetime.now(UTC))
    items, interactions = found.items, found.interactions
    if liked is not None:
        interactions = interactions.filter(pl.col("value").is_null() | (pl.col("value") >= liked))
    cold = np.zeros(items.height, dtype=bool)
    cold[np.random.default_rng(seed).choice(items.height, cold_items, replace=False)] = True
    is_cold = pl.col("item_id").is_in(items["item_id"].filter(pl.Series(cold)).implode())
    everything = build_histories(interactions.filter(~is_cold), items, None)
    train, users, kept = hold_out(everything, 0.2, seed)
    warm_ids = everything.user_ids.gather(users)
    taken = interactions.filter(is_cold).select("user_id", "item_id").unique()
    able = pl.DataFrame({"user_id": everything.user_ids.filter(pl.Series(everything.lengths >= 3))})
    taken = taken.join(able, on="user_id", how="semi")
    asked = everything.take(taken["user_id"].unique())
    pairs = asked.number_pairs(taken.select("user_id", "item_id"))
    rows, columns = pairs["user_index"].to_numpy(), pairs["item_index"].to_numpy()
    positives = csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(asked.n_users, items.height))
    texts = make_texts(items, config.text.fields).to_list()
    return ColdWorld(config, items, texts, cold, train, asked, positives, train.take(warm_ids), kept)
