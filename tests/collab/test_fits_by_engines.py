"""Models have the same bytes whatever the engine that fits them, and however many blocks it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from ray_clusters import start_two_nodes
from worlds import at, checkerboard, make_interactions, make_items

from recsys.collab.als import AlsModel
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item, fit_transitions
from recsys.config import AlsConfig, ItemToItemConfig, TransitionsConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.engines import FITTING, HERE, Engine
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import RayEngine

ITEMS, ROWS = checkerboard(users=40, items=24)
# Two items that nobody touches, at both ends of the catalogue, and an item of a single user.
BOARD = build_histories(ROWS, make_items("a", *ITEMS["item_id"], "z"), at(60))
FITS: dict[str, Callable[[Histories, Engine], AlsModel | NeighbourModel]] = {
    "als": lambda histories, engine: AlsModel.fit(
        histories, AlsConfig(embedding_size=6, epochs=3), 3, 1, engine=engine
    ),
    "transitions": lambda histories, engine: fit_transitions(histories, TransitionsConfig(k=5), engine),
    **{
        weighting: partial(
            lambda histories, engine, config: fit_item_to_item(histories, config, 1, engine),
            config=ItemToItemConfig(weighting=weighting, k=5),
        )
        for weighting in ("cosine", "bm25", "tfidf")
    },
}
every_fit = pytest.mark.parametrize("name", FITS)


class Blocks(LocalEngine):
    """Runs tasks in this process, like an engine with as many workers as given."""

    def __init__(self, workers: int) -> None:
        super().__init__(1, 1)
        self._parallel = workers

    @property
    def parallel(self) -> int:
        """See `Engine`."""
        return self._parallel


@pytest.fixture(scope="module")
def two_processes() -> Iterator[Engine]:
    with LocalEngine(2, 1, FITTING) as engine:
        yield engine


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with start_two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two_nodes(cluster: Any) -> Iterator[Engine]:
    with RayEngine(1, FITTING) as engine:
        yield engine


def hash_of(model: AlsModel | NeighbourModel) -> str:
    if isinstance(model, AlsModel):
        arrays = [model.item_factors]
    else:
        matrix = model.similarity
        arrays = [matrix.data, matrix.indices, matrix.indptr]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@every_fit
@pytest.mark.parametrize("workers", [2, 3, 100])
def test_blocks_do_not_change_a_model(name: str, workers: int) -> None:
    assert hash_of(FITS[name](BOARD, Blocks(workers))) == hash_of(FITS[name](BOARD, HERE))


@every_fit
def test_two_processes_fit_the_same_model(name: str, two_processes: Engine) -> None:
    assert two_processes.parallel == 2
    assert hash_of(FITS[name](BOARD, two_processes)) == hash_of(FITS[name](BOARD, HERE))


@pytest.mark.ray
@pytest.mark.timeout(300)
@every_fit
def test_two_machines_of_a_cluster_fit_the_same_model(name: str, two_nodes: Engine) -> None:
    assert two_nodes.parallel == 2
    assert hash_of(FITS[name](BOARD, two_nodes)) == hash_of(FITS[name](BOARD, HERE))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_the_model_is_the_same_after_a_machine_is_lost(cluster: Any, two_nodes: Engine) -> None:
    third = cluster.add_node(num_cpus=1)
    runs = 0

    class Unplugged(RayEngine):
        """Loses a machine while it takes the third half-step."""

        def run(self, work: Callable[[int], Any], numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
            nonlocal runs
            runs += 1
            for place, done in enumerate(super().run(work, numbers)):
                if (runs, place) == (3, 0):
                    cluster.remove_node(third, allow_graceful=False)
                yield done

    with Unplugged(1, FITTING) as engine:
        assert engine.parallel == 3
        assert hash_of(FITS["als"](BOARD, engine)) == hash_of(FITS["als"](BOARD, HERE))
    # Three epochs of two half-steps.
    assert runs == 6


@every_fit
def test_different_histories_give_different_bytes(name: str) -> None:
    assert hash_of(FITS[name](BOARD.select(slice(0, 30)), HERE)) != hash_of(FITS[name](BOARD, HERE))


@every_fit
@pytest.mark.parametrize("workers", [1, 2])
def test_fewer_users_and_items_than_blocks(name: str, workers: int) -> None:
    rows = make_interactions(("u", "a", 1), ("u", "b", 2))
    for histories in (build_histories(rows, make_items("a", "b", "c"), at(5)), BOARD.select(slice(0, 0))):
        model = FITS[name](histories, Blocks(workers))
        size = len(model.item_factors) if isinstance(model, AlsModel) else model.similarity.shape[0]
        assert size == histories.n_items
