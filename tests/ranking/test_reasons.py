from dataclasses import dataclass, field

import numpy as np
import pytest

from recsys.config import SOURCES
from recsys.features.features import declare_features
from recsys.ranking.reasons import (
    ITEM_KINDS,
    KINDS,
    SIZES,
    Company,
    Found,
    Past,
    Texts,
    Values,
    choose_reasons,
    group_features,
)


@pytest.mark.parametrize(
    ("feature", "group"),
    [
        ("als_rank", "als"),
        ("als_recent_max", "als"),
        ("popular_all_time_z", "popular_all_time"),
        ("popular_gap", "popular"),
        ("item_users", "popular"),
        ("item_to_item_count", "item_to_item"),
        ("transitions_z", "transitions"),
        ("text_max", "text"),
        ("age_fit", "new_items"),
        ("had_days", "repeat"),
        ("match_tags", "match tags"),
        ("recent_match_author", "match author"),
        ("user_items", ""),
        ("blend", ""),
        ("n_sources", ""),
    ],
)
def test_what_a_feature_speaks_for(feature, group):
    assert group_features([feature], SOURCES) == [group]


def test_sources_that_do_not_propose_are_no_reason():
    features = list(declare_features(["als"], ["author"]))
    assert set(group_features(features, ["als"])) == {"als", "match tags", "match author", ""}


@dataclass
class Small:
    """Twelve items: 0 to 3 are the history, oldest first; the lists hold the others.

    Attributes:
        cosines: near pairs of texts.
        pairs: people with both items, and who had the second later.
        values: of each item, in one column.
        titles: of items with the title of another one.
        of_items: what reasons of items count.
    """

    history: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    cosines: dict[tuple[int, int], float] = field(default_factory=dict)
    pairs: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)
    titles: dict[int, int] = field(default_factory=dict)
    of_items: dict[tuple[str, int], int] = field(default_factory=dict)
    ordered: bool = True

    def choose(self, *items: int, prefer: str | None = None) -> Found:
        """Return the reasons of a list; all are equally strong, or one is preferred."""
        size = 12
        past = Past(np.array([0, len(self.history)]), np.array(self.history, dtype=np.int32), self.ordered)
        # TF-IDF decides alone where every embedding is the same.
        texts = Texts(
            np.array([self.titles.get(item, item) for item in range(size)], dtype=np.int32),
            np.ones((size, 1), dtype=np.float32),
            np.float32(0.9),
            True,
            *to_sparse(self.cosines, size),
            np.array(list(dict(sorted(self.cosines.items())).values()), dtype=np.float32),
            np.float32(0.3),
        )
        counts = np.array(list(dict(sorted(self.pairs.items())).values()), dtype=np.int32).reshape(-1, 2)
        company = Company(*to_sparse(self.pairs, size), *counts.T.copy(), np.full(size, 10, dtype=np.float32), 100)
        cells = dict.fromkeys(self.values.items(), 1)
        values = Values(
            *to_sparse(cells, size),
            np.array([item == 11 for item, _ in sorted(cells)], dtype=np.bool_),
            np.zeros(3, dtype=np.int32),
            np.array([0.2, 0.2, 0.6], dtype=np.float32),
            1,
        )
        of_items = np.full((len(ITEM_KINDS), size), -1, dtype=np.int32)
        for (kind, item), count in self.of_items.items():
            of_items[ITEM_KINDS.index(kind), item] = count
        strengths = np.zeros((1, len(items), len(NAMES)), dtype=np.float32)
        if prefer:
            strengths[..., NAMES.index(prefer)] = 1.0
        lists = np.array([items], dtype=np.int32)
        return choose_reasons(past, lists, strengths, texts, company, values, of_items)


NAMES = [*KINDS, *(f"value_{size}" for size in SIZES)]


def to_sparse(cells, size):
    rows = [row for row, _ in sorted(cells)]
    pointers = np.searchsorted(rows, np.arange(size + 1)).astype(np.int32)
    return pointers, np.array([column for _, column in sorted(cells)], dtype=np.int32)


def name(found: Found) -> list[str]:
    return [NAMES[kind] for kind in found.kinds[0]]


def test_nothing_is_said_that_is_not_true():
    assert name(Small().choose(5)) == ["catalogue"]
    # Not near enough, too few people, no more than by chance, no order that most follow, a value that most items have.
    world = Small(
        cosines={(0, 5): 0.3},
        pairs={(1, 5): (4, 0), (2, 5): (2, 2)},
        values={0: 2, 1: 2, 2: 2, 3: 2, 5: 2},
    )
    assert name(world.choose(5, prefer="near")) == ["catalogue"]
    assert name(Small(pairs={(0, 5): (10, 5)}, ordered=True).choose(5, prefer="after")) == ["pair"]


@pytest.mark.parametrize(
    ("world", "kind", "entry", "count"),
    [
        (Small(cosines={(0, 5): 0.4, (3, 5): 0.2}), "near", 0, -1),
        (Small(cosines={(3, 5): 0.4}), "near_last", 3, -1),
        (Small(pairs={(1, 5): (5, 1), (2, 5): (8, 1)}), "pair", 2, 8),
        (Small(pairs={(1, 5): (5, 1), (2, 5): (8, 1)}), "pair_any", -1, 8),
        (Small(pairs={(1, 5): (5, 3)}), "after", 1, 3),
        (Small(values={0: 1, 2: 1, 5: 1}), "value_one", 2, -1),
        (Small(values={0: 1, 2: 1, 5: 1}), "value_many", -1, 2),
        (Small(values={0: 1, 5: 1}), "value_any", -1, -1),
        (Small(values={0: 1, 11: 1}), "popular_in", -1, -1),
        (Small(of_items={("popular", 5): 21}), "popular", -1, 21),
        (Small(), "repeat", 1, -1),
    ],
)
def test_what_is_true_is_said_with_its_evidence(world, kind, entry, count):
    item = {"popular_in": 11, "repeat": 1}.get(kind, 5)
    found = world.choose(item, prefer=kind)
    assert name(found) == [kind]
    assert (found.entries[0, 0], found.counts[0, 0]) == (entry, count)


def test_two_history_items_are_named_the_nearest_first():
    world = Small(cosines={(0, 5): 0.4, (2, 5): 0.5})
    found = world.choose(5, prefer="near_two")
    assert name(found) == ["near_two"]
    # The embeddings are equal, so the newer one counts as nearer.
    assert (found.entries[0, 0], found.others[0, 0]) == (2, 0)
    # Two items with one title are not two.
    assert name(Small(cosines=world.cosines, titles={2: 0}).choose(5, prefer="near_two")) == ["near"]


def test_no_item_is_explained_by_its_own_title_or_by_a_blank_one():
    near = {(0, 5): 0.5}
    assert name(Small(cosines=near, titles={5: 0}).choose(5)) == ["catalogue"]
    assert name(Small(cosines=near, titles={0: -1}).choose(5)) == ["catalogue"]


def test_a_list_repeats_neither_sentences_nor_titles():
    items = range(4, 11)
    world = Small(cosines={(0, item): 0.5 for item in items}, of_items={("new", item): 0 for item in items})
    found = world.choose(*items, *(-1,) * 3, prefer="near")
    said = name(found)[:7]
    # One title is named twice; then the item's own reason, at most three times; then the catalogue.
    assert said == ["near", "near", "new", "new", "new", "catalogue", "catalogue"]
    assert found.kinds[0, 7:].tolist() == [-1, -1, -1]


def test_another_item_is_named_where_the_nearest_was_named_twice():
    items = range(4, 9)
    cosines = {(history, item): 0.5 for item in items for history in (1, 3)}
    found = Small(cosines=cosines).choose(*items, *(-1,) * 5, prefer="near")
    assert name(found)[:3] == ["near", "near", "near_last"] or found.entries[0, :2].tolist() == [3, 3]
    assert np.bincount(found.entries[0, :5][found.entries[0, :5] >= 0]).max() <= 2


def test_only_a_list_without_other_reasons_repeats_one():
    found = Small().choose(*range(4, 11), *(-1,) * 3)
    assert set(name(found)[:7]) == {"catalogue"}
