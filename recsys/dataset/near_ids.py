"""Unknown ids that are nearly known: spelt with other zeros, letters or invisible characters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

_INVISIBLE = r"[\p{Cf}\p{Cc}\p{Z}]"
_ZEROS = r"^0+([0-9])"


@dataclass(frozen=True)
class NearId:
    """An unknown id, the known id that it nearly is, and how the two differ."""

    id: str
    near: str
    difference: str


def find_near_ids(unknown: pl.Series, known: pl.Series) -> list[NearId]:
    """Return the unknown ids that differ from a known one only in leading zeros, letter case, the Unicode form of
    accents, or invisible characters and spaces.

    Args:
        unknown: clean ids that are not among the known ones.
        known: clean ids.
    """  # noqa: D205
    if not len(unknown) or not len(known):
        return []
    right = pl.DataFrame({"near": known, "key": _simplify(known)}).unique("key", keep="first", maintain_order=True)
    left = pl.DataFrame({"id": unknown, "key": _simplify(unknown)})
    pairs = left.join(right, on="key", how="inner", maintain_order="left")
    return [NearId(one, near, _describe(one, near)) for one, near in pairs.select("id", "near").iter_rows()]


def _simplify(ids: pl.Series) -> pl.Series:
    visible = ids.str.replace_all(_INVISIBLE, "").str.normalize("NFC").str.to_lowercase()
    return visible.str.replace(_ZEROS, "${1}")


def _describe(one: str, near: str) -> str:
    steps: dict[str, Callable[[pl.Series], pl.Series]] = {
        "letter case": lambda ids: ids.str.to_lowercase(),
        "leading zeros": lambda ids: ids.str.replace(_ZEROS, "${1}"),
        "the Unicode form of accents (NFC)": lambda ids: ids.str.normalize("NFC"),
        "invisible characters or spaces": lambda ids: ids.str.replace_all(_INVISIBLE, ""),
    }
    both = pl.Series([one, near])
    for name, step in steps.items():
        if step(both).n_unique() == 1:
            return name
    return "spelling"
