"""From how many items on the index is faster than looking at all, and what it finds.

    python tests/benchmarks/index_crossover.py --sizes 64 384 --items 10000 30000 100000 300000
    python tests/benchmarks/index_crossover.py --bundle FOLDER
    RECSYS_DATA=… python tests/benchmarks/index_crossover.py --bundle FOLDER --config CONFIG

Users and items lie around a thousand topics, a user asking for five of them at once, which is hard; or items are those
of a bundle's ALS factors and texts, parts of them, or slightly moved copies. Each line: milliseconds a user on one
thread for the best `--depth`, looking at all and with the index, the ratio, the share of the exact best that the index
finds with a 95 % interval over users, and the seconds that the index takes to make. With a config the lists of its test
window's users are made both ways: what share of their items is the same, and what nDCG the index costs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from night_speed import prepare
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.index import ItemIndex
from recsys.candidates.products import score_items
from recsys.config import load_config
from recsys.dataset.user_items import UserItems
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.evaluation.metrics import count_positives, find_hits, ndcg
from recsys.serving.bundle import Bundle

_USERS = 1024
_ROUNDS = 3


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 384])
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--config", type=Path, help="of the bundle: compare its lists")
    parser.add_argument("--users", type=int, default=20_000, help="whose lists are compared, drawn at random")
    given = parser.parse_args()
    if given.config:
        compare_lists(given.config, given.bundle, given.users)
        return
    torch.set_num_threads(1)
    if given.bundle:
        bundle = Bundle.load(given.bundle)
        factors = bundle.candidate_models["als"].item_factors
        texts = bundle.candidate_models["interest"].item_vectors(bundle.embeddings)
        for name, vectors in (("als", factors[~np.isnan(factors[:, 0])]), ("text", texts)):
            for count in given.items:
                measure(name, resize(vectors, count), given.depth)
        return
    for size in given.sizes:
        for count in given.items:
            measure("topics", draw(count, size), given.depth)


def resize(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return so many of the vectors; more than there are, slightly moved."""
    rng = np.random.default_rng(0)
    if count <= len(vectors):
        return np.ascontiguousarray(vectors[rng.permutation(len(vectors))[:count]])
    rows = vectors[np.arange(count) % len(vectors)]
    return (rows + 0.3 * rows.std(axis=1, keepdims=True) * rng.normal(size=rows.shape)).astype(np.float32)


def draw(count: int, size: int) -> NDArray[np.float32]:
    """Return (count, size) vectors around a thousand topics, of different lengths."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(1000, size))
    rows = topics[rng.integers(1000, size=count)] + rng.normal(size=(count, size))
    return (rows * rng.lognormal(0, 0.3, (count, 1))).astype(np.float32)


def measure(name: str, items: NDArray[np.float32], depth: int) -> None:
    """Print a line."""
    rng = np.random.default_rng(1)
    # A user asks for a few items at once, as a history does.
    users = items[rng.integers(len(items), size=(_USERS, 5))].mean(axis=1)
    index, unscored = ItemIndex(items, np.arange(len(items), dtype=np.int32)), np.zeros(128, dtype=bool)
    started = time.perf_counter()
    _ = index.clusters
    making = time.perf_counter() - started
    seconds, tops = {}, {}
    for approximate in (False, True):
        seconds[approximate] = np.inf
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            tops[approximate] = np.concatenate(
                [
                    score_items(
                        users[start : start + 128], unscored, index, len(items), approximate=approximate
                    ).find_top(depth, Exclusions.none(128, len(items)))
                    for start in range(0, _USERS, 128)
                ]
            )
            seconds[approximate] = min(seconds[approximate], time.perf_counter() - started)
    shared = [len(set(one) & set(other)) / depth for one, other in zip(tops[False], tops[True], strict=True)]
    found = mean_interval(np.array(shared), 1000, 0.95, 0)
    exact, fast = (1e3 * seconds[approximate] / _USERS for approximate in (False, True))
    print(
        f"{name} {len(items):,} x {items.shape[1]}: all {exact:.3f} ms, index {fast:.3f} ms a user, "
        f"{exact / fast:.2f} x; finds {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]; made in {making:.1f} s",
        flush=True,
    )


def compare_lists(path: Path, folder: Path, count: int) -> None:
    """Print what the index changes of final lists."""
    config = load_config(path)
    torch.set_num_threads(config.threads)
    night, everyone, positives = prepare(config, folder)
    asked = everyone.user_ids.is_in(positives["user_id"].implode()).to_numpy()
    users = everyone.pick(np.sort(np.random.default_rng(0).permutation(np.flatnonzero(asked))[:count]))
    taken = UserItems.number(positives.with_columns(value=pl.lit(1.0)), users)
    truth = csr_array((taken.values, taken.items, taken.starts), shape=(users.n_users, users.n_items))
    n, lists, seconds = config.generation.n, [], []
    for start in (None, 1):
        candidates = night.bundle.config.candidates.model_copy(update={"approximate_from": start})
        bundle = replace(night.bundle, config=night.bundle.config.model_copy(update={"candidates": candidates}))
        own = night.recommender
        recommender = bundle.assemble(own.items, own.item_texts, own.embeddings, own.statistics, users.cutoff)
        tonight = replace(night, bundle=bundle, recommender=recommender)
        tonight.recommend(users.select(slice(0, 256)))
        started = time.perf_counter()
        rows = tonight.recommend(users).filter(pl.len().over("user_id") == n)
        seconds.append(time.perf_counter() - started)
        assert rows.height == n * users.n_users
        lists.append(users.item_ids.search_sorted(rows["item_id"]).to_numpy().reshape(-1, n).astype(np.int64))
    shared = [len(set(one) & set(other)) / n for one, other in zip(*lists, strict=True)]
    found = mean_interval(np.array(shared), 1000, 0.95, 0)
    print(f"{users.n_users:,} users x {users.n_items:,} items: all {seconds[0]:.1f} s, index {seconds[1]:.1f} s")
    print(f"  of {n} items of a list {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}] are the same")
    exact, fast = (ndcg(find_hits(one, truth), count_positives(truth), 10) for one in lists)
    lost = compare_paired(fast, exact, 1000, 0.95, 0)
    print(f"  nDCG@10 {exact.mean():.4f}, with the index {lost.mean:+.5f} [{lost.low:+.5f}, {lost.high:+.5f}]")


if __name__ == "__main__":
    main()
