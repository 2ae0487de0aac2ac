"""How a night's time and memory grow with the catalogue and with the users.

    RECSYS_DATA=… python tests/benchmarks/night_growth.py --config demo_100k.yaml --bundle FOLDER \
        --nights 10000:14:1.9 100000:130:2.2 --plot docs/images/night_growth.png

By the catalogue: the bundle's own, a part of it, or copies of it side by side (each copy with its own ids, vectors and
neighbours, users' histories spread over the copies), each in a process of its own that makes the lists of `--users`
users. By the users: what `recsys generate` of so many users took, told as users:seconds:gigabytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import torch
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from night_speed import prepare
from numpy.typing import NDArray
from scipy.sparse import block_diag, csr_array

from recsys.candidates.merge import BLOCK
from recsys.candidates.models import CandidateModels
from recsys.collab.als import AlsModel
from recsys.collab.neighbours import NeighbourModel
from recsys.config import load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import Histories
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    parser.add_argument("--users", type=int, default=40 * BLOCK)
    parser.add_argument("--nights", nargs="*", default=[], metavar="USERS:SECONDS:GB")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.config, given.bundle, given.one, given.users, given.exact)))
        return
    found = []
    for count in given.items:
        for exact in (True, False):
            command = [sys.executable, __file__, "--config", given.config, "--bundle", given.bundle]
            command += ["--users", str(given.users), "--one", str(count), *(["--exact"] if exact else [])]
            row = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
            )
            found.append(row | {"exact": exact})
            how = "all items looked at" if exact else "index"
            print(f"{count:,} items, {how}: {row['ms']:.2f} ms a user, peak {row['gb']:.1f} GB", flush=True)
    nights = [tuple(map(float, one.split(":"))) for one in given.nights]
    if given.plot:
        draw(found, nights, given.plot)


def measure(path: Path, folder: Path, count: int, users: int, exact: bool) -> dict[str, float]:
    """Return milliseconds a user and the peak memory of lists over so many items."""
    config = apply_settings(load_config(path), {"candidates.approximate_from": None if exact else 1})
    torch.set_num_threads(config.threads)
    night, everyone, _ = prepare(config, folder)
    some = everyone.pick(np.sort(np.random.default_rng(0).permutation(everyone.n_users)[:users]))
    bundle = replace(night.bundle, config=night.bundle.config.model_copy(update={"candidates": config.candidates}))
    night, some = resize(replace(night, bundle=bundle), some, count)
    night.recommend(some.select(slice(0, 2 * BLOCK)))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        night.recommend(some)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"items": count, "ms": 1e3 * min(seconds) / some.n_users, "gb": peak}


def resize(night: BatchRecommender, users: Histories, count: int) -> tuple[BatchRecommender, Histories]:
    """Return the night and the users over a catalogue of so many items."""
    own = users.n_items
    items, embeddings = night.recommender.items, night.recommender.embeddings
    if count <= own:
        kept = np.sort(np.random.default_rng(0).permutation(own)[:count])
        places = np.full(own, -1, dtype=np.int32)
        places[kept] = np.arange(count, dtype=np.int32)
        items, embeddings = items[kept.tolist()], embeddings[kept]
        moved = places[users.items]
        # Who loses an item has another in its place: histories stay as long as they are.
        lost = moved < 0
        moved[lost] = np.random.default_rng(1).integers(count, size=int(lost.sum()))
        return rebuild(night, night.bundle.candidate_models, items, embeddings, users, moved)
    copies = -(-count // own)
    tiled = pl.concat([items.with_columns(pl.col("item_id") + f" {copy}") for copy in range(copies)]).head(count)
    order = tiled["item_id"].arg_sort().to_numpy()
    inverse = np.argsort(order).astype(np.int32)
    candidate_models = widen(night.bundle.candidate_models, tiled["item_id"].gather(order), copies, order)
    copy = np.random.default_rng(1).integers(copies, size=len(users.items))
    moved = np.minimum(users.items + own * copy, count - 1)
    vectors = np.tile(embeddings, (copies, 1))[:count][order]
    return rebuild(night, candidate_models, tiled[order.tolist()], vectors, users, inverse[moved])


def widen(models: CandidateModels, item_ids: pl.Series, copies: int, order: NDArray[np.int64]) -> CandidateModels:
    """Return the models over copies of their catalogue, put in an order; models of ids know none of them."""

    def repeat(model: NeighbourModel) -> NeighbourModel:
        wide = csr_array(block_diag([model.similarity] * copies, format="csr", dtype=np.float32))
        return NeighbourModel(csr_array(wide[order][:, order]), model.history_decay)

    factors: NDArray[np.float32] = np.tile(models["als"].item_factors, (copies, 1))[order]
    changed: dict[str, Any] = {name: repeat(model) for name, model in models.neighbours.items() if model.similarity.nnz}
    return models.align(item_ids).with_models(als=AlsModel(factors, models["als"]._config), **changed)


def rebuild(
    night: BatchRecommender,
    candidate_models: CandidateModels,
    items: pl.DataFrame,
    embeddings: NDArray[np.float32],
    users: Histories,
    moved: NDArray[np.int32],
) -> tuple[BatchRecommender, Histories]:
    """Return the night over other items; statistics are of these users."""
    from recsys.candidates.statistics import count_statistics

    histories = replace(users, item_ids=items["item_id"], items=moved.astype(np.int32))
    bundle: Bundle = replace(
        night.bundle, candidate_models=candidate_models.align(items["item_id"]), items=items, embeddings=embeddings
    )
    statistics = count_statistics(histories, items, bundle.config.candidates)
    recommender = bundle.assemble(items, bundle.make_item_texts(items), embeddings, statistics, histories.cutoff)
    return replace(night, bundle=bundle, recommender=recommender), histories


def draw(found: list[dict[str, Any]], nights: list[tuple[float, ...]], path: Path) -> None:
    """Draw time and memory by items, and by users."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), layout="constrained")
    for exact, name in ((True, "all items looked at"), (False, "index")):
        rows = [row for row in found if row["exact"] == exact]
        for axis, key in zip(axes[0], ("ms", "gb"), strict=True):
            axis.plot([row["items"] for row in rows], [row[key] for row in rows], marker="o", label=name)
    for axis, place in zip(axes[1], (1, 2), strict=True):
        axis.plot([one[0] for one in nights], [one[place] for one in nights], marker="o", color="tab:green")
    labels = [
        ("items", "milliseconds a user"),
        ("items", "peak memory, GB"),
        ("users", "seconds"),
        ("users", "peak memory, GB"),
    ]
    for axis, (below, beside) in zip(axes.ravel(), labels, strict=True):
        axis.set(xlabel=below, ylabel=beside, xscale="log", yscale="linear" if "memory" in beside else "log")
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if "memory" not in beside:
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    for axis in axes[:, 1]:
        axis.set_ylim(bottom=0)
    axes[0, 0].legend()
    axes[0, 0].set_title("by items, lists alone", loc="left")
    axes[1, 0].set_title("by users, whole command, 100,000 items", loc="left")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
