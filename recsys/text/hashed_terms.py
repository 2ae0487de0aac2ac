"""Words of the items' texts, in as many columns as wanted: names and series that a sentence's meaning passes over."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.text.tfidf import count_terms

# Runs of up to so many words; characters in scripts without spaces.
_MAX_WORDS = 2
# Terms of more than this share of the items tell nothing.
_MAX_SHARE = 0.1


def count_words(texts: pl.Series, buckets: int) -> csr_array:
    """Return (n_items, buckets) float32 sparse: 1 + log(times in the text) of the terms hashed into each bucket.

    A term's bucket depends on its letters alone (Weinberger et al. 2009, ICML), so a text has the same row in every
    catalogue. Terms that share a bucket add up.
    """
    counts = count_terms(texts, _MAX_WORDS).sort("item", "term")
    terms = counts["term"].unique().sort()
    numbers = pl.Series("bucket", [crc32(term.encode(errors="replace")) % buckets for term in terms], dtype=pl.Int64)
    bucket = pl.DataFrame({"term": terms, "bucket": numbers})
    rows = counts.join(bucket, on="term", how="left", maintain_order="left")
    item, column = rows["item"].to_numpy(), rows["bucket"].to_numpy()
    values = (1.0 + np.log(rows["count"].to_numpy())).astype(np.float32)
    counted = csr_array((values, (item, column)), shape=(len(texts), buckets))
    counted.sum_duplicates()
    return counted


def weigh_buckets(words: csr_array) -> NDArray[np.float32]:
    """Return (buckets) float32, how much each tells: 1 + log((1 + n) / (1 + df)); 0 for one item's or too many's."""
    df = np.bincount(words.indices, minlength=words.shape[1])
    telling = (df >= 2) & (df <= max(2.0, _MAX_SHARE * words.shape[0]))
    weights: NDArray[np.float32] = np.where(telling, 1.0 + np.log((1.0 + words.shape[0]) / (1.0 + df)), 0.0)
    return weights.astype(np.float32)


def scale_words(words: csr_array, weights: NDArray[np.float32]) -> csr_array:
    """Return the rows with each bucket weighed, unit length; buckets of weight 0 are gone, and a row may be empty."""
    scaled = csr_array(words.multiply(weights[None, :]))
    scaled.eliminate_zeros()
    length = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    scaled.data = (scaled.data / np.repeat(length, np.diff(scaled.indptr))).astype(np.float32)
    return scaled
