"""Numbers for the texts of a column: ids and event kinds, each distinct text looked at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.cleaning.ids import clean_ids, has_control_characters, is_list, is_rounded, is_too_long
from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.id_map import IdMap
from recsys.dataset.pseudonyms import Pseudonyms

# What texts that have no number are.
MISSING, UNPRINTABLE, ROUNDED, LISTED, UNKNOWN, FORGOTTEN, TOO_LONG = -1, -2, -3, -4, -5, -6, -7


class TextNumbers:
    """Numbers of texts, from batch to batch.

    Args:
        number: returns the number of each of some texts that were not seen before, (n) int32.
    """

    def __init__(self, number: Callable[[pl.Series], NDArray[np.int32]]) -> None:
        self._texts = pl.Categorical(pl.Categories.random())
        # polars forgets categories that no series has.
        self._all_texts = pl.Series(dtype=pl.String).cast(self._texts)
        self._number = number
        self._numbers = np.zeros(0, dtype=np.int32)

    def read(self, values: pl.Series) -> NDArray[np.int32]:
        """Return the number of each value, `MISSING` for null."""
        codes = values.cast(pl.String).cast(self._texts).to_physical()
        seen, last = len(self._numbers), codes.max()
        if isinstance(last, int) and last >= seen:
            new = pl.Series(np.arange(seen, last + 1, dtype=np.uint32)).cat.to(self._texts).cast(pl.String)
            self._numbers = np.concatenate([self._numbers, self._number(new)])
        numbers: NDArray[np.int32] = np.append(self._numbers, np.int32(MISSING))
        return np.asarray(numbers[codes.fill_null(len(self._numbers)).to_numpy()])


class UserNumbers(TextNumbers):
    """Numbers of users, in no particular order; the same clean id has the same number.

    Args:
        words: that mean a missing id, beside the usual ones.
        pseudonyms: take the place of the ids; None: the ids stay.
        forgotten: users who have no number; None: nobody is forgotten.
    """

    def __init__(
        self,
        words: Sequence[str],
        pseudonyms: Pseudonyms | None = None,
        forgotten: ForgottenUsers | None = None,
    ) -> None:
        super().__init__(self._number_users)
        self._words, self._pseudonyms, self._forgotten = words, pseudonyms, forgotten
        self._ids = pl.Categorical(pl.Categories.random())
        self._all_ids = pl.Series(dtype=pl.String).cast(self._ids)
        self._count = 0

    def _number_users(self, texts: pl.Series) -> NDArray[np.int32]:
        ids, faults = _clean(texts, self._words)
        ids = ids.set(pl.Series(faults < 0), None)
        gone = self._find_forgotten(ids)
        if self._pseudonyms is not None:
            ids = self._pseudonyms.replace(ids)
            # Somebody may have been forgotten by the pseudonym alone.
            gone |= self._find_forgotten(ids)
        faults[gone] = FORGOTTEN
        ids = ids.set(pl.Series(gone), None)
        codes = ids.cast(self._ids).to_physical()
        last = codes.max()
        self._count = max(self._count, last + 1 if isinstance(last, int) else 0)
        return np.where(faults < 0, faults, codes.fill_null(0).to_numpy().astype(np.int32)).astype(np.int32)

    def _find_forgotten(self, ids: pl.Series) -> NDArray[np.bool_]:
        return np.zeros(len(ids), dtype=np.bool_) if self._forgotten is None else self._forgotten.find(ids)

    @property
    def ids(self) -> pl.Series:
        """The clean id or the pseudonym of each number."""
        return pl.Series(np.arange(self._count, dtype=np.uint32)).cat.to(self._ids).cast(pl.String)


def number_items(item_ids: pl.Series, words: Sequence[str]) -> TextNumbers:
    """Return numbers of items: their index in the catalogue.

    Args:
        item_ids: the catalogue's, sorted.
        words: that mean a missing id, beside the usual ones.
    """
    catalogue = IdMap(item_ids)

    def number(texts: pl.Series) -> NDArray[np.int32]:
        ids, faults = _clean(texts, words)
        # What a list of items means is clear from the catalogue, which may know its members.
        faults[(faults == LISTED) | (faults == TOO_LONG)] = 0
        indexes = catalogue.index_of(ids)
        return np.where(faults < 0, faults, np.where(indexes < 0, UNKNOWN, indexes)).astype(np.int32)

    return TextNumbers(number)


def number_kinds(kinds: Sequence[str], words: Sequence[str]) -> TextNumbers:
    """Return numbers of event kinds: their index among the given ones."""

    def number(texts: pl.Series) -> NDArray[np.int32]:
        trimmed = texts.str.strip_chars()
        indexes = trimmed.replace_strict(
            list(kinds), list(range(len(kinds))), default=UNKNOWN, return_dtype=pl.Int32
        ).to_numpy()
        missing = drop_missing(trimmed, words).is_null().to_numpy()
        return np.where(missing & (indexes == UNKNOWN), MISSING, indexes).astype(np.int32)

    return TextNumbers(number)


def _clean(texts: pl.Series, words: Sequence[str]) -> tuple[pl.Series, NDArray[np.int32]]:
    """Return clean ids, and 0 or what is wrong with each."""
    ids = clean_ids(texts, words)
    flags = pl.DataFrame({"id": ids}).select(
        missing=pl.col("id").is_null(),
        unprintable=has_control_characters(pl.col("id")).fill_null(False),
        rounded=is_rounded(pl.col("id")).fill_null(False),
        listed=is_list(pl.col("id")).fill_null(False),
        too_long=is_too_long(pl.col("id")).fill_null(False),
    )
    faults = np.select(
        [flags[name].to_numpy() for name in flags.columns],
        [MISSING, UNPRINTABLE, ROUNDED, LISTED, TOO_LONG],
        default=0,
    ).astype(np.int32)
    return ids, faults
