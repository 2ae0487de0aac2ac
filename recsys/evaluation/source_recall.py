"""The ledger by segment: what became of some positives, and which source found them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.config import EvaluationConfig
from recsys.evaluation.candidate_ledger import OUTCOMES, UNION
from recsys.evaluation.intervals import mean_interval

_IN_SEGMENT = pl.col("segments").list.contains


def count_outcomes(positives: pl.DataFrame, segments: Sequence[str]) -> pl.DataFrame:
    """Count what became of the positives of each segment.

    Args:
        positives: `TestPositives`.
        segments: labels such as `items: cold`; one without positives is left out.

    Returns:
        `segment`, `outcome`, `positives`, `share` of the segment's positives: all `OUTCOMES` of each segment, in order.
    """
    frames = []
    for segment in segments:
        inside = positives.filter(_IN_SEGMENT(segment))["outcome"]
        counts = [int((inside == outcome).sum()) for outcome in OUTCOMES]
        if len(inside):
            rows = {"segment": segment, "outcome": OUTCOMES, "positives": counts}
            frames.append(pl.DataFrame(rows).with_columns(share=pl.col("positives") / len(inside)))
    schema = {"segment": pl.String, "outcome": pl.String, "positives": pl.Int64, "share": pl.Float64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def compute_source_recall(
    positives: pl.DataFrame, segments: Sequence[str], sources: Sequence[str], config: EvaluationConfig, seed: int
) -> pl.DataFrame:
    """Measure what share of a user's positives in a segment each source proposes; source `union` is any of them.

    Args:
        positives: `TestPositives`.
        segments: labels such as `items: cold`; one without positives is left out.
        sources: their names.
        config: bootstrap samples and confidence.
        seed: of the bootstrap.

    Returns:
        `segment`, `source`, `users` with a positive in the segment, `positives`, and `mean`, `low`, `high` over those
        users, each of whom counts the same.
    """
    found = {source: pl.col("sources").list.contains(source) for source in sources}
    found[UNION] = pl.col("sources").list.len() > 0
    rows = []
    for segment in segments:
        inside = positives.filter(_IN_SEGMENT(segment))
        shares = inside.group_by("user_id").agg(one.mean().alias(name) for name, one in found.items()).sort("user_id")
        for name in found if shares.height else ():
            one = mean_interval(shares[name].to_numpy(), config.bootstrap_samples, config.confidence, seed)
            rows.append((segment, name, shares.height, inside.height, one.mean, one.low, one.high))
    columns = {"segment": pl.String, "source": pl.String, "users": pl.Int64, "positives": pl.Int64}
    return pl.DataFrame(rows, schema=columns | dict.fromkeys(("mean", "low", "high"), pl.Float64), orient="row")
