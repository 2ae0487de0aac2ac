"""The items of the demo and their hidden properties, which decide their texts and their users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.demo.grammar import GENRES, MOODS, MOTIFS, THEMES_PER_GENRE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY = 86_400
START = np.datetime64("2025-01-01T00:00:00", "s")

# Items that exist at the start were released up to this long before it.
OLDEST_DAYS = 730
# The catalogue lists an item this long before its release, so a night knows its text before it has users.
LISTED_DAYS_BEFORE = 10

_SHARE_AT_START = 0.7
_SHARE_IN_SERIES = 0.4
_SERIES_LENGTH = 4
_SHARE_MIXED = 0.3
_SHARE_AVAILABLE = 0.985
# Popularity falls with the rank to this power, as in Zipf's law.
_ZIPF = 0.7


@dataclass(frozen=True)
class Catalogue:
    """The hidden properties of the items. Every array has one entry per item, in order of release."""

    n_themes: int
    # (n_items,) int64. Themes 2j and 2j + 1 please the same users.
    theme: Ints
    # (n_items,) int64: a second theme of the item; -1 for none.
    second: Ints
    motif: Ints
    mood: Ints
    # (n_items,) float64: how often the item is shown, apart from its fit; above 0.
    quality: Floats
    # (n_items,) int64: time of release in seconds since the start, negative before it; ascending.
    released: Ints
    # (n_items,) int64: number in its series, from 1; 0 without a series.
    part: Ints
    # (n_items,) int64: the first item of its series; itself without a series.
    first: Ints
    # (n_items,) int64: the next item of its series; -1 for none.
    following: Ints
    available: NDArray[np.bool_]

    @property
    def n_items(self) -> int:
        """Return the number of items."""
        return len(self.theme)


def draw_catalogue(items: int, days: int, seed: int) -> Catalogue:
    """Draw the properties of the items, which do not depend on the language.

    Small catalogues have fewer themes, so that each keeps about five items or more. Themes are equally large.
    70 % of the items exist at the start, the others arrive evenly over the period.
    """
    rng = np.random.default_rng([seed, 0])
    n_themes = min(GENRES * THEMES_PER_GENRE, 2 * (items // 10))
    at_start = round(_SHARE_AT_START * items)
    released = np.concatenate(
        [-rng.integers(1, OLDEST_DAYS * DAY, at_start), rng.integers(0, days * DAY, items - at_start)]
    )
    released.sort()
    theme = rng.permutation(items) % n_themes
    part, first, following = _draw_series(rng, theme)
    mixed = rng.random(items) < _SHARE_MIXED
    other = (theme + rng.integers(1, n_themes, items)) % n_themes
    quality = np.power(1.0 + rng.permutation(items), -_ZIPF, dtype=np.float64)
    # The parts of a series share these properties.
    return Catalogue(
        n_themes=n_themes,
        theme=theme,
        second=np.where(mixed, other, -1)[first],
        motif=rng.integers(0, MOTIFS, items)[first],
        mood=rng.integers(0, MOODS, items)[first],
        quality=quality[first],
        released=released,
        part=part,
        first=first,
        following=following,
        available=rng.random(items) < _SHARE_AVAILABLE,
    )


def _draw_series(rng: np.random.Generator, theme: Ints) -> tuple[Ints, Ints, Ints]:
    """Chain items of one theme, neighbours in time, into series; return part, first and following."""
    items = np.arange(len(theme))
    members = np.flatnonzero(rng.random(len(theme)) < _SHARE_IN_SERIES)
    members = members[np.argsort(theme[members], kind="stable")]
    starts = np.searchsorted(theme[members], theme[members])
    place = (np.arange(len(members)) - starts) % _SERIES_LENGTH
    part, first, following = np.zeros_like(items), items.copy(), np.full_like(items, -1)
    part[members] = place + 1
    first[members] = members[np.arange(len(members)) - place]
    later = np.flatnonzero(place > 0)
    following[members[later - 1]] = members[later]
    return part, first, following
