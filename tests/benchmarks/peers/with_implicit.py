"""implicit: ALS, BPR and item neighbours on the matrix of users and items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from program import Lists, Recommend, Settings, Task, main

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

NEIGHBOURS = {"bm25": BM25Recommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Fit once."""
    matrix, user_ids, item_ids = task.matrix()
    given = dict(settings)
    model: Any
    if task.model == "item-kNN":
        model = NEIGHBOURS[given.pop("weighting")](num_threads=task.threads, **given)
    elif task.model == "BPR":
        model = BayesianPersonalizedRanking(num_threads=task.threads, random_state=0, **given)
    else:
        model = AlternatingLeastSquares(num_threads=task.threads, random_state=0, **given)
    model.fit(matrix, show_progress=False)
    numbers = {user: number for number, user in enumerate(user_ids)}
    wanted = np.array([numbers[user] for user in task.users])

    def recommend() -> Lists:
        seen = not task.repeats
        items, scores = model.recommend(wanted, matrix[wanted], N=task.n, filter_already_liked_items=seen)
        # What is filtered out of a list that has no better items comes with the lowest number or the index -1.
        real = (items >= 0) & (scores > np.finfo(np.float32).min)
        if task.model == "item-kNN":
            real &= scores > 0
        return [
            [item_ids[item] for item, shown in zip(row, shown_row, strict=True) if shown]
            for row, shown_row in zip(items, real, strict=True)
        ]

    yield settings, recommend


if __name__ == "__main__":
    main(dict.fromkeys(("ALS", "BPR", "item-kNN"), fit))
