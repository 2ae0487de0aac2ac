"""Nearest neighbours of items by the TF-IDF similarity of their texts."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from recsys.config import TfidfConfig

# In scripts without spaces each character is a token; in all others each word is.
_SINGLE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = rf"[{_SINGLE}&&\w]|[\w--[{_SINGLE}]]+"
# Size of a block of similarities; 16 million float32 are 64 MB.
_CELLS = 16_000_000


def fit_tfidf(texts: pl.Series, config: TfidfConfig) -> csr_array:
    """Return each item's `k` nearest other items by the cosine of their TF-IDF vectors.

    Only texts are used, so an item without interactions has neighbours too. Items that share no term are not
    neighbours.

    Args:
        texts: (n_items) strings, one per item.
        config: how many words make a term, which terms count, and `k`.

    Returns:
        (n_items, n_items) float32 sparse, above 0 and at most 1; ties for the last of the `k` go to the
        smaller column.
    """
    vectors = weigh_terms(texts, config)
    return find_nearest(vectors, vectors, config.k)


def weigh_terms(texts: pl.Series, config: TfidfConfig) -> csr_array:
    """Return (n_items, n_terms) float32 sparse TF-IDF vectors (Salton and Buckley 1988), unit rows.

    A term is a sequence of 1 to `max_words` tokens. Its weight is (1 + log(count in the text)) times the smoothed
    inverse document frequency 1 + log((1 + n) / (1 + df)), where df of the n items have the term. Terms of a single
    item connect nothing, and terms of more than `max_share` of the items do not discriminate: both are left out. A text
    without terms is a row of zeros.
    """
    counts = count_terms(texts, config.max_words).with_columns(pl.len().over("term").alias("df"))
    kept = counts.filter(pl.col("df").is_between(2, max(2.0, config.max_share * len(texts))))
    # Sorted, so that indices and sums do not depend on the order in which polars groups.
    kept = kept.with_columns(pl.col("term").rank("dense").cast(pl.Int64) - 1).sort("item", "term")
    item, term, df = (kept[name].to_numpy() for name in ("item", "term", "df"))
    weights = (1.0 + np.log(kept["count"].to_numpy())) * (1.0 + np.log((1.0 + len(texts)) / (1.0 + df)))
    length = np.sqrt(np.bincount(item, weights=weights**2, minlength=len(texts)))
    data = (weights / length[item]).astype(np.float32)
    return csr_array((data, (item, term)), shape=(len(texts), int(term.max(initial=-1)) + 1))


def count_terms(texts: pl.Series, max_words: int) -> pl.DataFrame:
    """Return `item`, `term`, `count` of every term in every text, in arbitrary order."""
    tokens = (
        pl.DataFrame({"token": texts.str.to_lowercase().str.extract_all(_TOKEN)})
        .with_row_index("item")
        .explode("token")
        .drop_nulls()
    )
    following = [pl.col("token").shift(-step).over("item") for step in range(max_words)]
    # A sequence that would extend past the end of its text is null.
    sequences = [
        tokens.select("item", pl.concat_str(following[: step + 1], separator=" ").alias("term"))
        for step in range(max_words)
    ]
    return pl.concat(sequences).drop_nulls().group_by("item", "term").agg(pl.len().alias("count"))


def find_nearest(left: csr_array, right: csr_array, k: int) -> csr_array:
    """Return the `k` largest dot products of each item with other items, computed in blocks of rows.

    Args:
        left: (n_items, n_terms) float32 sparse, 0 or more.
        right: the same shape.
        k: how many are kept.

    Returns:
        (n_items, n_items) float32 sparse, above 0; row = item of `left`, column = item of `right`; ties for the last
        of the `k` go to the smaller column.
    """
    size = left.shape[0]
    batch = max(1, _CELLS // max(1, size))
    columns = csr_array(right.T)
    rows = [_find_nearest(left, columns, start, batch, k) for start in range(0, size, batch)]
    return csr_array(vstack(rows)) if rows else csr_array((0, 0), dtype=np.float32)


def _find_nearest(vectors: csr_array, columns: csr_array, start: int, batch: int, k: int) -> csr_array:
    """Return the `k` largest dot products of a block of items with all others."""
    similarity: NDArray[np.float32] = (vectors[start : start + batch] @ columns).toarray()
    own = np.arange(len(similarity))
    similarity[own, start + own] = 0.0
    if k < similarity.shape[1]:
        least = np.partition(similarity, -k, axis=1)[:, [-k]]
        above, level = similarity > least, similarity == least
        spare = k - above.sum(axis=1, keepdims=True)
        similarity[~(above | (level & (np.cumsum(level, axis=1, dtype=np.int32) <= spare)))] = 0.0
    return csr_array(similarity)
