"""The candidate ledger by segment: the outcomes of the positives, and the sources that proposed them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.config import EvaluationConfig
from recsys.evaluation.candidate_ledger import OUTCOMES, UNION, select_outcomes
from recsys.evaluation.intervals import mean_interval

_IN_SEGMENT = pl.col("segments").list.contains


def count_outcomes(positives: pl.DataFrame, segments: Sequence[str]) -> pl.DataFrame:
    """Count the outcomes of the positives of each segment.

    Args:
        positives: `TestPositives`.
        segments: labels such as `items: cold`; a segment without positives is left out.

    Returns:
        `segment`, `outcome`, `positives`, `share` of the segment's positives: the same outcomes for each segment, in
        the order of `OUTCOMES`. `lost to a rule` is left out where no positive was lost to one.
    """
    totals = dict(positives.group_by("outcome").len().iter_rows())
    shown = [outcome for outcome, _ in select_outcomes([(outcome, totals.get(outcome, 0)) for outcome in OUTCOMES])]
    frames = []
    for segment in segments:
        inside = positives.filter(_IN_SEGMENT(segment))["outcome"]
        counts = [int((inside == outcome).sum()) for outcome in shown]
        if len(inside):
            rows = {"segment": segment, "outcome": shown, "positives": counts}
            frames.append(pl.DataFrame(rows).with_columns(share=pl.col("positives") / len(inside)))
    schema = {"segment": pl.String, "outcome": pl.String, "positives": pl.Int64, "share": pl.Float64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def compute_source_recall(
    positives: pl.DataFrame, segments: Sequence[str], sources: Sequence[str], config: EvaluationConfig, seed: int
) -> pl.DataFrame:
    """Compute the share of a user's positives in a segment that each source proposes; `union` is any of them.

    Args:
        positives: `TestPositives`.
        segments: labels such as `items: cold`; a segment without positives is left out.
        sources: their names.
        config: bootstrap samples and confidence.
        seed: of the bootstrap.

    Returns:
        `segment`, `source`, `users` with a positive in the segment, `positives`, and `mean`, `low`, `high` over those
        users, each of whom has the same weight.
    """
    proposed = {source: pl.col("sources").list.contains(source) for source in sources}
    proposed[UNION] = pl.col("sources").list.len() > 0
    rows = []
    for segment in segments:
        inside = positives.filter(_IN_SEGMENT(segment))
        shares = inside.group_by("user_id").agg(by.mean().alias(source) for source, by in proposed.items())
        shares = shares.sort("user_id")
        for source in proposed if shares.height else ():
            recall = mean_interval(shares[source].to_numpy(), config.bootstrap_samples, config.confidence, seed)
            rows.append((segment, source, shares.height, inside.height, recall.mean, recall.low, recall.high))
    columns = {"segment": pl.String, "source": pl.String, "users": pl.Int64, "positives": pl.Int64}
    return pl.DataFrame(rows, schema=columns | dict.fromkeys(("mean", "low", "high"), pl.Float64), orient="row")
