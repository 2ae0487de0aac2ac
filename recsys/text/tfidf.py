"""Nearest neighbours of items by the TF-IDF similarity of their texts."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from recsys.config import TfidfConfig
from recsys.dataset import nearest_rows

# In scripts without spaces each character is a token; in all others each word is.
_SINGLE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = rf"[{_SINGLE}&&\w]|[\w--[{_SINGLE}]]+"
# Texts whose terms are counted at a time.
_TEXTS = 10_000


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
    counts = count_terms(texts, config.max_words)
    terms = counts.group_by("term").agg(pl.len().alias("df"))
    terms = terms.filter(pl.col("df").is_between(2, max(2.0, config.max_share * len(texts))))
    # Sorted, so that indices and sums do not depend on the order in which polars groups.
    numbered = terms.sort("term").with_row_index("number").with_columns(pl.col("number").cast(pl.Int64))
    kept = counts.join(numbered, on="term").drop("term").sort("item", "number")
    item, term, df = (kept[name].to_numpy() for name in ("item", "number", "df"))
    weights = (1.0 + np.log(kept["count"].to_numpy())) * (1.0 + np.log((1.0 + len(texts)) / (1.0 + df)))
    length = np.sqrt(np.bincount(item, weights=weights**2, minlength=len(texts)))
    data = (weights / length[item]).astype(np.float32)
    return csr_array((data, (item, term)), shape=(len(texts), numbered.height))


def count_terms(texts: pl.Series, max_words: int) -> pl.DataFrame:
    """Return `item`, `term`, `count` of every term in every text, in arbitrary order."""
    # In blocks: the sequences of all texts at once would take gigabytes.
    starts = range(0, max(1, len(texts)), _TEXTS)
    return pl.concat([_count_terms(texts.slice(start, _TEXTS), start, max_words) for start in starts])


def _count_terms(texts: pl.Series, first: int, max_words: int) -> pl.DataFrame:
    """Return `count_terms` of a block of texts, numbered from `first`."""
    tokens = (
        pl.DataFrame({"token": texts.str.to_lowercase().str.extract_all(_TOKEN)})
        .with_row_index("item", offset=first)
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
    """Return the `k` largest dot products of each item with other items, found by as many threads as torch has.

    Args:
        left: (n_items, n_terms) float32 sparse, 0 or more.
        right: the same shape.
        k: how many are kept.

    Returns:
        (n_items, n_items) float32 sparse, above 0; row = item of `left`, column = item of `right`; ties for the last
        of the `k` go to the smaller column.
    """
    return nearest_rows.find_nearest(left, csr_array(right.T), k, torch.get_num_threads())
