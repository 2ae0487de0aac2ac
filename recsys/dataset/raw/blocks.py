"""What the reader of each format gives: blocks of consecutive rows with raw columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

# Name of a column that is there only so that a block of which no column is needed has its rows.
NO_COLUMN = "\n"

Rows = Callable[[pl.Series], list[int]]
Texts = Callable[[pl.Series], list[str]]


@dataclass(frozen=True)
class RawBlock:
    """Consecutive rows of a source, with types as the format has them.

    Attributes:
        columns: a column per raw name that was asked for.
        first_row: number of the first row in its source, 1 the first row of data.
        locate: returns the lines, from 1 as an editor counts, of the rows with the given ascending indexes into the
            block; for forms without lines the row numbers.
        content: returns the whole rows with the given ascending indexes as JSON.
    """

    columns: pl.DataFrame
    first_row: int
    locate: Rows
    content: Texts

    def part(self, start: int, rows: int) -> RawBlock:
        """Return `rows` rows from the index `start` on, fewer at the end."""
        if start == 0 and rows >= self.columns.height:
            return self
        return RawBlock(
            columns=self.columns.slice(start, rows),
            first_row=self.first_row + start,
            locate=lambda chosen: self.locate(chosen + start),
            content=lambda chosen: self.content(chosen + start),
        )


def row_numbers(first_row: int, chosen: pl.Series) -> list[int]:
    """Return the numbers of the rows with some indexes into a block, for forms without lines."""
    return [first_row + index for index in chosen]
