"""Which reason each row of a list gets: what is true of the user's data, and adds most to the score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.marks import is_marked, mark_new
from recsys.storage.compilation import compiled

# Reasons that every catalogue has, in the order of their indexes; those of columns and plug-ins follow.
KINDS = (
    *("near", "near_two", "near_last", "pair", "pair_any", "after", "repeat", "popular_in"),
    *("popular", "rising", "popular_all_time", "new", "rare", "catalogue"),
)
_NEAR, _NEAR_TWO, _NEAR_LAST, _PAIR, _PAIR_ANY, _AFTER, _REPEAT, _POPULAR_IN, _FIRST_OF_ITEMS = range(9)
_CATALOGUE = KINDS.index("catalogue")
# Reasons that depend on the item alone.
ITEM_KINDS = KINDS[_FIRST_OF_ITEMS:_CATALOGUE]
# Reasons of each column: one item of the history is named, several are counted, or neither.
SIZES = ("one", "many", "any")
_N_SIZES = len(SIZES)
_N_KINDS, _N_ITEM_KINDS = len(KINDS), len(ITEM_KINDS)

_POPULAR = (
    "item_users",
    "item_recent",
    "item_trend",
    "item_recent_share",
    "item_percentile",
    "item_days_since_last",
    "popularity_fit",
)
_NEW = ("item_age_days", "age_fit")
_MATCHES = ("recent_match_", "match_")
# Prefixes of features that are computed from a model but not from its source's scores.
_MODELS = ("text_", "als_", "item_to_item_", "transitions_")
# Newest items that a reason may name.
_MOST = 30
# Fewest people with both items, and fewest who went on from one to the other.
_BOTH, _WENT_ON = 5, 3
# A value that more of the catalogue has says nothing about an item.
_COMMON = 0.5


class Past(NamedTuple):
    """Histories of a block of users.

    Attributes:
        starts: (n_users + 1) int64.
        items: (n_entries) int32.
        ordered: whether the last entry of a user is the newest.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    ordered: bool


class Texts(NamedTuple):
    """What is near in a catalogue; see `Nearness`.

    Attributes:
        titles: (n_items) int32, equal for equal titles; -1 for a blank one.
        embeddings: (n_items, embedding_size) float32, unit rows.
        least: cosines above it are near.
        by_terms: whether TF-IDF has to find two items near, too.
        pointers: of the sparse TF-IDF neighbours, with `columns` and `similarity`.
        columns: see `pointers`.
        similarity: see `pointers`.
        least_terms: similarities above it are near.
    """

    titles: NDArray[np.int32]
    embeddings: NDArray[np.float32]
    least: np.float32
    by_terms: bool
    pointers: NDArray[Any]
    columns: NDArray[Any]
    similarity: NDArray[np.float32]
    least_terms: np.float32


class Company(NamedTuple):
    """How many people have both items of a pair; see `Evidence`.

    Attributes:
        pointers: of the sparse pairs, with `columns`, `both` and `after`.
        columns: see `pointers`.
        both: see `pointers`.
        after: see `pointers`.
        users: (n_items) float32, users of each item.
        people: all users.
    """

    pointers: NDArray[Any]
    columns: NDArray[Any]
    both: NDArray[np.int32]
    after: NDArray[np.int32]
    users: NDArray[np.float32]
    people: int


class Values(NamedTuple):
    """The values of all columns side by side.

    Attributes:
        pointers: (n_items + 1), of the sparse values of each item, with `values` and `top`.
        values: (n_entries) index among all values.
        top: (n_entries) bool, the item is among the most popular with that value.
        columns: (n_values) int32, the column of each value.
        shares: (n_values) float32, share of the catalogue with the value.
        n_columns: how many columns there are.
    """

    pointers: NDArray[Any]
    values: NDArray[Any]
    top: NDArray[np.bool_]
    columns: NDArray[np.int32]
    shares: NDArray[np.float32]
    n_columns: int


class Found(NamedTuple):
    """The reasons of a block's lists, arrays of shape (n_users, length).

    Attributes:
        kinds: int16, index among `KINDS`, then those of `SIZES` for each column, then plug-ins; -1 for none.
        entries: int64, entry of the histories that the reason names, -1 for none.
        others: int64, a second entry that it names, likewise.
        values: int32, index among all values, -1 for none.
        counts: int32, how many people or items the reason counts, -1 for none.
    """

    kinds: NDArray[np.int16]
    entries: NDArray[np.int64]
    others: NDArray[np.int64]
    values: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Found:
        """Return no reasons."""
        types = (np.int16, np.int64, np.int64, np.int32, np.int32)
        return cls(*(np.full(shape, -1, dtype=kind) for kind in types))


def choose_reasons(
    past: Past,
    items: NDArray[np.int32],
    strengths: NDArray[np.float32],
    texts: Texts,
    company: Company,
    values: Values,
    of_items: NDArray[np.int32],
) -> Found:
    """Choose the reason of each row: of those that are true, the strongest that the list does not repeat too often.

    A list of ten has a reason at most three times and names a title at most twice, and longer lists in proportion. Only
    where nothing else is true of an item, the least used reason is repeated more often.

    Args:
        past: histories of the block.
        items: (n_users, length) int32, -1 for none.
        strengths: (n_users, length, n_kinds) float32, larger is preferred; NaN: the reason is not true.
        texts: of the catalogue.
        company: of the catalogue.
        values: of the catalogue.
        of_items: (n_item_kinds, n_items) int32: what the reasons of `ITEM_KINDS` count; negative: not true.
    """
    found, length = Found.none(items.shape), items.shape[1]
    limits = (-(-length // 5), -(-3 * length // 10))
    _choose(past, items, strengths, texts, company, values, of_items, limits, found)
    return found


def group_features(features: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return what each feature counts for: a source, `match NAME` for a column of the items, or "" for nothing.

    Args:
        features: names.
        sources: names of the sources that propose; features of other sources count for nothing.
    """
    return [_find_group(feature, sources) for feature in features]


def _find_group(feature: str, sources: Sequence[str]) -> str:
    for source in sorted(sources, key=len, reverse=True):
        if feature in (f"{source}_rank", f"{source}_z", f"{source}_gap"):
            return source
    if feature in _POPULAR:
        found = "popular"
    elif feature in _NEW:
        found = "new_items"
    elif feature.startswith("had_"):
        found = "repeat"
    elif matching := [prefix for prefix in _MATCHES if feature.startswith(prefix)]:
        return f"match {feature.removeprefix(matching[0])}"
    else:
        found = next((model.removesuffix("_") for model in _MODELS if feature.startswith(model)), "")
    return found if found in sources else ""


# --- loops -------------------------------------------------------------------------------------------------------


@compiled()
def _choose(  # type: ignore[no-untyped-def]
    past, items, strengths, texts, company, values, of_items, limits, found
):
    n_kinds = strengths.shape[2]
    used, true = np.zeros(n_kinds, dtype=np.int32), np.zeros(n_kinds, dtype=np.bool_)
    # Entry, other entry, value and count of each kind.
    facts = np.full((n_kinds, 4), -1, dtype=np.int64)
    # How often the list names the title of each of the newest entries.
    mentions = np.zeros(_MOST, dtype=np.int32)
    had = np.zeros(len(values.pointers) - 1, dtype=np.int32)
    marks, counts = np.zeros((2, len(values.columns)), dtype=np.int32)
    best = np.zeros((values.n_columns, 2), dtype=np.float64)
    for user in range(len(items)):
        used[:] = 0
        mentions[:] = 0
        _count_values(user, past, values, had, marks, counts)
        for rank in range(items.shape[1]):
            item = items[user, rank]
            if item < 0:
                break
            true[:], facts[:] = False, -1
            _compare(user, item, past, texts, company, mentions, limits[0], true, facts)
            _match(user, item, past, texts.titles, values, (had, marks, counts, best), mentions, limits[0], true, facts)
            for kind in range(_N_ITEM_KINDS):
                if of_items[kind, item] >= 0:
                    true[_FIRST_OF_ITEMS + kind] = True
                    facts[_FIRST_OF_ITEMS + kind, 3] = of_items[kind, item]
            true[_N_KINDS + _N_SIZES * values.n_columns :] = True
            pick = _pick(true, strengths[user, rank], used, limits)
            used[pick] += 1
            found.kinds[user, rank] = pick
            found.entries[user, rank], found.others[user, rank] = facts[pick, 0], facts[pick, 1]
            found.values[user, rank], found.counts[user, rank] = facts[pick, 2], facts[pick, 3]
            # The title of a repeated item is its own.
            if pick != _REPEAT:
                _mention(user, facts[pick], past, texts.titles, mentions)


@compiled()
def _mention(user, fact, past, titles, mentions):  # type: ignore[no-untyped-def]
    for place in range(2):
        if fact[place] >= 0:
            title = titles[past.items[fact[place]]]
            for entry in range(_find_oldest(user, past), past.starts[user + 1]):
                mentions[past.starts[user + 1] - 1 - entry] += titles[past.items[entry]] == title


@compiled()
def _count_values(user, past, values, had, marks, counts):  # type: ignore[no-untyped-def]
    # Mark the items of the history, and count how many of them have each value.
    for entry in range(past.starts[user], past.starts[user + 1]):
        item = past.items[entry]
        had[item] = user + 1
        for place in range(values.pointers[item], values.pointers[item + 1]):
            value = values.values[place]
            if mark_new(marks, user, value):
                counts[value] = 0
            counts[value] += 1


@compiled()
def _find_oldest(user, past):  # type: ignore[no-untyped-def]
    return max(past.starts[user], past.starts[user + 1] - _MOST)


@compiled()
def _look_up(pointers, columns, row, column):  # type: ignore[no-untyped-def]
    # A binary search without branches, which a processor could not predict; -1 where the row lacks the column.
    place, length = np.int64(pointers[row]), np.int64(pointers[row + 1] - pointers[row])
    if length == 0:
        return np.int64(-1)
    while length > 1:
        half = length // 2
        place += half * (columns[place + half - 1] < column)
        length -= half
    return place if columns[place] == column else np.int64(-1)


@compiled(fastmath={"reassoc", "contract"})
def _multiply(first, second):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for cell in range(len(first)):
        total += first[cell] * second[cell]
    return total


@compiled()
def _compare(user, item, past, texts, company, mentions, limit, true, facts):  # type: ignore[no-untyped-def]
    # Compare the item with the newest ones of the history: texts, and people in common.
    newest, titles = past.starts[user + 1] - 1, texts.titles
    nearest, next_nearest = np.float32(-2.0), np.float32(-2.0)
    closest, most_both, most_after = 0.0, 0, 0
    for entry in range(newest, _find_oldest(user, past) - 1, -1):
        other = past.items[entry]
        may_name = other != item and -1 < titles[other] != titles[item] and mentions[newest - entry] < limit
        pair = _look_up(company.pointers, company.columns, other, item) if other != item else -1
        if pair >= 0:
            both, after = company.both[pair], company.after[pair]
            chance = np.float64(company.users[other]) * np.float64(company.users[item])
            if both >= _BOTH and both * company.people > chance:
                if both > most_both:
                    most_both, true[_PAIR_ANY], facts[_PAIR_ANY, 3] = both, True, both
                if may_name and both / np.sqrt(chance) > closest:
                    closest, true[_PAIR] = both / np.sqrt(chance), True
                    facts[_PAIR, 0], facts[_PAIR, 3] = entry, both
            if may_name and after >= _WENT_ON and 2 * after > both and after > most_after:
                most_after, true[_AFTER] = after, True
                facts[_AFTER, 0], facts[_AFTER, 3] = entry, after
        cosine = _measure_nearness(item, other, texts) if may_name else np.float32(-1.0)
        if cosine <= texts.least:
            continue
        if entry == newest and past.ordered:
            true[_NEAR_LAST], facts[_NEAR_LAST, 0] = True, entry
        same = facts[_NEAR, 0] >= 0 and titles[past.items[facts[_NEAR, 0]]] == titles[other]
        if cosine > nearest:
            if not same:
                next_nearest, facts[_NEAR_TWO, 1] = nearest, facts[_NEAR, 0]
            nearest, facts[_NEAR, 0] = cosine, entry
        elif cosine > next_nearest and not same:
            next_nearest, facts[_NEAR_TWO, 1] = cosine, entry
    facts[_NEAR_TWO, 0] = facts[_NEAR, 0]
    true[_NEAR], true[_NEAR_TWO] = facts[_NEAR, 0] >= 0, facts[_NEAR_TWO, 1] >= 0


@compiled()
def _measure_nearness(item, other, texts):  # type: ignore[no-untyped-def]
    # The cosine of two texts; -1 where TF-IDF does not find them near.
    if texts.by_terms:
        place = _look_up(texts.pointers, texts.columns, other, item)
        if place < 0 or texts.similarity[place] <= texts.least_terms:
            return np.float32(-1.0)
    return _multiply(texts.embeddings[item], texts.embeddings[other])


@compiled()
def _match(user, item, past, titles, values, counted, mentions, limit, true, facts):  # type: ignore[no-untyped-def]
    # Values that the item shares with the history: of each column the one that is most unusual for the catalogue.
    had, marks, counts, best = counted
    length = past.starts[user + 1] - past.starts[user]
    own = had[item] == user + 1
    if own:
        true[_REPEAT], facts[_REPEAT, 0] = True, _find_entry(user, item, past)
    best[:] = 0
    most = 0
    for place in range(values.pointers[item], values.pointers[item + 1]):
        value = values.values[place]
        count = counts[value] - own if is_marked(marks, user, value) else 0
        share, column = values.shares[value], values.columns[value]
        if count and values.top[place] and count > most:
            most, true[_POPULAR_IN], facts[_POPULAR_IN, 2] = count, True, value
        if count and share <= _COMMON and count >= share * length and count / share > best[column, 0]:
            best[column, 0], best[column, 1] = count / share, value
    for column in range(values.n_columns):
        if best[column, 0] > 0:
            one, value = _N_KINDS + _N_SIZES * column, np.int64(best[column, 1])
            facts[one, 0] = _find_match(user, item, value, past, titles, values, mentions, limit)
            true[one], true[one + 1], true[one + 2] = facts[one, 0] >= 0, counts[value] - own >= 2, True
            facts[one : one + _N_SIZES, 2] = value
            facts[one + 1, 3] = counts[value] - own


@compiled()
def _find_entry(user, item, past):  # type: ignore[no-untyped-def]
    for entry in range(past.starts[user + 1] - 1, past.starts[user] - 1, -1):
        if past.items[entry] == item:
            return entry
    return -1


@compiled()
def _find_match(user, item, value, past, titles, values, mentions, limit):  # type: ignore[no-untyped-def]
    # The newest entry with the value that may be named, -1 for none.
    newest = past.starts[user + 1] - 1
    for entry in range(newest, _find_oldest(user, past) - 1, -1):
        other = past.items[entry]
        if other == item or not -1 < titles[other] != titles[item] or mentions[newest - entry] >= limit:
            continue
        for place in range(values.pointers[other], values.pointers[other + 1]):
            if values.values[place] == value:
                return entry
    return -1


@compiled()
def _pick(true, strengths, used, limits):  # type: ignore[no-untyped-def]
    # The strongest true reason: first of those used seldom, then below the limit, then "from the catalogue".
    for limit in limits:
        pick = -1
        for kind in range(len(true)):
            allowed = true[kind] and used[kind] < limit and not np.isnan(strengths[kind])
            if allowed and (pick < 0 or strengths[kind] > strengths[pick]):
                pick = kind
        if pick >= 0:
            return pick
    pick = _CATALOGUE
    for kind in range(len(true)):
        if used[_CATALOGUE] >= limits[1] and true[kind] and used[kind] < used[pick] and not np.isnan(strengths[kind]):
            pick = kind
    return pick
