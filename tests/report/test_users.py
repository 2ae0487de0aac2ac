"""The data of the user browser."""

from datetime import UTC, datetime

import polars as pl
from worlds import make_interactions, make_items

from recsys.report.users import HISTORY_LENGTH, gather_users


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
