"""What it costs to fit the collaborative models in several processes or on two nodes of a Ray cluster.

    RECSYS_DATA=… python tests/benchmarks/fit_engines.py --config configs/ml1m.yaml --home HOME

Fits `als`, `item_to_item` and `transitions` to all events of the config's snapshot in HOME: in one process, in two
local processes, and on a cluster of two nodes that is started on the loopback interface, each task with one thread.
Prints, for each engine and model, the hash of the model, the seconds until it is fitted, the CPU seconds of all
processes, and the bytes that were shared with tasks and returned by them. The script ends with exit code 1 if the
models of two engines differ. `--user-shards` also counts what item to item would return by shards of users: the counts
of all pairs of items that a user of the shard has.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.artifacts.snapshots import open_snapshot
from recsys.collab.als import AlsModel
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item, fit_transitions
from recsys.config import Config, load_config
from recsys.dataset.histories import Histories, stream_histories
from recsys.engines import FITTING, Engine, Shared
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import ADDRESS, RayEngine

Model = AlsModel | NeighbourModel
MEGA = 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--engines", nargs="+", default=["one process", "two processes", "two nodes"])
    parser.add_argument("--models", nargs="+", default=["als", "item_to_item", "transitions"])
    parser.add_argument("--user-shards", type=int, default=0)
    given = parser.parse_args()
    config = load_config(given.config)
    snapshot = open_snapshot(given.home, config.name, config.dataset.model_dump(mode="json"))
    histories = stream_histories(snapshot.interactions, snapshot.items, None)
    print(f"{histories.n_users:,} users, {histories.n_items:,} items, {len(histories.items):,} pairs")
    if given.user_shards:
        describe_user_shards(histories, given.user_shards)
    # Compiled once, before the clock starts.
    _fit(config, histories.select(slice(0, 50)), "item_to_item", LocalEngine(1, 1))
    hashes = [measure(config, histories, name, given.models) for name in given.engines]
    if any(other != hashes[0] for other in hashes):
        sys.exit("the models differ")
    print("the models of all engines have the same bytes")


def measure(config: Config, histories: Histories, name: str, models: Sequence[str]) -> list[str]:
    """Fit all models with an engine, print the costs, and return the models' hashes."""
    hashes = []
    with prepare(name) as make:
        before, started = cpu_seconds(), time.perf_counter()
        with Counted(make()) as engine:
            _print(name, "start", "", time.perf_counter() - started, cpu_seconds() - before, engine)
            # Twice: workers load libraries in their first tasks.
            for fit in [*models, *models]:
                engine.shared = engine.returned = 0
                before, started = cpu_seconds(), time.perf_counter()
                model = _fit(config, histories, fit, engine)
                seconds, used = time.perf_counter() - started, cpu_seconds() - before
                hashes.append(hash_of(model))
                _print(name, fit, hashes[-1], seconds, used, engine)
    return hashes


def _print(name: str, step: str, hashed: str, seconds: float, used: float, engine: Counted) -> None:
    print(
        f"{name:14} {step:13} {hashed:12} {seconds:7.2f} s {used:7.2f} CPU s  shared {engine.shared / MEGA:8.1f} MB  "
        f"returned {engine.returned / MEGA:8.1f} MB",
        flush=True,
    )


def _fit(config: Config, histories: Histories, name: str, engine: Engine) -> Model:
    match name:
        case "als":
            return AlsModel.fit(histories, config.collab.als, config.seed, 1, engine=engine)
        case "item_to_item":
            return fit_item_to_item(histories, config.collab.item_to_item, 1, engine)
    return fit_transitions(histories, config.collab.transitions, engine)


@contextmanager
def prepare(name: str) -> Iterator[Callable[[], Engine]]:
    """Give a function that makes the engine; a cluster runs until the block ends."""
    if name != "two nodes":
        yield lambda: LocalEngine(1 if name == "one process" else 2, 1, FITTING)
        return
    from ray.cluster_utils import Cluster

    started = time.perf_counter()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    print(f"{name:14} the cluster is up after {time.perf_counter() - started:.1f} s")
    os.environ[ADDRESS] = cluster.address
    try:
        yield lambda: RayEngine(1, FITTING)
    finally:
        cluster.shutdown()


class Counted:
    """An engine that counts the bytes of shared arrays and of results."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.shared = self.returned = 0

    def __enter__(self) -> Self:
        """See `Engine`."""
        self._engine.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """See `Engine`."""
        self._engine.__exit__(*error)

    @property
    def parallel(self) -> int:
        """See `Engine`."""
        return self._engine.parallel

    @contextmanager
    def share(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Shared]:
        """See `Engine`."""
        self.shared += sum(array.nbytes for array in arrays.values())
        with self._engine.share(arrays) as shared:
            yield shared

    def run(self, work: Callable[[int], Any], numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """See `Engine`."""
        for number, result in self._engine.run(work, numbers):
            parts = (result.data, result.indices, result.indptr) if isinstance(result, csr_array) else (result,)
            self.returned += sum(part.nbytes for part in parts)
            yield number, result


def cpu_seconds() -> float:
    """Return the CPU seconds so far of this process and of all processes below it that still run."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def hash_of(model: Model) -> str:
    """Return the first digits of the SHA-256 of a model's arrays."""
    if isinstance(model, AlsModel):
        arrays = [model.item_factors]
    else:
        arrays = [model.similarity.data, model.similarity.indices, model.similarity.indptr]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:12]


def describe_user_shards(histories: Histories, shards: int) -> None:
    """Print the bytes of the counts that shards of users would return for item to item."""
    size = -(-histories.n_users // shards)
    entries = 0
    for _, shard in histories.split(size):
        matrix = shard.matrix(np.ones(len(shard.items), dtype=np.float32))
        entries += (matrix.T @ matrix).nnz
    print(
        f"item to item by {shards} shards of users would return {entries:,} counts, {8 * entries / MEGA:,.1f} MB at "
        "8 bytes each"
    )


if __name__ == "__main__":
    main()
