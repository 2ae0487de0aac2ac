"""Vectors of the items from elsewhere -> columns of the catalogue, checked and scaled to unit length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ItemFiles, VectorFiles
from recsys.config.raw_files import RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.id_map import IdMap
from recsys.dataset.item_vectors import PREFIX, Vectors, make_column
from recsys.dataset.raw.reading import read_batches
from recsys.errors import DataError
from recsys.progress import format_count, logger

# Ids that a message names.
_SHOWN = 3
_NUMBERS = pl.List(pl.Float32)


def attach_vectors(files: ItemFiles, items: pl.DataFrame) -> pl.DataFrame:
    """Return the catalogue with a column for each of its vectors, in the order of the config.

    Args:
        files: of the items; names the vectors.
        items: `Items`, with the raw vectors of the items' own files in columns `vector:NAME`.

    Raises:
        DataError: a file cannot be read, or vectors have another length than most, numbers that are not finite, zeros
            only, an item twice, or too many unknown items.
    """
    item_ids, columns = items["item_id"], []
    for name, settings in files.vectors.items():
        what = name_place(name)
        if settings.path is None:
            rows = pl.DataFrame({"item_id": item_ids, "vector": items[PREFIX + name]})
        else:
            rows = pl.concat(read_vector_files(name, settings))
        vectors = _align(what, settings, check_vectors(what, rows), IdMap(item_ids))
        columns.append(make_column(name, vectors))
        logger.info(
            "%s: %s; %s of %s have a vector",
            what,
            format_count(vectors.rows.shape[1], "number"),
            f"{int(vectors.known.sum()):,}",
            format_count(len(item_ids), "item"),
        )
    return items.with_columns(columns)


def name_place(name: str) -> str:
    """Return what messages call the vectors of a name: their setting below `dataset`."""
    return f"items.vectors.{name}"


def read_vector_files(name: str, settings: VectorFiles, limit: int | None = None) -> Iterator[pl.DataFrame]:
    """Yield `item_id` and `vector` (lists of float32) of the rows of files that have a path of their own.

    Args:
        name: of the vectors.
        settings: where they are.
        limit: rows of each file to read; None: all.
    """
    what = name_place(name)
    columns = {"item_id": settings.item_id, PREFIX + name: settings.column}
    for batch in read_batches(what, RawFiles(path=settings.path or ""), columns, limit=limit):
        ids = clean_ids(batch.values["item_id"])
        vectors = as_numbers(what, settings.column, batch.values[PREFIX + name])
        yield pl.DataFrame({"item_id": ids, "vector": vectors})


def as_numbers(what: str, column: str, vectors: pl.Series) -> pl.Series:
    """Return raw vectors as lists of float32.

    Raises:
        DataError: the column holds something else.
    """
    kind = vectors.dtype
    if not isinstance(kind, pl.List | pl.Array) or not kind.inner.is_numeric():
        if vectors.null_count() == len(vectors):
            return pl.repeat(None, len(vectors), dtype=_NUMBERS, eager=True)
        raise DataError(
            f"{what}: column '{column}' is {kind}, expected lists of numbers; write Parquet with a list of numbers in "
            f"each row, or name another column in dataset.{what}.column"
        )
    lists = vectors.arr.to_list() if isinstance(kind, pl.Array) else vectors
    return lists.cast(_NUMBERS)


def check_vectors(what: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that have a vector.

    Args:
        what: for messages.
        rows: `item_id` and `vector`; null for an item without a vector.

    Raises:
        DataError: names every fault, with the number of vectors that have it and examples.
    """
    rows = rows.drop_nulls("vector")
    if rows.is_empty():
        raise DataError(f"{what}: no item has a vector; check the export, or remove the setting")
    lengths = rows["vector"].list.len()
    # Of equally frequent lengths the longest: a short vector is more likely cut off than a long one made up.
    size = int(lengths.value_counts().sort("count", "vector")["vector"][-1])
    if size < 2:
        raise DataError(
            f"{what}: most vectors have {format_count(size, 'number')}, expected at least 2; check the export"
        )
    faults = _describe(rows.filter(lengths != size), f"of another length than the other vectors' {size:,} numbers")
    equal = rows.filter(lengths == size)
    values = _to_matrix(equal["vector"], size)
    finite = np.isfinite(values).all(axis=1)
    faults += _describe(equal.filter(~pl.Series(finite)), "with a number that is missing, NaN or infinite")
    faults += _describe(equal.filter(pl.Series(finite & ~values.any(axis=1))), "of zeros, which have no direction")
    faults += _describe(rows.filter(rows["item_id"].is_null()), "without an item id")
    named = rows.filter(rows["item_id"].is_not_null())
    repeats = named.filter(~named["item_id"].is_first_distinct())
    faults += _describe(repeats, "of an item that already has one")
    if faults:
        raise DataError(f"{what}: {'; '.join(faults)}; fix the export, and write null for an item that has no vector")
    return rows


def _describe(rows: pl.DataFrame, fault: str) -> list[str]:
    """Return a sentence with the number of faulty vectors and the first ids; nothing without any."""
    if rows.is_empty():
        return []
    ids = rows["item_id"].drop_nulls().unique(maintain_order=True)[:_SHOWN]
    examples = f", such as {', '.join(map(repr, ids))}" if len(ids) else ""
    return [f"{format_count(rows.height, 'vector')} {fault}{examples}"]


def _align(what: str, settings: VectorFiles, rows: pl.DataFrame, catalogue: IdMap) -> Vectors:
    """Return the vectors of the catalogue's items; those of other items are left out and counted.

    Raises:
        DataError: too many are of other items.
    """
    places = catalogue.index_of(rows["item_id"])
    unknown = rows.filter(pl.Series(places < 0))
    if not unknown.is_empty():
        found = (
            f"{unknown.height:,} of {format_count(rows.height, 'vector')} {'is' if unknown.height == 1 else 'are'} of "
            f"items that the catalogue lacks, such as {', '.join(map(repr, unknown['item_id'][:_SHOWN]))}"
        )
        share = unknown.height / rows.height
        if share > settings.max_unknown_share or unknown.height == rows.height:
            raise DataError(
                f"{what}: {found}; that is {share:.1%}, more than dataset.{what}.max_unknown_share "
                f"{settings.max_unknown_share:g} allows; check dataset.{what}.item_id, export the vectors of the "
                "catalogue alone, or raise the limit"
            )
        logger.warning("%s: %s, and left out", what, found)
    known = places >= 0
    size = int(rows["vector"][0].len())
    values = np.zeros((len(catalogue.ids), size), dtype=np.float32)
    values[places[known]] = _scale(_to_matrix(rows["vector"].filter(pl.Series(known)), size))
    has_vector = np.zeros(len(values), dtype=np.bool_)
    has_vector[places[known]] = True
    return Vectors(values, has_vector)


def _to_matrix(vectors: pl.Series, size: int) -> NDArray[np.float32]:
    """Return (n, size) float32, NaN for a missing number."""
    matrix: NDArray[np.float32] = vectors.explode().to_numpy().astype(np.float32, copy=False)
    return matrix.reshape(-1, size) if len(vectors) else np.zeros((0, size), dtype=np.float32)


def _scale(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of unit length; the largest number is taken out first, whose square may not be a float32."""
    values = values / np.abs(values).max(axis=1, initial=0.0, keepdims=True)
    unit: NDArray[np.float32] = values / np.sqrt(np.vecdot(values, values))[:, None]
    return unit
