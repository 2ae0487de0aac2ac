"""Exposure: hand-counted shares of items, rows and users."""

import polars as pl
from worlds import make_interactions, make_items

from recsys.config import SegmentsConfig
from recsys.report.exposure import show_exposure

ITEMS = make_items(*({"item_id": f"i{number:03}", "title": f"T{number}"} for number in range(100)), {"item_id": "gone"})


def test_shares_are_counted_by_hand() -> None:
    # i000 has 10 users, i001 to i009 have 2, i010 to i039 have 1, the rest have none.
    pairs = [(f"u{user}", "i000") for user in range(10)]
    pairs += [(f"u{user}", f"i{item:03}") for item in range(1, 10) for user in range(2)]
    pairs += [("u0", f"i{item:03}") for item in range(10, 40)]
    history = make_interactions(*pairs, ordered=False)
    items = ITEMS.with_columns(available=pl.col("item_id") != "gone")
    lists = pl.DataFrame(
        {"user_id": ["u0", "u0", "u5", "u5"], "item_id": ["i000", "i050", "i000", "i012"]},
    )
    panel = show_exposure(lists, history, items, SegmentsConfig(new_user_items=1, heavy_user_items=20), "Lists")
    assert [stat.value for stat in panel.stats] == ["100.0%", "3", "25.0%"]
    (figure,) = panel.figures
    assert figure.grid is not None
    groups = {row.cells[0]: row.cells[1:] for row in figure.grid.rows}
    assert groups == {
        "top 1%": ("1.0%", "17.2%", "50.0%"),
        "next 9%": ("9.0%", "31.0%", "0.0%"),
        "next 40%": ("30.0%", "51.7%", "25.0%"),
        "no users yet": ("60.0%", "0.0%", "25.0%"),
    }
    most, users = panel.grids
    assert [row.cells for row in most.rows] == [
        ("T0", "100.0%", "10"),
        ("T12", "50.0%", "1"),
        ("T50", "50.0%", "0"),
    ]
    assert [row.cells for row in users.rows] == [
        ("new: at most 1 item", "1", "2", "50.0%", "6"),
        ("heavy: more than 20 items", "1", "2", "50.0%", "5"),
    ]
