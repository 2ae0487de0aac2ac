"""Items that nobody gets and items that single users do not get, as lists that people keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys.config import RulesConfig, data_path
from recsys.dataset.user_items import read_ids
from recsys.storage.files import hash_text

_ITEMS = ("item_id",)
_PAIRS = ("user_id", "item_id")


def _no_rows(columns: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


@dataclass(frozen=True)
class BlockLists:
    """What lists must never hold, whatever the ranker says.

    Attributes:
        items: `item_id`, distinct: for nobody.
        pairs: `user_id`, `item_id`, distinct: not for that user.
    """

    items: pl.DataFrame = field(default_factory=lambda: _no_rows(_ITEMS))
    pairs: pl.DataFrame = field(default_factory=lambda: _no_rows(_PAIRS))

    @classmethod
    def read(cls, rules: RulesConfig) -> BlockLists:
        """Read the files that the rules name, relative to RECSYS_DATA; without a name nothing is blocked.

        Raises:
            DataError: a file is missing, is not CSV in UTF-8, or lacks a column.
        """
        tables = [
            _no_rows(columns) if path is None else read_ids(data_path(path), list(columns), "block list")
            for path, columns in ((rules.blocked_items, _ITEMS), (rules.blocked_pairs, _PAIRS))
        ]
        return cls(*tables)

    @property
    def empty(self) -> bool:
        """Nothing is blocked."""
        return self.items.is_empty() and self.pairs.is_empty()

    def withhold(self, items: pl.DataFrame) -> pl.DataFrame:
        """Return `Items` with the blocked ones marked unavailable: known and learned from, never recommended."""
        blocked = pl.col("item_id").is_in(self.items["item_id"].implode())
        return items.with_columns(available=pl.col("available") & ~blocked)

    def hashes(self) -> list[str]:
        """Return the SHA-256 of either list, for the record of what lists depend on."""
        return [hash_text(table.write_csv()) for table in (self.items, self.pairs)]

    def save(self, folder: Path) -> None:
        """Write both lists into an existing folder."""
        for name in ("items", "pairs"):
            getattr(self, name).write_parquet(folder / f"blocked_{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> BlockLists:
        """Read what `save` wrote."""
        return cls(*(pl.read_parquet(folder / f"blocked_{name}.parquet", glob=False) for name in ("items", "pairs")))
