"""The data of the user browser."""

from datetime import UTC, datetime

import polars as pl
from worlds import make_interactions, make_items

from recsys.report.users import HISTORY_LENGTH, gather_users, keep_users
from recsys.tables import ItemNeighbours, TestPositives


def test_users_are_sampled_evenly_and_histories_are_newest_first() -> None:
    items = make_items(*(f"i{place:02}" for place in range(60)), {"item_id": "blank", "title": " "})
    rows = [(f"u{user}", f"i{item:02}", item) for user in range(9) for item in range(user)]
    history = make_interactions(*rows, ("u8", "i01", 30), *(("long", f"i{item:02}", item) for item in range(60)))
    users = ["stranger", "long", *(f"u{user}" for user in range(1, 9))]
    lists = pl.DataFrame(
        {"user_id": users, "rank": [1] * 10, "item_id": ["blank"] * 10, "score": [0.123456] * 10},
        schema_overrides={"rank": pl.UInt16, "score": pl.Float32},
    )
    found = gather_users(lists, history, items, None, 4)
    assert [(user["id"], user["size"]) for user in found["users"]] == [
        ("stranger", 0),
        ("u3", 3),
        ("u6", 6),
        ("long", 60),
    ]
    titles = found["titles"]
    stranger, three, _, long = found["users"]
    assert stranger["history"] == []
    assert [titles[place] for place, _ in three["history"]] == ["Title of i02", "Title of i01", "Title of i00"]
    assert three["history"][0][1] == (datetime(2025, 1, 3, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert len(long["history"]) == HISTORY_LENGTH
    assert [[titles[row[0]], *row[1:]] for row in three["list"]] == [["blank", 0.1235, [], None]]
    # A later interaction moves the item to the front; it still counts once.
    everyone = gather_users(lists, history, items, None, 100)
    again = next(user for user in everyone["users"] if user["id"] == "u8")
    assert [everyone["titles"][place] for place, _ in again["history"]][:2] == ["Title of i01", "Title of i07"]
    assert again["size"] == 8


def test_histories_without_times_have_no_days() -> None:
    history = make_interactions(("u", "b"), ("u", "a"), ordered=False)
    lists = pl.DataFrame({"user_id": ["u"], "rank": [1], "item_id": ["c"], "score": [1.0]})
    user = gather_users(lists, history, make_items("a", "b", "c"), None, 5)["users"][0]
    assert user["history"] == [[0, None], [1, None]]


def test_lists_are_compared_for_users_who_have_them_and_they_are_preferred() -> None:
    items = make_items(*(f"i{place}" for place in range(9)))
    users = [f"u{number}" for number in range(8)]
    history = make_interactions(*((user, "i0", 1) for user in users), *(("u5", f"i{item}", 2) for item in range(1, 4)))
    lists = pl.DataFrame({"user_id": users, "rank": [1] * 8, "item_id": ["i8"] * 8, "score": [1.0] * 8})
    compared = pl.DataFrame(
        [
            (model, user, rank, item)
            for user in ("u4", "u5", "u6")
            for model, listed in {"blend": ["i3", "i4"], "ours": ["i1", "i7"], "als": ["i2"]}.items()
            for rank, item in enumerate(listed, 1)
        ],
        schema=["model", "user_id", "rank", "item_id"],
        orient="row",
    )
    held = pl.DataFrame(
        {"user_id": ["u6"], "item_id": ["i7"], "outcome": ["listed"], "rank": [2]},
        schema={"user_id": pl.String, "item_id": pl.String, "outcome": pl.String, "rank": pl.UInt16},
    )
    near = pl.DataFrame(
        {"item_id": ["i1", "i0"], "rank": [1, 1], "neighbour": ["i6", "i5"], "cosine": [0.912, 0.5]},
        schema={name: column.dtype for name, column in ItemNeighbours.columns().items()},
    )
    found = gather_users(
        lists, history, items, held, 3, compared=compared, neighbours=near, models=["ours", "blend", "popular"]
    )
    index = {item: place for place, item in enumerate(found["ids"])}
    # Two of three places are for users with lists to compare, the third is for the others.
    by_user = {user["id"]: user for user in found["users"]}
    assert len(by_user) == 3
    assert len({"u4", "u5", "u6"} & set(by_user)) == 2
    tested = next(user for user in found["users"] if user["compared"])
    assert tested["compared"] == [[index["i1"], index["i7"]], [index["i3"], index["i4"]], []]
    # The user shown first has a hit; i5 is the neighbour of an item without a page, and als is not compared.
    assert found["start"] == next((place for place, user in enumerate(found["users"]) if user["held"]), 1)
    assert found["near"] == {str(index["i1"]): [[index["i6"], 0.91]]}
    assert "i5" not in index
    assert "i2" not in {item for item in index if item in found["details"]}
    assert set(TestPositives.columns()) >= {"outcome", "rank"}
    # Fewer users: the same rows by id, and no item that nobody needs.
    fewer = keep_users(found, 2)
    assert [user["id"] for user in fewer["users"]] == [found["users"][0]["id"], found["users"][-1]["id"]]
    for before, after in zip((found["users"][0], found["users"][-1]), fewer["users"], strict=True):
        for name in ("history", "list", "held"):
            ids = [found["ids"][row[0]] for row in before[name]]
            assert [fewer["ids"][row[0]] for row in after[name]] == ids
        ids = [[found["ids"][item] for item in row] for row in before["compared"]]
        assert [[fewer["ids"][item] for item in row] for row in after["compared"]] == ids
    for key, details in fewer["details"].items():
        assert found["details"][str(index[fewer["ids"][int(key)]])] == details
    assert set(fewer["ids"]) <= set(found["ids"])
    assert keep_users(found, 3)["users"] == found["users"]
