"""The table of `recsys prune`, at most 80 columns wide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from recsys.cli.tables import start_table

if TYPE_CHECKING:
    from recsys.pipelines.prune import PrunedItem

_HASH = re.compile(r"[0-9a-f]{64}")


def prune_table(items: Sequence[PrunedItem]) -> Table:
    """Lay out what was deleted, or may be: a row each."""
    table = start_table("", "kind", "name", "size", "age", "why", words=("name", "why"))
    for item in items:
        # A cache names its files by hashes.
        name = _HASH.sub(lambda match: f"{match[0][:8]}…", item.name)
        cells = (item.kind, name, format_size(item.bytes), format_age(item.age_days), item.error or item.why)
        table.add_row(*(Text(cell, "bold" if item.error else "") for cell in cells))
    return table


def format_size(size: int) -> str:
    """Return bytes as text, such as `12.3 MB`."""
    if size < 1_000_000:
        return f"{size / 1e3:,.0f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:,.2f} GB"


def format_age(days: float) -> str:
    """Return an age as text, such as `12 d`."""
    return f"{days:,.0f} d" if days >= 1 else f"{days * 24:,.0f} h"
