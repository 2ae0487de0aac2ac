"""Small samples of a night that the next nights are compared with: histories, texts and lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import dataframely as dy
import polars as pl

from recsys.errors import ArtifactError, DataError
from recsys.storage.files import read_table, write_table
from recsys.tables import ItemVectors, empty

# Distinct items per sampled user, the newest ones.
ITEMS_PER_USER = 30
# Characters of a text that are kept.
_TEXT_LENGTH = 120
_NEXT_STEP = "delete that folder; the next nights are compared with the remaining ones"
_RESOLUTION = 2**20


class HistorySketch(dy.Schema):
    """The newest distinct items of some users, sorted."""

    user_id = dy.String(primary_key=True)
    item_id = dy.String(primary_key=True)


class TextSketch(dy.Schema):
    """The beginnings of the texts of some items, sorted."""

    item_id = dy.String(primary_key=True)
    title = dy.String(nullable=False)
    description = dy.String(nullable=False)


class ListSketch(dy.Schema):
    """The lists of some users, sorted."""

    user_id = dy.String(primary_key=True)
    rank = dy.UInt16(primary_key=True)
    item_id = dy.String(nullable=False)
    score = dy.Float32(nullable=False)
    fallback = dy.Bool(nullable=False)


class FeatureSketch(dy.Schema):
    """The features of one candidate of each of some users: sorted by feature, the users in the same order each time."""

    feature = dy.String(nullable=False)
    value = dy.Float32(nullable=True)


_TABLES: dict[str, type[dy.Schema]] = {
    "histories": HistorySketch,
    "texts": TextSketch,
    "lists": ListSketch,
    "features": FeatureSketch,
    "vectors": ItemVectors,
}


@dataclass(frozen=True)
class Sketches:
    """The samples of one night.

    Attributes:
        histories: `HistorySketch`.
        texts: `TextSketch`.
        lists: `ListSketch`; no rows without lists.
        features: `FeatureSketch`; no rows where the lists have no sample.
        vectors: `ItemVectors`, likewise.
    """

    histories: pl.DataFrame
    texts: pl.DataFrame
    lists: pl.DataFrame
    features: pl.DataFrame = field(default_factory=lambda: empty(FeatureSketch))
    vectors: pl.DataFrame = field(default_factory=lambda: empty(ItemVectors))

    def write(self, folder: Path) -> None:
        """Write a parquet file for each sample."""
        for name, schema in _TABLES.items():
            write_table(getattr(self, name), schema, folder / f"{name}.parquet", f"sample '{name}'")

    @classmethod
    def read(cls, folder: Path) -> Sketches:
        """Read what `write` wrote.

        Raises:
            ArtifactError: a file is missing or not readable.
        """
        tables = {
            name: read_table(folder / f"{name}.parquet", schema, f"sample '{name}'", _NEXT_STEP)
            for name, schema in _TABLES.items()
        }
        return cls(**tables)


def read_list_sketch(folder: Path) -> pl.DataFrame:
    """Return the `ListSketch` of the samples in a folder; no rows where it is missing or cannot be read."""
    try:
        return read_table(folder / "lists.parquet", ListSketch, "sample 'lists'", _NEXT_STEP)
    except (ArtifactError, DataError):
        return empty(ListSketch)


def is_sampled(column: str, size: int, total: int) -> pl.Expr:
    """Return an expression that chooses about `size` of `total` ids, always the same ones while total changes little.

    The hash may differ between versions of polars. Samples hold the ids themselves, so they remain comparable.
    """
    # A power of two, so that growth changes the sample rarely, and then to a part or a superset of it.
    share = 1.0
    while share * total > size:
        share /= 2
    return (pl.col(column).hash(seed=0) % _RESOLUTION) < int(share * _RESOLUTION)


def shorten_texts(items: pl.DataFrame) -> pl.DataFrame:
    """Return `TextSketch` of all given items."""
    return items.select(
        "item_id", *(pl.col(name).str.strip_chars().str.slice(0, _TEXT_LENGTH) for name in ("title", "description"))
    ).sort("item_id")
