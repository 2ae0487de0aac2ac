"""RecTools: its wrappers of implicit, EASE, SASRec, BERT4Rec, and its two-stage candidate ranking model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from program import Lists, Recommend, Settings, Task, main

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from lightgbm import LGBMClassifier
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import LastNSplitter, RandomSplitter, TimeRangeSplitter
from rectools.models import (
    BERT4RecModel,
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitItemKNNWrapperModel,
    PopularModel,
    SASRecModel,
)
from rectools.models.ranking import CandidateGenerator, CandidateRankingModel, PerUserNegativeSampler, Reranker

NEIGHBOURS = {"bm25": BM25Recommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}
# After how many epochs a training that goes on is looked at: RecTools' own 3, and each time twice as many.
EPOCHS = (3, 6, 12, 24, 48, 96, 192)


def read_dataset(task: Task) -> Dataset:
    """Return the rows; an hour passes from one to the next, so that there are no ties and hours can be split off."""
    times = pd.Timestamp("1900-01-01") + pd.to_timedelta(task.column("order"), unit="h")
    rows = pd.DataFrame(
        {
            Columns.User: task.column("user_id"),
            Columns.Item: task.column("item_id"),
            Columns.Weight: task.column("weight"),
            Columns.Datetime: times,
        }
    )
    return Dataset.construct(rows)


def make(task: Task, model: str, settings: Settings) -> Any:
    """Return a model of one stage, not fitted."""
    given, threads = dict(settings), task.threads
    if model == "ALS":
        als = AlternatingLeastSquares(num_threads=threads, random_state=0, **given)
        return ImplicitALSWrapperModel(als, recommend_n_threads=threads)
    if model == "EASE":
        return EASEModel(recommend_n_threads=threads, recommend_use_gpu_ranking=False, **given)
    weighting = NEIGHBOURS[given.pop("weighting")]
    return ImplicitItemKNNWrapperModel(weighting(num_threads=threads, **given))


def make_two_stages(task: Task, settings: Settings) -> CandidateRankingModel:
    """Return ALS, item neighbours and EASE, each as it was tuned alone, popularity, and LightGBM over their scores."""
    share, held_out = task.held_out["share"], task.held_out["kind"]
    # Seen items come back where repeats are wanted, so they are labels then.
    filters = (True, True, not task.repeats)
    if held_out == "time":
        hours = max(1, round(task.rows.num_rows * share))
        splitter: Any = TimeRangeSplitter(f"{hours}H", 1, *filters)
    elif held_out == "random":
        splitter = RandomSplitter(share, 1, 0, *filters)
    else:
        splitter = LastNSplitter(1, 1, *filters)
    models = [make(task, name, own) for name, own in settings["parts"].items()]
    classifier = LGBMClassifier(
        n_estimators=settings["trees"], num_leaves=settings["leaves"], n_jobs=task.threads, verbosity=-1
    )
    return CandidateRankingModel(
        [CandidateGenerator(one, 100, keep_ranks=True, keep_scores=True) for one in (*models, PopularModel())],
        splitter,
        Reranker(classifier),
        PerUserNegativeSampler(settings["negatives"], random_state=0),
    )


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Fit once."""
    dataset = read_dataset(task)
    model = make_two_stages(task, settings) if task.model == "two-stage" else make(task, task.model, settings)
    model.fit(dataset)
    yield settings, lambda: recommend(task, model, dataset)


def fit_transformer(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Fit for the given epochs; where none are given, look at the model after more and more of them."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(task.threads)
    seed_everything(0, workers=True)
    given = dict(settings)
    wanted = given.pop("epochs", None)
    if given.get("session_max_len") == "most histories":
        _, lengths = np.unique(task.column("user_id").astype(str), return_counts=True)
        given["session_max_len"] = int(np.clip(np.quantile(lengths, 0.9), 10, 100))
    dataset, before = read_dataset(task), 0
    model = {"SASRec": SASRecModel, "BERT4Rec": BERT4RecModel}[task.model](**given, recommend_torch_device="cpu")
    for epochs in EPOCHS if wanted is None else (wanted,):
        model.fit_partial(dataset, min_epochs=epochs - before, max_epochs=epochs - before)
        before = epochs
        yield settings | {"epochs": epochs}, lambda: recommend(task, model, dataset)


def recommend(task: Task, model: Any, dataset: Dataset) -> Lists:
    """Return the lists; users whom a transformer does not take, such as those with one item, get what is popular."""
    given = {"k": task.n, "filter_viewed": not task.repeats}
    users = np.array(task.users, dtype=object)
    frame = model.recommend(users, dataset, on_unsupported_targets="ignore", **given)
    found = frame.sort_values([Columns.User, Columns.Rank]).groupby(Columns.User)[Columns.Item].agg(list)
    if missing := [user for user in task.users if user not in found]:
        frame = PopularModel().fit(dataset).recommend(np.array(missing, dtype=object), dataset, **given)
        found = pd.concat([found, frame.groupby(Columns.User)[Columns.Item].agg(list)])
    return [found[user] for user in task.users]


if __name__ == "__main__":
    two = dict.fromkeys(("ALS", "EASE", "item-kNN", "two-stage"), fit)
    main(two | dict.fromkeys(("SASRec", "BERT4Rec"), fit_transformer))
