"""The users of the demo: their interests, their sessions, the items that they view and the events that follow.

Every step works on all views of a block of users at once; no array has users times items entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.demo.catalogue import DAY, OLDEST_DAYS, START, Catalogue, Floats, Ints
from recsys.dataset.demo.grammar import MOODS, MOTIFS

BLOCK_USERS = 5_000

_SLOTS = 3
_PHASES = 3
# Chances of a user: to join late, and to change one interest at the first and at the second shift.
_JOINS_LATE = 0.3
_SHIFTS = (0.8, 0.4)
_MEDIAN_VIEWS, _SPREAD_VIEWS, _MOST_VIEWS = 20.0, 1.0, 500
# Chances of a view: to open a session, to continue the series before it, to keep to the session's theme, to
# slip to the theme's partner, to come from the front page, and to come from the new releases.
_OPENS, _CONTINUES, _STAYS, _SLIPS, _FRONT_PAGE, _NEW = 0.3, 0.35, 0.8, 0.3, 0.1, 0.18
_LONGEST_RUN = 3
_NEW_DAYS = 14
# Of this many items shown, the user views the one with the best fit, up to noise.
_MET = 4
# Weight of the fit in that choice, and what theme, motif and mood add to the fit; 2 is a perfect fit.
_CHOOSINESS = 3.0
_THEME_FIT, _MOTIF_FIT, _MOOD_FIT = 1.0, 0.6, 0.4
EVENTS = ("view", "click", "like", "comment", "share", "purchase")
# A click follows a view, and stronger events follow a click: chance at a fit of 1, and longest delay in seconds.
_CLICK_FLOOR, _CLICK_CHANCE, _CLICK_DELAY = 0.05, 0.2, 60
_FOLLOW_UPS = ((0.18, 240), (0.045, 400), (0.022, 400), (0.09, 600))


@dataclass(frozen=True)
class Shelves:
    """Where items are shown: a shelf per theme in order of release, and last the front page with all items."""

    # (n_entries,) int64, grouped by shelf.
    item: Ints
    # (n_entries,) int64, ascending: shelf and time of creation in one number.
    key: Ints
    # (n_entries + 1,) float64: sum of the weights of the entries before each one.
    cumulative: Floats
    n_shelves: int
    # Range of time inside a key, and the offset that makes release times start at 0.
    span: int
    offset: int

    def pick(self, shelf: Ints, since: Ints, until: Ints, chance: Floats) -> Ints:
        """Return for each row an item of its shelf released in `since`..`until`, in proportion to its weight.

        A row whose range is empty gets any item released by then, if necessary from the front page, which is never
        empty.
        """
        beginning = np.full_like(since, -self.offset)
        first, last = self._find(shelf, since), self._find(shelf, until + 1)
        first = np.where(first < last, first, self._find(shelf, beginning))
        front = np.full_like(shelf, self.n_shelves - 1)
        bare = first == last
        first = np.where(bare, self._find(front, beginning), first)
        last = np.where(bare, self._find(front, until + 1), last)
        low, high = self.cumulative[first], self.cumulative[last]
        place = np.searchsorted(self.cumulative, low + chance * (high - low), side="right") - 1
        return self.item[np.clip(place, first, last - 1)]

    def _find(self, shelf: Ints, time: Ints) -> Ints:
        """Return the index of the first entry of a shelf released at a time or later."""
        return np.searchsorted(self.key, shelf * self.span + time + self.offset).astype(np.int64)


def build_shelves(catalogue: Catalogue, days: int) -> Shelves:
    """Put each item on its theme's shelf, with less weight on its second theme's, and on the front page."""
    items = np.arange(catalogue.n_items)
    mixed = items[catalogue.second >= 0]
    item = np.concatenate([items, mixed, items])
    shelf = np.concatenate([catalogue.theme, catalogue.second[mixed], np.full_like(items, catalogue.n_themes)])
    weight = catalogue.quality[item] * np.repeat([1.0, 0.5, 1.0], [len(items), len(mixed), len(items)])
    offset = OLDEST_DAYS * DAY
    span = offset + (days + 2) * DAY
    key = shelf * span + catalogue.released[item] + offset
    order = np.lexsort((item, key))
    cumulative = np.concatenate([[0.0], np.cumsum(weight[order])])
    return Shelves(item[order], key[order], cumulative, catalogue.n_themes + 1, span, offset)


@dataclass(frozen=True)
class Interests:
    """The interests of the users of a block; one row per user."""

    # (n_users, _PHASES, _SLOTS) int64: the themes, and the motif liked in each, by phase.
    theme: Ints
    motif: Ints
    # (n_users, _SLOTS) float64: upper ends of the slots' shares, the last 1.
    share: Floats
    mood: Ints
    # (n_users, _PHASES - 1) int64: seconds since the start at which the next phase begins.
    shift: Ints


def draw_interests(rng: np.random.Generator, users: int, n_themes: int, days: int) -> Interests:
    """Draw a few themes per user, some more popular than others; up to two shifts replace one theme each."""
    fashion = np.cumsum((1.0 + np.arange(n_themes)) ** -0.4)
    drawn = rng.random((users, _PHASES, _SLOTS)) * fashion[-1]
    theme = np.searchsorted(fashion[:-1], drawn, side="right")
    motif = rng.integers(0, MOTIFS, (users, _PHASES, _SLOTS))
    shift = np.sort((rng.uniform(0.15, 0.95, (users, _PHASES - 1)) * days * DAY).astype(np.int64), axis=1)
    for phase in range(1, _PHASES):
        kept = np.ones((users, _SLOTS), dtype=bool)
        changes = np.flatnonzero(rng.random(users) < _SHIFTS[phase - 1])
        kept[changes, rng.integers(0, _SLOTS, len(changes))] = False
        theme[:, phase] = np.where(kept, theme[:, phase - 1], theme[:, phase])
        motif[:, phase] = np.where(kept, motif[:, phase - 1], motif[:, phase])
    share = np.cumsum(rng.dirichlet([1.5, 1.0, 0.6], users), axis=1)
    share[:, -1] = 1.0
    return Interests(theme, motif, share, rng.integers(0, MOODS, users), shift)


@dataclass(frozen=True)
class Views:
    """All views of a block, grouped by user, in order within a session."""

    # (n_views,) int64: number of the user within the block.
    user: Ints
    # (n_views,) int64: number of the session within the block.
    session: Ints
    opens: NDArray[np.bool_]
    # (n_views,) int64: seconds since the start of the period.
    time: Ints


def draw_views(rng: np.random.Generator, users: int, days: int) -> Views:
    """Draw the times of views: a heavy-tailed number per user, in sessions, most of them in the evening."""
    late = rng.random(users) < _JOINS_LATE
    join = np.where(late, rng.integers(0, days, users), 0)
    wanted = _MEDIAN_VIEWS * np.exp(_SPREAD_VIEWS * rng.standard_normal(users)) * (days - join) / days
    user = np.repeat(np.arange(users), np.clip(np.rint(wanted), 1, _MOST_VIEWS).astype(np.int64))
    opens = np.append(True, user[1:] != user[:-1]) | (rng.random(len(user)) < _OPENS)
    session = np.cumsum(opens) - 1
    owner = user[opens]
    day = join[owner] + (rng.random(len(owner)) * (days - join[owner])).astype(np.int64)
    begin = day * DAY + rng.triangular(0, 20 * 3600, DAY, len(owner)).astype(np.int64)
    begin = begin[np.lexsort((begin, owner))]
    gap = np.cumsum(np.where(opens, 0, rng.integers(20, 600, len(user))))
    return Views(user, session, opens, begin[session] + gap - gap[opens][session])


def choose_items(
    rng: np.random.Generator, catalogue: Catalogue, shelves: Shelves, interests: Interests, views: Views
) -> tuple[Ints, Floats]:
    """Choose the item of each view; return the items and how well they fit the user, 0 to 2."""
    n = len(views.user)
    phase = (interests.shift[views.user] <= views.time[:, None]).sum(axis=1)
    session_slot = _draw_slots(rng, interests.share[views.user[views.opens]])[views.session]
    slot = np.where(rng.random(n) < _STAYS, session_slot, _draw_slots(rng, interests.share[views.user]))
    theme = interests.theme[views.user, phase, slot] ^ (rng.random(n) < _SLIPS)
    shelf = np.where(rng.random(n) < _FRONT_PAGE, shelves.n_shelves - 1, theme)
    since = np.where(rng.random(n) < _NEW, views.time - _NEW_DAYS * DAY, -shelves.offset)
    met = np.stack([shelves.pick(shelf, since, views.time, rng.random(n)) for _ in range(_MET)], axis=1)
    fit = _measure_fit(catalogue, interests, views.user, phase, met)
    # With Gumbel noise the best of the shown items is a draw in proportion to exp(_CHOOSINESS * fit).
    best = np.argmax(_CHOOSINESS * fit + rng.gumbel(size=(n, _MET)), axis=1)
    item = met[np.arange(n), best]
    continues = (rng.random(n) < _CONTINUES) & ~views.opens
    # Chains grow step by step, each step from the one before it.
    run = np.arange(n) - np.maximum.accumulate(np.where(continues, 0, np.arange(n)))
    for length in range(1, _LONGEST_RUN + 1):
        link = np.flatnonzero(run == length)
        following = catalogue.following[item[link - 1]]
        there = (following >= 0) & (catalogue.released[following] <= views.time[link])
        item[link[there]] = following[there]
    return item, _measure_fit(catalogue, interests, views.user, phase, item[:, None])[:, 0]


def _draw_slots(rng: np.random.Generator, share: Floats) -> Ints:
    slots: Ints = (rng.random(len(share))[:, None] >= share).sum(axis=1)
    return slots


def _measure_fit(catalogue: Catalogue, interests: Interests, user: Ints, phase: Ints, item: Ints) -> Floats:
    """Return how well items (n, m) fit users (n,): the best slot's theme or its partner, motif and mood."""
    fit: Floats = np.zeros(item.shape)
    for slot in range(_SLOTS):
        wanted = interests.theme[user, phase, slot][:, None] >> 1
        motif = interests.motif[user, phase, slot][:, None]
        touches = (catalogue.theme[item] >> 1 == wanted) | (catalogue.second[item] >> 1 == wanted)
        fit = np.maximum(fit, touches * (_THEME_FIT + _MOTIF_FIT * (catalogue.motif[item] == motif)))
    fit += _MOOD_FIT * (catalogue.mood[item] == interests.mood[user][:, None])
    return fit


def draw_events(rng: np.random.Generator, views: Views, item: Ints, fit: Floats) -> pl.DataFrame:
    """Return the events, views and what follows them: user, item, event (its number), time.

    A user views an item once. The rows are in order of user, then time, then event as in `EVENTS`.
    """
    kept = np.lexsort((views.time, views.user))
    pair = views.user[kept] * (int(item.max()) + 1) + item[kept]
    kept = kept[np.unique(pair, return_index=True)[1]]
    user, item, time, fit = views.user[kept], item[kept], views.time[kept], fit[kept]
    # The views, then the clicks, then what follows a click.
    clicked = np.flatnonzero(rng.random(len(kept)) < _CLICK_FLOOR + _CLICK_CHANCE * fit)
    clicked_at = time[clicked] + rng.integers(2, _CLICK_DELAY, len(clicked))
    which, event, when = [np.arange(len(kept)), clicked], [0, 1], [time, clicked_at]
    for number, (chance, delay) in enumerate(_FOLLOW_UPS, start=2):
        done = rng.random(len(clicked)) < chance * fit[clicked]
        which.append(clicked[done])
        event.append(number)
        when.append((clicked_at + rng.integers(5, delay, len(clicked)))[done])
    row = np.concatenate(which)
    return pl.DataFrame(
        {
            "user": user[row],
            "item": item[row],
            "event": np.repeat(event, [len(part) for part in which]),
            "time": np.concatenate(when),
        }
    ).sort("user", "time", "event", "item")


def draw_interactions(catalogue: Catalogue, users: int, days: int, seed: int) -> Iterator[pl.DataFrame]:
    """Yield the raw interactions in blocks of users, ordered by user, then time.

    Columns: user_id, item_id, event, timestamp (Datetime in UTC, whole seconds). Each block draws from its
    own seed, made of `seed` and the block's number.
    """
    shelves = build_shelves(catalogue, days)
    for block, start in enumerate(range(0, users, BLOCK_USERS)):
        rng = np.random.default_rng([seed, 2, block])
        size = min(BLOCK_USERS, users - start)
        interests = draw_interests(rng, size, catalogue.n_themes, days)
        views = draw_views(rng, size, days)
        item, fit = choose_items(rng, catalogue, shelves, interests, views)
        yield (
            draw_events(rng, views, item, fit)
            .filter(pl.col("time") < days * DAY)
            .select(
                user_id="u" + (pl.col("user") + start).cast(pl.String).str.zfill(7),
                item_id="i" + pl.col("item").cast(pl.String).str.zfill(6),
                event=pl.col("event").replace_strict(dict(enumerate(EVENTS)), return_dtype=pl.String),
                timestamp=pl.lit(START.item()).dt.replace_time_zone("UTC") + pl.duration(seconds="time"),
            )
        )
