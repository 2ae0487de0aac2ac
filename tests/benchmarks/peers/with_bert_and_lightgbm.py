"""A frozen BERT and LightGBM, as people write it: candidates by popularity and text, a few features, lambdarank.

The labels are each user's last tenth of items, at least one; everything counted comes from the rows before them.
"""

from __future__ import annotations

from collections.abc import Iterator

import lightgbm as lgb
import numpy as np
from program import Lists, Recommend, Settings, Task, main, take_best
from with_sentence_transformers import embed

FEATURES = ["similarity_mean", "similarity_max", "similarity_last", "popularity", "popularity_log", "history_length"]


def describe(own: np.ndarray, candidates: np.ndarray, vectors: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Return (n_candidates, n_features): what the text, the crowd and the history say."""
    similarity = vectors[candidates] @ vectors[own].T
    seen = popularity[candidates]
    columns = [similarity.mean(axis=1), similarity.max(axis=1), similarity[:, -1], seen, np.log1p(seen)]
    return np.column_stack([*columns, np.full(len(candidates), len(own))])


def propose(own: np.ndarray, vectors: np.ndarray, popularity: np.ndarray, depth: int, repeats: bool) -> np.ndarray:
    """Return the most popular items and those nearest to the user's mean vector."""
    nearest = vectors @ vectors[own].mean(axis=0)
    parts = [np.argpartition(-score, depth)[:depth] for score in (nearest, popularity)]
    found = np.union1d(*parts)
    return np.union1d(found, own) if repeats else np.setdiff1d(found, own)


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Embed, hold out the last items, fit the ranker."""
    vectors = embed(task)
    item_ids = task.items["item_id"].to_pylist()
    whole = {user: np.array(items) for user, items in task.number_histories().items()}
    cuts = {user: len(items) - max(1, len(items) // 10) for user, items in whole.items()}
    before = np.concatenate([items[: cuts[user]] for user, items in whole.items()])
    popularity = np.bincount(before, minlength=len(item_ids)).astype(np.float64)
    depth = min(settings["depth"], len(item_ids) - 1)
    chosen = np.random.default_rng(0).permutation([user for user in whole if cuts[user] > 0])[:5000]
    rows, labels, groups = [], [], []
    for user in chosen:
        own, wanted = whole[user][: cuts[user]], whole[user][cuts[user] :]
        candidates = propose(own, vectors, popularity, depth, task.repeats)
        label = np.isin(candidates, wanted)
        if label.any():
            rows.append(describe(own, candidates, vectors, popularity))
            labels.append(label)
            groups.append(len(candidates))
    ranker = lgb.LGBMRanker(
        objective="lambdarank", n_estimators=settings["trees"], n_jobs=task.threads, random_state=0, verbosity=-1
    )
    ranker.fit(np.vstack(rows), np.concatenate(labels), group=groups, feature_name=FEATURES)
    everything = np.bincount(np.concatenate(list(whole.values())), minlength=len(item_ids)).astype(np.float64)

    def recommend() -> Lists:
        lists: Lists = []
        for user in task.users:
            candidates = propose(whole[user], vectors, everything, depth, task.repeats)
            scores = ranker.predict(describe(whole[user], candidates, vectors, everything))
            lists += take_best(scores[None, :], [item_ids[item] for item in candidates], task.n)
        return lists

    yield settings, recommend


if __name__ == "__main__":
    main({"ranker": fit})
