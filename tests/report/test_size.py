"""The page stays small, and is drawn quickly, however many users and items there are."""

from pathlib import Path

import numpy as np
import polars as pl
from handmade import make_home
from worlds import make_interactions, make_items

from recsys.artifacts.runs import read_run
from recsys.report.page import _BROWSER_BYTES, _gather_browser, _Lists


def test_the_browser_shows_fewer_users_where_the_page_would_be_too_large(tmp_path: Path) -> None:
    make_home(tmp_path / "home", nights=0)
    run = read_run(tmp_path / "home", "mini")
    rng = np.random.default_rng(0)
    # Long Chinese titles and descriptions: three bytes a letter.
    items = make_items(
        *(
            {"item_id": f"i{number}", "title": f"{number} " + "深夜食堂" * 9, "description": "书" * 500}
            for number in range(4000)
        )
    )
    users = [f"u{number}" for number in range(1000)]
    pairs = [(user, f"i{item}") for user in users for item in rng.integers(0, 4000, 30)]
    lists = pl.DataFrame(
        {
            "user_id": np.repeat(users, 10),
            "rank": np.tile(np.arange(1, 11), 1000),
            "item_id": [f"i{item}" for item in rng.integers(0, 4000, 10_000)],
            "score": 1.0,
        }
    )
    source = _Lists(lists, make_interactions(*set(pairs), ordered=False), items, "Lists")
    whose, text = _gather_browser(run, source, 1000)
    assert len(text.encode()) <= _BROWSER_BYTES
    assert 10 < int(whose.split(": ")[1].split(" of ")[0]) < 1000
