"""What a night leaves for the monitor, of a sample of its users and items: baseline lists, features and vectors.

The lists of the blend and of popularity are kept because a later night could not make them again for less than most of
the cost of a night: they need the candidates, which exist while the lists are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.histories import Histories, pick_runs
from recsys.dataset.user_items import UserItems
from recsys.ranking.lists import fill_up, rank_candidates
from recsys.serving.list_maker import ListMaker, Lists
from recsys.serving.recommender import Recommender
from recsys.serving.variants import draw_users, hash_ids
from recsys.tables import BaselineLists, empty

SAMPLED_USERS = 5_000
SAMPLED_ITEMS = 1_000
BLEND, POPULARITY = "blend", "popularity"
# Vectors are kept as whole numbers: cosines keep four digits in half of the space.
VECTOR_SCALE = 4_096
_KEY = "monitored sample"
_PICK = hashlib.sha256(b"candidate of a sampled user").digest()[:16]


@dataclass(frozen=True)
class NightSample:
    """What is kept of the sampled users of a block or shard.

    Attributes:
        baselines: `BaselineLists`.
        features: `SampledFeatures`, one candidate per user, drawn by the hash of the user's id.
    """

    baselines: pl.DataFrame
    features: pl.DataFrame

    @classmethod
    def join(cls, parts: Sequence[NightSample | None]) -> NightSample | None:
        """Return the sample of a shard from those of its blocks, sorted by user; None without sampled users."""
        given = [part for part in parts if part is not None]
        if not given:
            return None
        baselines = pl.concat([part.baselines for part in given]).sort("user_id", "baseline", "rank")
        return cls(baselines, pl.concat([part.features for part in given]).sort("user_id", "item_id"))


def find_share(users: int) -> float:
    """Return the share of the users to sample, so that about `SAMPLED_USERS` of them are."""
    return min(1.0, SAMPLED_USERS / max(users, 1))


def sample_block(
    maker: ListMaker, lists: Lists, users: Histories, blocked: UserItems, share: float
) -> NightSample | None:
    """Return what is kept of a block of users; None if none of them is sampled.

    A user is sampled or not by the id alone, so the sample is the same however users are split into blocks.

    Args:
        maker: made the lists.
        lists: of the block.
        users: histories of the block.
        blocked: items that a user must not get, of the same users.
        share: of the users that are sampled.
    """
    # A share of 1 has no bit above it.
    drawn = draw_users(users.user_ids, share, _KEY) if share < 1 else np.ones(users.n_users, dtype=np.bool_)
    picked = np.flatnonzero(drawn).astype(np.int64)
    if not len(picked):
        return None
    chosen = users.pick(picked)
    starts, rows = pick_runs(lists.candidates.starts, picked)
    blend = _rank_blend(maker, lists, starts, rows)
    exclusions = maker.recommender.exclusions(users).add(blocked.starts, blocked.items).pick(picked)
    popular = np.full((len(picked), maker.generation.n), -1, dtype=np.int32)
    source = next(step for step in maker.fallback.steps if step.name == "popular")
    fill_up(popular, np.zeros(popular.shape, dtype=np.float32), source, chosen, exclusions)
    user, rank = np.nonzero(popular >= 0)
    baselines = [
        _name(BLEND, chosen, *(blend[name].to_numpy() for name in ("user_index", "rank", "item_index"))),
        _name(POPULARITY, chosen, user, (rank + 1).astype(np.uint16), popular[user, rank]),
    ]
    return NightSample(pl.concat([empty(BaselineLists), *baselines]), _sample_features(lists, chosen, starts, rows))


def sample_vectors(recommender: Recommender) -> pl.DataFrame:
    """Return `ItemVectors` of about `SAMPLED_ITEMS` items, the same ones from night to night."""
    ids = recommender.items["item_id"]
    share = min(1.0, SAMPLED_ITEMS / max(len(ids), 1))
    drawn = np.flatnonzero(draw_users(ids, share, _KEY)) if share < 1 else np.arange(len(ids))
    vectors = np.rint(recommender.embeddings[drawn] * VECTOR_SCALE).astype(np.int16)
    size = recommender.embeddings.shape[1]
    lists = pl.Series(vectors, dtype=pl.Array(pl.Int16, size)).arr.to_list()
    return pl.DataFrame({"item_id": ids.gather(drawn), "vector": lists})


def _rank_blend(maker: ListMaker, lists: Lists, starts: NDArray[np.int64], rows: NDArray[np.int64]) -> pl.DataFrame:
    """Return `user_index`, `item_index`, `rank` of the lists that the blend alone would give the picked users."""
    blend = maker.ranker.blend
    columns = {f"{source}_z": lists.features[f"{source}_z"][rows] for source in blend.weights}
    candidates = pl.DataFrame(
        {
            "user_index": np.repeat(np.arange(len(starts) - 1), np.diff(starts)),
            "item_index": lists.candidates.items[rows],
        }
    )
    if not candidates.height:
        return candidates.with_columns(rank=pl.lit(1, dtype=pl.UInt16))
    return rank_candidates(candidates, blend.score(columns, starts), maker.generation.n)


def _name(
    baseline: str, users: Histories, user: NDArray[np.int64], rank: NDArray[np.uint16], item: NDArray[np.int32]
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users.user_ids.gather(user),
            "baseline": pl.repeat(baseline, len(user), dtype=pl.String, eager=True),
            "rank": rank,
            "item_id": users.item_ids.gather(item),
        }
    )


def _sample_features(
    lists: Lists, users: Histories, starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> pl.DataFrame:
    """Return `SampledFeatures`: of each user with candidates, one of them."""
    counts = np.diff(starts)
    having = np.flatnonzero(counts)
    hashes = hash_ids(users.user_ids.gather(having), _PICK)
    chosen = rows[starts[having] + (hashes % counts[having].astype(np.uint64)).astype(np.int64)]
    keys = {
        "user_id": users.user_ids.gather(having),
        "item_id": users.item_ids.gather(lists.candidates.items[chosen]),
    }
    columns = {
        name: pl.Series(values[chosen], dtype=pl.Float32).fill_nan(None) for name, values in lists.features.items()
    }
    return pl.DataFrame({**keys, **columns})
