"""Block lists: items that no user gets, and items that single users do not get."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys.config import DatasetConfig, RulesConfig, data_path
from recsys.dataset.id_map import IdMap
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.user_items import read_ids, warn_of_unknown_ids
from recsys.progress import format_count, logger
from recsys.storage.files import hash_text, read_parquet

_ITEMS = ("item_id",)
_PAIRS = ("user_id", "item_id")


def _no_rows(columns: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def _read(path: str | None, columns: tuple[str, ...], known: IdMap) -> pl.DataFrame:
    if path is None:
        return _no_rows(columns)
    rows = read_ids(data_path(path), list(columns), "block list")
    logger.info("block list %s: %s", path, format_count(rows.height, "row"))
    warn_of_unknown_ids(rows["item_id"], known, f"block list {path}")
    return rows


@dataclass(frozen=True)
class BlockLists:
    """Items that lists must not hold, whatever their scores.

    Attributes:
        items: `item_id`, distinct: blocked for all users.
        pairs: `user_id`, `item_id`, distinct: blocked for that user.
    """

    items: pl.DataFrame = field(default_factory=lambda: _no_rows(_ITEMS))
    pairs: pl.DataFrame = field(default_factory=lambda: _no_rows(_PAIRS))

    @classmethod
    def read(cls, rules: RulesConfig, item_ids: pl.Series, dataset: DatasetConfig) -> BlockLists:
        """Read the files that the rules name, relative to RECSYS_DATA; without a name nothing is blocked.

        Args:
            rules: name the files.
            item_ids: of the catalogue, sorted; a warning counts the ids of a file that name none of its items.
            dataset: whether pseudonyms take the place of user ids.

        Raises:
            DataError: a file is missing, is not CSV in UTF-8, or lacks a column.
        """
        known = IdMap(item_ids)
        items, pairs = _read(rules.blocked_items, _ITEMS, known), _read(rules.blocked_pairs, _PAIRS, known)
        return cls(items, pairs.with_columns(name_users(dataset, pairs["user_id"])) if pairs.height else pairs)

    @property
    def empty(self) -> bool:
        """Whether nothing is blocked."""
        return self.items.is_empty() and self.pairs.is_empty()

    def withhold(self, items: pl.DataFrame) -> pl.DataFrame:
        """Return `Items` with blocked items marked unavailable: models learn from them, but never recommend them."""
        blocked = pl.col("item_id").is_in(self.items["item_id"].implode())
        return items.with_columns(available=pl.col("available") & ~blocked)

    def hashes(self) -> list[str]:
        """Return the SHA-256 of both lists, for manifests."""
        return [hash_text(table.write_csv()) for table in (self.items, self.pairs)]

    def save(self, folder: Path) -> None:
        """Write both lists into an existing folder."""
        for name in ("items", "pairs"):
            getattr(self, name).write_parquet(folder / f"blocked_{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> BlockLists:
        """Read what `save` wrote."""
        return cls(*(read_parquet(folder / f"blocked_{name}.parquet") for name in ("items", "pairs")))
