"""Features of candidates, as of the cut-off of the histories they are made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.statistics import ItemStatistics
from recsys.dataset.histories import SECONDS_PER_DAY, Histories

# How many of the newest items a candidate's text is compared with.
_RECENT = 5
_USERS_AT_ONCE = 256

SOURCE_FEATURES = {
    "rank": "Place of the item among the source's proposals, 1 the best.",
    "z": "Score in standard deviations above the mean of the user's candidates.",
    "gap": "Score below the best of the user's candidates, in standard deviations.",
}

OTHER_FEATURES = {
    "n_sources": "Number of sources that propose the item.",
    "item_users": "Log of one plus the users who touched the item.",
    "item_recent": "Log of one plus the same, each touch halved every half-life.",
    "item_trend": "Difference of the two: near zero while the item is in fashion.",
    "item_age_days": "Days since the item joined the catalogue, else since its first touch.",
    "item_text_length": "Characters of title and description.",
    "user_items": "Log of one plus the distinct items of the user.",
    "user_days_since_last": "Days since the user's last touch.",
    "user_popularity": "Mean of item_users over the user's items: a taste for the popular.",
    "popularity_fit": "item_users minus user_popularity.",
    "text_last": "Cosine of the item's text with the user's newest item.",
    "text_recent_max": "Largest cosine with the user's five newest items.",
    "text_recent_mean": "Mean cosine with the user's five newest items.",
    "had_count": "How many times the user has already had the item.",
    "had_days": "Days since the user last had the item.",
    "had_interval_days": "Mean days between the user's earlier takes of the item.",
}


def name_features(sources: Sequence[str]) -> list[str]:
    """Return the feature columns, in order, for the given sources."""
    return [f"{source}_{kind}" for source in sources for kind in SOURCE_FEATURES] + list(OTHER_FEATURES)


def make_features(
    candidates: pl.DataFrame,
    histories: Histories,
    items: pl.DataFrame,
    statistics: ItemStatistics,
    embeddings: NDArray[np.float32],
    sources: Sequence[str],
) -> pl.DataFrame:
    """Return the candidates' keys and one Float32 column per feature, null where there is nothing to say.

    Args:
        candidates: `Candidates` of these histories.
        histories: as of the cut-off; no later event can reach a feature.
        items: `Items` in the order of `histories.item_ids`.
        statistics: of the same histories.
        embeddings: (n_items, embedding_size) float32, unit rows.
        sources: names of the sources in the candidates.
    """
    user = candidates["user_index"].to_numpy()
    item = candidates["item_index"].to_numpy()
    columns = _item_features(item, items, statistics, histories)
    columns |= _user_features(user, histories, statistics)
    columns["popularity_fit"] = columns["item_users"] - columns["user_popularity"]
    columns |= _text_features(candidates, histories, embeddings)
    columns |= _repeat_features(user, item, histories)
    others = pl.DataFrame({name: columns[name] for name in OTHER_FEATURES if name in columns})
    ranks = [pl.col(f"{source}_rank") for source in sources]
    return (
        candidates.with_columns(
            *(expression for source in sources for expression in _source_features(source)),
            pl.sum_horizontal(rank.is_not_null().cast(pl.Float32) for rank in ranks).alias("n_sources"),
        )
        .hstack(others)
        .select(
            "user_index",
            "item_index",
            *(pl.col(name).cast(pl.Float32).fill_nan(None) for name in name_features(sources)),
        )
    )


def _source_features(source: str) -> list[pl.Expr]:
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


_Columns = dict[str, NDArray[np.float32]]


def _item_features(
    item: NDArray[np.uint32], items: pl.DataFrame, statistics: ItemStatistics, histories: Histories
) -> _Columns:
    users, recent = np.log1p(statistics.users), np.log1p(statistics.recent)
    lengths = items.select(pl.col("title").str.len_chars() + pl.col("description").str.len_chars())
    ages = statistics.first_age
    if histories.reference is not None:
        seconds = (pl.lit(histories.reference) - pl.col("created_at")).dt.total_seconds()
        listed = items.select((seconds / SECONDS_PER_DAY).cast(pl.Float32).alias("age"))["age"]
        ages = np.where(listed.is_null().to_numpy(), ages, listed.fill_null(0.0).to_numpy())
    return {
        "item_users": users[item],
        "item_recent": recent[item],
        "item_trend": (recent - users)[item],
        "item_age_days": ages[item].astype(np.float32),
        "item_text_length": lengths.to_series().to_numpy().astype(np.float32)[item],
    }


def _user_features(user: NDArray[np.uint32], histories: Histories, statistics: ItemStatistics) -> _Columns:
    lengths = histories.lengths
    popularity = np.log1p(statistics.users)[histories.items]
    mean = np.bincount(histories.users, weights=popularity, minlength=histories.n_users) / np.maximum(lengths, 1)
    newest = np.full(histories.n_users, np.nan, dtype=np.float32)
    touched = lengths > 0
    newest[touched] = histories.ages[histories.starts[1:][touched] - 1]
    return {
        "user_items": np.log1p(lengths)[user].astype(np.float32),
        "user_days_since_last": newest[user],
        "user_popularity": np.where(touched, mean, np.nan)[user].astype(np.float32),
    }


def _text_features(candidates: pl.DataFrame, histories: Histories, embeddings: NDArray[np.float32]) -> _Columns:
    item = candidates["item_index"].to_numpy()
    ends = np.searchsorted(candidates["user_index"].to_numpy(), np.arange(histories.n_users + 1))
    similar = np.full((len(item), _RECENT), np.nan, dtype=np.float32)
    recent = histories.recent_items(_RECENT)
    for start in range(0, histories.n_users, _USERS_AT_ONCE):
        stop = min(start + _USERS_AT_ONCE, histories.n_users)
        rows = slice(ends[start], ends[stop])
        counts = np.diff(ends[start : stop + 1])
        # Candidates of each user side by side, so that one call serves all of them.
        places = np.arange(counts.max(initial=0))[None, :]
        real = places < counts[:, None]
        padded = np.zeros(real.shape, dtype=np.int64)
        padded[real] = item[rows]
        newest = embeddings[np.maximum(recent[start:stop], 0)]
        # One dot product per pair: a matrix product's last bits depend on how many candidates stand side by side.
        products = np.vecdot(embeddings[padded][:, :, None, :], newest[:, None, :, :])
        products[np.broadcast_to((recent[start:stop] < 0)[:, None, :], products.shape)] = np.nan
        similar[rows] = products[real]
    known = ~np.isnan(similar)
    count = known.sum(1)
    filled = np.where(known, similar, 0.0)
    highest = np.where(known, similar, -np.inf).max(1, initial=-np.inf)
    return {
        "text_last": similar[:, 0],
        "text_recent_max": np.where(count > 0, highest, np.nan).astype(np.float32),
        "text_recent_mean": np.where(count > 0, filled.sum(1) / np.maximum(count, 1), np.nan).astype(np.float32),
    }


def _repeat_features(user: NDArray[np.uint32], item: NDArray[np.uint32], histories: Histories) -> _Columns:
    keys = histories.users.astype(np.int64) * histories.n_items + histories.items
    order = np.argsort(keys, kind="stable")
    wanted = user.astype(np.int64) * histories.n_items + item
    place = np.searchsorted(keys, wanted, sorter=order)
    entry = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(wanted), dtype=np.int64)
    had = (keys[entry] == wanted) if len(order) else np.zeros(len(wanted), dtype=bool)
    counts = np.where(had, histories.counts[entry] if len(order) else 0.0, 0.0).astype(np.float32)
    missing = np.full(len(wanted), np.nan, dtype=np.float32)
    if not had.any():
        return {"had_count": counts, "had_days": missing, "had_interval_days": missing}
    days = np.where(had, histories.ages[entry], np.nan).astype(np.float32)
    span = histories.first_ages[entry] - histories.ages[entry]
    interval = np.where(had & (counts > 1), span / np.maximum(counts - 1, 1), np.nan).astype(np.float32)
    return {"had_count": counts, "had_days": days, "had_interval_days": interval}
