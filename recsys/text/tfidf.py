"""Nearest neighbours of items by the TF-IDF similarity of their texts."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import TfidfConfig
from recsys.storage.compilation import compiled
from recsys.text.inference import spread

# In scripts without spaces each character is a token; in all others each word is.
_SINGLE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = rf"[{_SINGLE}&&\w]|[\w--[{_SINGLE}]]+"
# Texts whose terms are counted at a time.
_TEXTS = 10_000
# Items whose neighbours a thread finds at a time.
_BLOCK = 1024
# Ranges of similarity that are counted to find the least that is kept.
_BINS = 1024


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
    """Return the `k` largest dot products of each item with other items.

    Args:
        left: (n_items, n_terms) float32 sparse, 0 or more.
        right: the same shape.
        k: how many are kept.

    Returns:
        (n_items, n_items) float32 sparse, above 0; row = item of `left`, column = item of `right`; ties for the last
        of the `k` go to the smaller column.
    """
    size = left.shape[0]
    columns = csr_array(right.T)
    parts = (left.data, left.indices, left.indptr, columns.data, columns.indices, columns.indptr)

    def find(start: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        found: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]] = _find_nearest(
            *parts, start, min(start + _BLOCK, size), size, k
        )
        return found

    blocks = list(spread(find, range(0, size, _BLOCK), share=False))
    if not blocks:
        return csr_array((0, 0), dtype=np.float32)
    counts, indices, data = (np.concatenate([block[place] for block in blocks]) for place in range(3))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    # Both index arrays are of the same type in a file, int32 unless they are longer.
    small = len(data) <= np.iinfo(np.int32).max
    return csr_array((data, indices, starts.astype(np.int32) if small else starts), shape=(size, size))


@compiled()
def _find_nearest(data, indices, starts, term_data, term_items, term_starts, first, last, size, k):  # type: ignore[no-untyped-def]
    """Return the number of neighbours of some items, and the columns, ascending, and the similarities of all of them.

    The memory is one similarity per item of the catalogue, whatever the number of items with a term in common.
    """
    similarity = np.zeros(size, dtype=np.float32)
    others, shares = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
    counts = np.zeros(last - first, dtype=np.int64)
    columns = np.empty((last - first) * min(k, size), dtype=np.int32)
    values = np.empty(len(columns), dtype=np.float32)
    count = 0
    for item in range(first, last):
        for entry in range(starts[item], starts[item + 1]):
            term, weight = indices[entry], data[entry]
            for place in range(term_starts[term], term_starts[term + 1]):
                similarity[term_items[place]] += weight * term_data[place]
        similarity[item] = 0.0
        found = 0
        for other in range(size):
            if similarity[other] > 0.0:
                others[found] = other
                shares[found] = similarity[other]
                similarity[other] = 0.0
                found += 1
        least, spare = _find_least(shares[:found], k)
        begin = count
        for place in range(found):
            value = shares[place]
            tie = value == least
            if value > least or (tie and spare > 0):
                spare -= tie
                columns[count] = others[place]
                values[count] = value
                count += 1
        counts[item - first] = count - begin
    return counts, columns[:count].copy(), values[:count].copy()


@compiled()
def _find_least(values, k):  # type: ignore[no-untyped-def]
    """Return the `k`-th largest of values above 0, and how many of exactly that value are among the `k` largest.

    With fewer than `k` values it is 0, so all of them are larger.
    """
    if len(values) < k:
        return np.float32(0.0), 0
    bins = np.zeros(_BINS + 1, dtype=np.int64)
    for value in values:
        bins[min(int(value * _BINS), _BINS)] += 1
    # Bins are taken from the top; the k-th largest value is in the one that completes k.
    above, last = 0, _BINS
    while above + bins[last] < k:
        above += bins[last]
        last -= 1
    within = np.empty(bins[last], dtype=np.float32)
    count = 0
    for value in values:
        if min(int(value * _BINS), _BINS) == last:
            within[count] = value
            count += 1
    within.sort()
    least = within[count - (k - above)]
    larger = above
    for value in within:
        if value > least:
            larger += 1
    return least, k - larger
