"""Item pages: facts of the catalogue, cut where they are long."""

import polars as pl
from worlds import make_interactions, make_items

from recsys.report.items import gather_items


def test_a_page_has_the_facts_of_the_catalogue_and_long_texts_are_cut() -> None:
    items = make_items(
        {"item_id": "a", "title": "A", "description": "word " * 100, "tags": [f"t{number}" for number in range(20)]},
        {"item_id": "b", "title": "  "},
        {"item_id": "c", "title": "深夜" * 200},
    ).with_columns(category=pl.Series(["x, y", "", "z"]))
    history = make_interactions(("u", "a"), ("v", "a"), ("u", "b"))
    lists = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "a"]})
    found = gather_items(
        pl.Series(["a", "b", "c", "gone"]), pl.Series(["a", "b"], dtype=pl.String), items, lists, history
    )
    assert found["titles"][:2] == ["A", "b"]
    assert found["titles"][3] == "gone"
    assert len(found["titles"][2]) == 240
    assert set(found["details"]) == {"0", "1"}
    description, tags, facts, users, shown = found["details"]["0"]
    assert len(description) == 240
    assert tags == [f"t{number}" for number in range(8)]
    assert facts == [["category", "x, y"]]
    assert (users, shown) == (2, 2)
    assert found["details"]["1"] == ["", [], [], 1, 0]
