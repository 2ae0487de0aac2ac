"""What the sources say of a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

SOURCE_FEATURES = {
    "rank": "Place of the item among the proposals of {source}, 1 the best.",
    "z": "Score by {source} in standard deviations above the mean of the user's candidates.",
    "gap": "Score by {source} below the best of the user's candidates, in standard deviations.",
}
AGREEMENT_FEATURES = {
    "n_sources": "Number of sources that propose the item.",
    "best_rank": "Best place among any source's proposals.",
    "mean_reciprocal_rank": "Mean over the sources of one by the place, 0 where a source does not propose the item.",
}


def describe_sources(candidates: pl.DataFrame, sources: Sequence[str]) -> pl.DataFrame:
    """Return the candidates with the columns of `SOURCE_FEATURES` for each source, and of `AGREEMENT_FEATURES`.

    Scores themselves are no features: they shift from window to window, and rankers that learned from them were worse.
    """
    ranks = [pl.col(f"{source}_rank") for source in sources]
    proposing = [rank.is_not_null().cast(pl.Float32) for rank in ranks]
    reciprocal = [(1.0 / rank.cast(pl.Float64)).fill_null(0.0) for rank in ranks]
    return candidates.with_columns(
        *(expression for source in sources for expression in _place_scores(source)),
        pl.sum_horizontal(proposing).alias("n_sources"),
        pl.min_horizontal(ranks).alias("best_rank"),
        (pl.sum_horizontal(reciprocal) / len(ranks)).alias("mean_reciprocal_rank"),
    )


def _place_scores(source: str) -> list[pl.Expr]:
    score = pl.col(f"{source}_score")
    spread = score.std().over("user_index")
    spread = pl.when(spread > 0).then(spread)
    z = (score - score.mean().over("user_index")) / spread
    gap = (score.max().over("user_index") - score) / spread
    # One candidate, or all scores equal: the item is neither above nor below the others.
    flat = pl.when(score.is_not_null()).then(0.0)
    return [
        pl.coalesce(z, flat).alias(f"{source}_z"),
        pl.coalesce(gap, flat).alias(f"{source}_gap"),
    ]
