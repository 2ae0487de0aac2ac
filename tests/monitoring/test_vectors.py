"""Vectors of a sample of items, night against night."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from worlds import make_items

from recsys.monitoring.data import watch_item_vectors
from recsys.monitoring.figures import Figures
from recsys.monitoring.vectors import watch_vectors

N = 50
IDS = [f"i{number:02}" for number in range(N)]


def make_vectors(vectors: NDArray[np.float64]) -> pl.DataFrame:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return pl.DataFrame(
        {"item_id": IDS, "vector": pl.Series(np.rint(unit * 4096).astype(np.int16).tolist(), dtype=pl.List(pl.Int16))}
    )


BEFORE = np.random.default_rng(0).normal(size=(N, 16))


def watch(now: NDArray[np.float64], unchanged: list[str] = IDS) -> dict[str, float]:
    figures = Figures()
    watch_vectors(figures, make_vectors(now), make_vectors(BEFORE), pl.Series(unchanged), make_items(*IDS), ())
    return figures.values


def test_the_same_vectors() -> None:
    figures = watch(BEFORE)
    assert figures["identity.vector_moved"] == 0
    assert figures["model.vector_change"] < 1e-3
    assert figures["model.centroid_shift"] < 1e-6


def test_texts_of_other_items() -> None:
    figures = watch(np.roll(BEFORE, 1, axis=0), unchanged=[])
    assert figures["identity.vector_moved"] == 1
    assert "model.vector_change" not in figures
    # The same texts as a whole.
    assert figures["model.centroid_shift"] < 1e-6


def test_reworded_texts_stay_near_themselves() -> None:
    noise = np.random.default_rng(1).normal(size=BEFORE.shape)
    assert watch(BEFORE + 0.3 * noise, unchanged=[])["identity.vector_moved"] == 0


def test_another_encoder_gives_unchanged_texts_other_vectors() -> None:
    assert watch(np.random.default_rng(2).normal(size=BEFORE.shape))["model.vector_change"] > 0.5


def test_new_subjects_shift_the_mean() -> None:
    assert watch(BEFORE + np.eye(16)[0] * 3)["model.centroid_shift"] > 0.2


def test_vectors_of_another_size_are_not_compared() -> None:
    assert watch(np.ones((N, 8))) == {}


def test_items_without_a_vector_from_elsewhere() -> None:
    figures = Figures()
    items = make_items("a", "b", "c", "d")
    vectors = {"image": [[1.0, 0.0], None, None, None], "audio": [[1.0], [1.0], [1.0], None]}
    columns = [pl.Series(f"vector:{name}", rows, dtype=pl.List(pl.Float32)) for name, rows in vectors.items()]
    watch_item_vectors(figures, items.with_columns(columns))
    assert figures.values == {"data.vectors_missing.image": 0.75, "data.vectors_missing.audio": 0.25}
