"""How near a night comes to its floor: lists for every user of a config, beside what no night can do without.

    RECSYS_DATA=… python tests/benchmarks/night_speed.py --config configs/ml1m.yaml --bundle /tmp/ml1m
    RECSYS_DATA=… python tests/benchmarks/night_speed.py --config configs/ml1m.yaml --bundle /tmp/ml1m --peers

The floor, in the same run and with the same threads: (a) torch's products of all users with the items of each dense
source and torch's top-n of them, (b) LightGBM's own prediction of the same rows by the same trees. The bundle is fitted
on what came before the config's test window and kept in the folder for the next time. `--peers` adds a plain pandas
loop over users and implicit's batch recommender in front of it, with the same candidates' sources and trees;
`--rectools` adds RecTools' two-stage recommender, which has an environment of its own (see `peer_rectools.py`).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch
import yaml
from ablations import Laboratory
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import BLOCK, CandidateRows
from recsys.candidates.sources.als import AlsSource
from recsys.candidates.sources.new_items import NewItemsSource
from recsys.candidates.sources.text import InterestSource
from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.features import features
from recsys.serving import reasons
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.serving.reasons import ReasonFinder
from recsys.serving.recommender import Recommender
from recsys.training.fitting import complete_bundle

# Users in one product of the floor; as large as torch likes.
_AT_ONCE = 1024
_DENSE = (AlsSource, InterestSource, NewItemsSource)


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True, help="folder that holds the bundle, or will")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    parser.add_argument("--users", type=int, default=0, help="at most so many, drawn at random; 0: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cpu", action="store_true", help="count CPU seconds, on one thread of a machine that is shared"
    )
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--rectools", type=Path, metavar="PYTHON", help="an interpreter that has RecTools")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    changes |= {"threads": 1} if given.cpu else {}
    config = apply_settings(load_config(given.config), changes)
    torch.set_num_threads(config.threads)
    night, users, _ = prepare(config, given.bundle)
    if given.users and given.users < users.n_users:
        users = users.pick(np.sort(np.random.default_rng(0).permutation(users.n_users)[: given.users]))
    night.recommend(users.select(slice(0, 2 * BLOCK)))
    rows = count_rows(night, users)
    print(
        f"{config.name}: {users.n_users:,} users x {users.n_items:,} items, {rows / users.n_users:.0f} candidates each"
    )
    booster = night.bundle.ranker.booster
    print(f"{booster.num_trees()} trees, {booster.num_feature()} features, {config.threads} threads")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        for name, work in (
            ("night", lambda: night.recommend(users)),
            ("a: products and top-n", lambda: multiply_all(night.recommender, users)),
            ("b: LightGBM", lambda: predict_all(night, users, rows)),
        ):
            found[name].append(work() if name.startswith("b") else clock(work))
    for name, seconds in found.items():
        print(f"  {name:24s} {min(seconds):7.2f} s (of {', '.join(f'{one:.2f}' for one in seconds)})")
    floor = min(found["a: products and top-n"]) + min(found["b: LightGBM"])
    ratios = [n / (a + b) for n, a, b in zip(*found.values(), strict=True)]
    print(
        f"night / (a + b): {min(found['night']) / floor:.2f} (each round {', '.join(f'{one:.2f}' for one in ratios)})"
    )
    print(f"{users.n_users / min(found['night']):,.0f} users per second, peak {peak():.1f} GB")
    profile(night, users.select(slice(0, 20 * BLOCK)))
    if given.peers:
        compare(night, users)
    if given.rectools:
        recommend_by_rectools(night, users, given.rectools, rows / users.n_users)


def prepare(config: Config, folder: Path) -> tuple[BatchRecommender, Histories, pl.DataFrame]:
    """Return a night over the config's test window, with the bundle that the folder holds, or will.

    With it come the users' histories, and what they took in the window: `user_id`, `item_id`.
    """
    if not (folder / "bundle.json").exists():
        laboratory = Laboratory(config)
        fitted = complete_bundle(config, laboratory.items, laboratory.text, laboratory.windows.measurement_fold)
        folder.mkdir(parents=True, exist_ok=True)
        fitted.bundle.save(folder)
    found = ingest(config.dataset, now=datetime.now(UTC))
    end = resolve_end(found.interactions, None)
    windows = split_windows(
        found.interactions, config.windows, repeats=config.dataset.repeats, end=end, seed=config.seed
    )
    users = build_histories(windows.test.history, found.items, windows.test.cutoff)
    bundle = Bundle.load(folder)
    recommender = bundle.prepare(found.items, users)
    evidence = bundle.count_evidence(recommender, users)
    return BatchRecommender(config, bundle, recommender, "1", evidence), users, windows.test.positives


def read_clock() -> float:
    """Return seconds: CPU seconds with --cpu."""
    return time.process_time() if "--cpu" in sys.argv else time.perf_counter()


def clock(work: Callable[[], Any]) -> float:
    """Return the seconds it takes."""
    started = read_clock()
    work()
    return read_clock() - started


def peak() -> float:
    """Return the most memory the process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# --- the floor -----------------------------------------------------------------------------------------------------


def multiply_all(recommender: Recommender, users: Histories) -> None:
    """Multiply and choose for every dense source, with vectors of the right sizes."""
    depths = recommender.config.candidates.depths
    rng = np.random.default_rng(0)
    for source in recommender.sources:
        if not isinstance(source, _DENSE):
            continue
        size = find_size(source)
        items = torch.from_numpy(rng.normal(size=size).astype(np.float32)).T
        vectors = torch.from_numpy(rng.normal(size=(_AT_ONCE, size[1])).astype(np.float32))
        for start in range(0, users.n_users, _AT_ONCE):
            some = vectors[: min(_AT_ONCE, users.n_users - start)]
            torch.topk(some @ items, min(depths[source.name], size[0]))


def find_size(source: Any) -> tuple[int, int]:
    """Return how many items a dense source multiplies with, and how long their vectors are."""
    return source._index.vectors.shape


def predict_all(night: BatchRecommender, users: Histories, rows: int) -> float:
    """Return the seconds that LightGBM alone takes for the rows of all users, from those of some thousand."""
    some = users.select(slice(0, 8 * BLOCK))
    matrix = np.concatenate([gather(night, block) for _, block in some.split(BLOCK)])
    threads = night.config.threads
    seconds = clock(lambda: night.bundle.ranker.booster.predict(matrix, num_threads=threads))
    return seconds * rows / len(matrix)


def gather(night: BatchRecommender, users: Histories) -> NDArray[np.float32]:
    """Return (n_rows, n_features) float32 of a block, as LightGBM likes it best."""
    recommender, ranker = night.recommender, night.bundle.ranker
    rows = propose(recommender, users)
    columns = recommender.describe(rows, users)
    blend = ranker.blend.score(columns, rows.starts)
    return np.ascontiguousarray(np.stack([blend, *(columns[name] for name in ranker.features)]).T)


def propose(recommender: Recommender, users: Histories) -> CandidateRows:
    """Return the candidates of a block of users."""
    return recommender.cut(recommender.propose(users, recommender.exclusions(users)))


def count_rows(night: BatchRecommender, users: Histories) -> int:
    """Return how many candidates all users have."""
    recommender = night.recommender
    return sum(len(propose(recommender, block).items) for _, block in users.split(BLOCK))


# --- where the time goes -------------------------------------------------------------------------------------------


def profile(night: BatchRecommender, users: Histories) -> None:
    """Print the share of each part of a block's work, on one thread."""
    spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        started = read_clock()
        yield
        spent[name] += read_clock() - started

    def wrap(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **more: Any) -> Any:
            with part(name):
                return work(*given, **more)

        return timed

    recommender, ranker = night.recommender, night.bundle.ranker
    depths = recommender.config.candidates.depths
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    named = ("describe_sources", "describe_items", "describe_users", "describe_nearness", "describe_company")
    named += ("describe_matches", "describe_repeats")
    kept = {name: getattr(features, name) for name in named}
    for name in named:
        setattr(features, name, wrap(f"features: {name.removeprefix('describe_')}", kept[name]))
    for _, block in users.split(BLOCK):
        exclusions = Exclusions.of(block, recommender.recommendable, repeats=night.config.dataset.repeats)
        for source in recommender.sources:
            with part(f"source {source.name}: scores"):
                scores = source.score(block)
            with part(f"source {source.name}: top"):
                scores.find_top(depths[source.name], exclusions)
        with part("(all proposals and their union)"):
            rows = propose(recommender, block)
        with part("(all features)"):
            columns = recommender.describe(rows, block)
        with part("trees and blend"):
            ranker.score(columns, rows.starts)
    for name in named:
        setattr(features, name, kept[name])
    with part("(everything)"):
        night.recommend(users)
    real = ReasonFinder._weigh, reasons.choose_reasons
    ReasonFinder._weigh = wrap("reasons: what adds most", real[0])  # type: ignore[method-assign]
    reasons.choose_reasons = wrap("reasons: what is true", real[1])
    night.recommend(users)
    ReasonFinder._weigh, reasons.choose_reasons = real  # type: ignore[method-assign]
    torch.set_num_threads(threads)
    whole = spent.pop("(everything)")
    print(f"one thread, {users.n_users:,} users: {1e3 * whole / users.n_users:.2f} ms a user; of these")
    for name, seconds in sorted(spent.items(), key=lambda one: -one[1]):
        print(f"  {100 * seconds / whole:5.1f} %  {name}")


# --- others --------------------------------------------------------------------------------------------------------


def compare(night: BatchRecommender, users: Histories) -> None:
    """Print users per second of the night and of two others, on a few hundred users of the same run."""
    some = users.select(slice(0, 4 * BLOCK))
    ours = some.n_users / clock(lambda: night.recommend(some))
    print(f"on {some.n_users} users: {ours:,.0f} users per second by the night")
    loop = some.n_users / clock(lambda: loop_in_pandas(night, some))
    print(f"  a pandas loop over users, same candidates and trees: {loop:,.1f}, the night is {ours / loop:,.1f} x")
    als = users.n_users / clock(lambda: recommend_by_implicit(night, users))
    print(f"  implicit's batch recommend, 200 candidates of ALS alone, no features and no trees: {als:,.0f}")


def loop_in_pandas(night: BatchRecommender, users: Histories) -> list[pd.DataFrame]:
    """Make each user's list alone, as a straightforward script does: frames of candidates, apply, predict, sort."""
    recommender, ranker = night.recommender, night.bundle.ranker
    repeats, depths = night.config.dataset.repeats, recommender.config.candidates.depths
    lists = []
    for place in range(users.n_users):
        user = users.select(slice(place, place + 1))
        taken = set(user.items[user.consumed].tolist()) if not repeats else set()
        parts = []
        for source in recommender.sources:
            scores = pd.Series(source.score(user).to_array()[0]).dropna()
            scores = scores[recommender.recommendable[scores.index] & ~scores.index.isin(list(taken))]
            best = scores.sort_values(ascending=False, kind="stable").head(depths[source.name])
            parts.append(pd.DataFrame({source.name: best}))
        found = pd.concat(parts, axis=1).sort_index()
        # The features by our own function, for one user: writing seventy of them again would compare two authors.
        rows = propose(recommender, user)
        columns = recommender.describe(rows, user)
        frame = pd.DataFrame({"blend": ranker.blend.score(columns, rows.starts), **columns}, index=rows.items)
        frame["score"] = ranker.booster.predict(frame[ranker.booster.feature_name()])
        assert len(found) == len(frame)
        lists.append(frame.sort_values("score", ascending=False).head(night.config.generation.n))
    return lists


def recommend_by_implicit(night: BatchRecommender, users: Histories) -> None:
    """Let implicit fold in and recommend for all users."""
    model = night.bundle.candidate_models["als"]._solver
    model.num_threads = night.config.threads
    matrix = csr_matrix(users.matrix())
    for start in range(0, users.n_users, _AT_ONCE):
        some = matrix[start : start + _AT_ONCE]
        model.recommend(np.arange(some.shape[0]), some, N=200, recalculate_user=True)


def recommend_by_rectools(night: BatchRecommender, users: Histories, python: Path, candidates: float) -> None:
    """Print users per second of RecTools' two-stage recommender on these histories, beside the night again."""
    if users.ages_until is None:
        sys.exit("RecTools wants times, and these histories have none")
    booster = night.bundle.ranker.booster
    facts = {
        "threads": night.config.threads,
        # Four models that agree in part: their union is about as large as the night's.
        "depth": round(candidates / 2),
        "als": night.bundle.config.collab.als.embedding_size,
        "neighbours": night.bundle.config.collab.item_to_item.k,
        "trees": booster.num_trees(),
        "leaves": night.bundle.config.ranking.num_leaves,
        "n": night.config.generation.n,
        "few": 2 * BLOCK,
    }
    times = pd.Timestamp(users.ages_until) - pd.to_timedelta(users.ages.astype(np.float64), unit="D")
    events = {
        "user": users.user_ids.gather(users.users).to_list(),
        "item": users.item_ids.gather(users.items).to_list(),
        "weight": users.weights,
        "datetime": times.tz_localize(None),
    }
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(events).to_csv(Path(folder, "events.csv"), index=False)
        pd.DataFrame({"user": users.user_ids.to_list()}).to_csv(Path(folder, "users.csv"), index=False)
        Path(folder, "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        script = Path(__file__).with_name("peer_rectools.py")
        environment = {**os.environ, "PYTHONPATH": "", "OPENBLAS_NUM_THREADS": "1"}
        said = subprocess.run(
            [python, script, folder], check=True, stdout=subprocess.PIPE, text=True, env=environment
        ).stdout
    theirs = json.loads(said.splitlines()[-1])
    ours = users.n_users / clock(lambda: night.recommend(users))
    rate = theirs["users"] / theirs["seconds"]
    print(
        f"  RecTools' two stages, {theirs['candidates']:.0f} candidates of four models, {facts['trees']} trees over "
        f"their scores and ranks: {rate:,.0f} users per second, the night does {ours:,.0f}, {ours / rate:.1f} x"
    )


if __name__ == "__main__":
    main()
