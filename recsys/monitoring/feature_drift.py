"""Feature drift: whether the ranker reads the same numbers as in the last good night of the same champion."""

from __future__ import annotations

import math

import polars as pl

from recsys.evaluation.drift import compare_scores
from recsys.monitoring.figures import Figures
from recsys.monitoring.model import CRITICAL

_KEYS = ("user_id", "item_id")
# Fewer numbers show only the largest shifts.
_ENOUGH = 50


def stack_features(features: pl.DataFrame | None) -> pl.DataFrame:
    """Return `FeatureSketch` from `SampledFeatures`: a row per feature and sampled user, null where it is missing."""
    if features is None:
        return pl.DataFrame(schema={"feature": pl.String, "value": pl.Float32})
    names = sorted(name for name in features.columns if name not in _KEYS)
    long = features.select(pl.col(names).cast(pl.Float32)).unpivot(variable_name="feature", value_name="value")
    return long.sort("feature", maintain_order=True)


def watch_features(figures: Figures, now: pl.DataFrame, last: pl.DataFrame) -> None:
    """Add the figures of the features; each user of the sample gives one candidate, so its rows are independent.

    `model.feature_ks` is the largest distance (Kolmogorov-Smirnov) between the distributions of a feature tonight and
    in the last good night, less what may be chance: the lower end of its 95 % interval. `model.feature_psi` is the
    largest stability index, `model.feature_missing` the largest change of the share of candidates without the feature.
    Segments are the features. Each feature is judged by itself (`model.feature_ks.NAME`) and only by what it did in
    other nights: ages of items and recent counts move far every night.

    Args:
        figures: to add to.
        now: `FeatureSketch` of tonight.
        last: the same for the last good night by the same version with the same settings.
    """
    ks: dict[str, float | None] = {}
    psi: dict[str, float | None] = {}
    missing: dict[str, float | None] = {}
    before = {str(name): group["value"] for (name,), group in last.group_by("feature")}
    for (name,), group in sorted(now.group_by("feature"), key=lambda part: str(part[0][0])):
        old = before.get(str(name))
        if old is None:
            continue
        new = group["value"]
        segment = f"feature: {name}"
        missing[segment] = abs(new.null_count() / len(new) - old.null_count() / len(old))
        new, old = new.drop_nulls(), old.drop_nulls()
        if min(len(new), len(old)) < _ENOUGH:
            continue
        drift = compare_scores(new, old)
        ks[segment] = max(0.0, drift.ks - CRITICAL * math.sqrt(1 / len(new) + 1 / len(old)))
        psi[segment] = drift.psi
    for figure, parts in (("ks", ks), ("psi", psi), ("missing", missing)):
        if parts:
            figures.add(f"model.feature_{figure}", max(value or 0.0 for value in parts.values()), parts)
    for segment, distance in ks.items():
        figures.add(f"model.feature_ks.{segment.removeprefix('feature: ')}", distance)
