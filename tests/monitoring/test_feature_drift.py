"""Features of the ranker, night against night."""

import numpy as np
import polars as pl

from recsys.monitoring.feature_drift import stack_features, watch_features
from recsys.monitoring.figures import Figures

N = 2_000


def make_features(seed: int, shift: float = 0.0, missing: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    gone = rng.random(N) < missing
    return pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(N)],
            "item_id": ["i"] * N,
            "als_z": rng.normal(shift, 1, N).astype(np.float32),
            "item_age": pl.Series(rng.random(N).astype(np.float32)).set(pl.Series(gone), None),
        }
    )


def compare(now: pl.DataFrame, before: pl.DataFrame) -> Figures:
    figures = Figures()
    watch_features(figures, stack_features(now), stack_features(before))
    return figures


def test_chance_is_not_drift() -> None:
    figures = compare(make_features(1), make_features(2)).values
    assert figures["model.feature_ks"] < 0.02
    assert figures["model.feature_psi"] < 0.05
    assert figures["model.feature_missing"] == 0


def test_a_shift_is_named() -> None:
    figures = compare(make_features(1, shift=1.0), make_features(2))
    # The distance of two normal distributions one apart is 0.38; 0.04 may be chance.
    assert 0.25 < figures.values["model.feature_ks"] < 0.40
    segments = figures.segments["model.feature_ks"]
    assert max(segments, key=segments.__getitem__) == "feature: als_z"
    assert figures.values["model.feature_ks.als_z"] == figures.values["model.feature_ks"]
    assert figures.values["model.feature_ks.item_age"] < 0.02


def test_a_feature_that_is_missing_is_named() -> None:
    figures = compare(make_features(1, missing=0.5), make_features(2))
    assert abs(figures.values["model.feature_missing"] - 0.5) < 0.05
    assert figures.segments["model.feature_missing"]["feature: als_z"] == 0


def test_without_a_sample_there_are_no_figures() -> None:
    figures = Figures()
    watch_features(figures, stack_features(None), stack_features(make_features(1)))
    assert figures.values == {}
