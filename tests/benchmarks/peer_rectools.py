"""RecTools' two-stage recommender on the events of `night_speed.py`, which runs this with an interpreter that has it.

    PYTHON -m venv peer && peer/bin/pip install rectools lightgbm scikit-learn
    python tests/benchmarks/night_speed.py … --peers --rectools peer/bin/python

RecTools asks for older numpy and pandas than this project, so it has an environment of its own. Its ALS, item
neighbours, EASE and popularity propose, its candidate ranking model unites them, and LightGBM ranks by their scores and
ranks with as many trees as the champion has; only `recommend` is timed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from lightgbm import LGBMClassifier
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import LastNSplitter
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.ranking import CandidateGenerator, CandidateRankingModel, PerUserNegativeSampler, Reranker


def main(folder: Path) -> None:
    """Fit, recommend for the users of the folder, and print JSON."""
    warnings.simplefilter("ignore")
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    dataset = Dataset.construct(
        pd.read_csv(folder / "events.csv", dtype={"user": str, "item": str}, parse_dates=["datetime"]).rename(
            columns={"user": Columns.User, "item": Columns.Item}
        )
    )
    users = pd.read_csv(folder / "users.csv", dtype=str)["user"].to_numpy()
    threads, depth = facts["threads"], facts["depth"]
    als = AlternatingLeastSquares(factors=facts["als"], num_threads=threads, random_state=0)
    models = [
        ImplicitALSWrapperModel(als, recommend_n_threads=threads),
        ImplicitItemKNNWrapperModel(CosineRecommender(K=facts["neighbours"], num_threads=threads)),
        EASEModel(recommend_n_threads=threads, recommend_use_gpu_ranking=False),
        PopularModel(),
    ]
    model = CandidateRankingModel(
        [CandidateGenerator(one, depth, keep_ranks=True, keep_scores=True) for one in models],
        LastNSplitter(1),
        Reranker(LGBMClassifier(n_estimators=facts["trees"], num_leaves=facts["leaves"], n_jobs=threads, verbosity=-1)),
        PerUserNegativeSampler(10, random_state=0),
    )
    model.fit(dataset)
    some = users[: facts["few"]]
    candidates = model._get_candidates_from_first_stage(some, dataset, filter_viewed=True, for_train=False)
    model.recommend(some, dataset, k=facts["n"], filter_viewed=True)
    started = time.perf_counter()
    lists = model.recommend(users, dataset, k=facts["n"], filter_viewed=True)
    seconds = time.perf_counter() - started
    each = len(candidates) / len(some)
    print(json.dumps({"seconds": seconds, "users": len(users), "rows": len(lists), "candidates": each}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
