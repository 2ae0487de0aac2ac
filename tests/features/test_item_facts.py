import numpy as np
import pytest
from described import describe, gather_facts, make_candidates
from worlds import at, make_interactions, make_items

from recsys.dataset.histories import build_histories


def test_writing_is_told_by_most_letters():
    texts = ["Война и мир", "東京物語の夜", "长夜", "밤", "שלום", "ab война", "🎬 12", "", "café", "กขค"]
    items = make_items(*({"item_id": f"{place}", "title": text} for place, text in enumerate(texts)))
    histories = build_histories(make_interactions(("u", "0", 1)), items, at(2))
    scripts = gather_facts(histories, items).scripts.toarray()
    assert scripts.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 1, 1]
    alike = scripts @ scripts.T
    assert [tuple(pair) for pair in np.argwhere(np.triu(alike, 1))] == [(0, 5)]


@pytest.mark.parametrize("value", ["inf", "nan", "", "about 1999", "１９９９年"])
def test_what_is_no_finite_number_is_not_near(value):
    items = make_items({"item_id": "a", "year": value}, {"item_id": "b", "year": "-1.5e3"})
    histories = build_histories(make_interactions(("u", "b", 1)), items, at(2))
    numbers = gather_facts(histories, items).numbers["year"]
    assert np.isnan(numbers[0])
    assert numbers[1] == -1500


def test_numbers_that_are_all_the_same_say_nothing():
    items = make_items({"item_id": "a", "year": "7"}, {"item_id": "b", "year": "7"})
    histories = build_histories(make_interactions(("u", "b", 1)), items, at(2))
    features = describe(make_candidates({"als": [(1.0, 1)]}, [(0, 0)]), histories, items)
    assert features["near_year"].to_list() == [None]


def test_items_that_join_later_do_not_stretch_the_years():
    early = [{"item_id": "a", "year": "2000"}, {"item_id": "b", "year": "2010"}]
    late = [{"item_id": "y", "year": "9999", "created": 5}, {"item_id": "z", "year": "1", "created": 4}]
    tables = []
    for rows in (early, early + late):
        items = make_items(*rows)
        histories = build_histories(make_interactions(("u", "a", 1)), items, at(4))
        given = {
            "embeddings": np.eye(2, dtype=np.float32)[[0, 1, 0, 1][: len(rows)]],
            "factors": np.eye(4)[: len(rows)],
        }
        candidates = make_candidates({"als": [(1.0, 1)]}, [(0, 1)])
        tables.append(
            describe(candidates, histories, items, **given, item_to_item={"ab": 1.0}, transitions={"ab": 1.0})
        )
    assert tables[0]["near_year"].to_list() == [pytest.approx(10 / np.sqrt((0 + 25) / 2))]
    assert tables[0].equals(tables[1])
