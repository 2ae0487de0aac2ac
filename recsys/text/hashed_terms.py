"""Terms of item texts, hashed into a fixed number of buckets: they catch names and series that embeddings miss."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.text.tfidf import count_terms

# A term has at most this many words, or characters in scripts without spaces.
_MAX_WORDS = 2
# Terms in more than this share of the items do not discriminate.
_MAX_SHARE = 0.1


def count_hashed_terms(texts: pl.Series, buckets: int) -> csr_array:
    """Return (n_items, buckets) float32 sparse: the sum of 1 + log(term count) over the terms in each bucket.

    A term's bucket depends on its characters alone (Weinberger et al. 2009, ICML), so a text has the same row in every
    catalogue.
    """
    counts = count_terms(texts, _MAX_WORDS).sort("item", "term")
    terms = counts["term"].unique().sort()
    hashes = [crc32(term.encode(errors="replace")) % buckets for term in terms]
    bucket = pl.DataFrame({"term": terms, "bucket": pl.Series(hashes, dtype=pl.Int64)})
    rows = counts.join(bucket, on="term", how="left", maintain_order="left")
    item, column = rows["item"].to_numpy(), rows["bucket"].to_numpy()
    values = (1.0 + np.log(rows["count"].to_numpy())).astype(np.float32)
    hashed = csr_array((values, (item, column)), shape=(len(texts), buckets))
    hashed.sum_duplicates()
    return hashed


def weigh_buckets(terms: csr_array) -> NDArray[np.float32]:
    """Return (buckets) float32 inverse document frequencies, 1 + log((1 + n) / (1 + df)).

    The weight is 0 for buckets that occur in one item only, or in too many.
    """
    df = np.bincount(terms.indices, minlength=terms.shape[1])
    discriminates = (df >= 2) & (df <= max(2.0, _MAX_SHARE * terms.shape[0]))
    weights: NDArray[np.float32] = np.where(discriminates, 1.0 + np.log((1.0 + terms.shape[0]) / (1.0 + df)), 0.0)
    return weights.astype(np.float32)


def scale_terms(terms: csr_array, weights: NDArray[np.float32]) -> csr_array:
    """Return the rows weighted by bucket, unit length; buckets of weight 0 are removed, so a row may be empty."""
    scaled = csr_array(terms.multiply(weights[None, :]))
    scaled.eliminate_zeros()
    length = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    scaled.data = (scaled.data / np.repeat(length, np.diff(scaled.indptr))).astype(np.float32)
    return scaled
