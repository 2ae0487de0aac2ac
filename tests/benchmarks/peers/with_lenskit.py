"""LensKit: its top-n pipeline around item neighbours, implicit ALS or EASE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from lenskit.als import ImplicitMFScorer
from lenskit.basic.candidates import TrainingItemsCandidateConfig, TrainingItemsCandidateSelector
from lenskit.batch import recommend as recommend_all
from lenskit.data import from_interactions_df
from lenskit.knn import EASEScorer, ItemKNNScorer
from lenskit.pipeline import RecPipelineBuilder
from program import Lists, Recommend, Settings, Task, main

SCORERS: dict[str, Any] = {"item-kNN": ItemKNNScorer, "ALS": ImplicitMFScorer, "EASE": EASEScorer}


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Fit once."""
    torch.set_num_threads(task.threads)
    pairs = pd.DataFrame({"user_id": task.column("user_id"), "item_id": task.column("item_id")}).drop_duplicates()
    builder = RecPipelineBuilder()
    builder.scorer(SCORERS[task.model](**settings))
    builder.ranker(n=task.n)
    if task.repeats:
        builder.candidate_selector(TrainingItemsCandidateSelector, TrainingItemsCandidateConfig(exclude=None))
    pipeline = builder.build()
    pipeline.train(from_interactions_df(pairs, user_col="user_id", item_col="item_id"))

    def recommend() -> Lists:
        # Processes cost more than they save on two cores.
        found = recommend_all(pipeline, task.users, task.n, n_jobs=1)
        lists = {key.user_id: [str(item) for item in items.ids()] for key, items in found}
        return [lists.get(user, []) for user in task.users]

    yield settings, recommend


if __name__ == "__main__":
    main(dict.fromkeys(SCORERS, fit))
