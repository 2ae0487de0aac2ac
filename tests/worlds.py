"""Small worlds with known answers: builders of `Items` and `Interactions` for any test.

Rows are given in any order and come back as `ingest` would write them: checked, sorted, with positions.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.collab.neighbours import NeighbourModel
from recsys.dataset.histories import Histories
from recsys.tables import Interactions, Items, check

DAY_ZERO = datetime(2025, 1, 1, tzinfo=UTC)

_WORDS = {
    "white": ["bread", "flour", "butter", "sugar", "vanilla", "oven", "dough", "pastry", "cream", "cake"],
    "black": ["engine", "gearbox", "piston", "clutch", "exhaust", "diesel", "tyre", "brake", "oil", "motor"],
}


def at(day: float) -> datetime:
    """Return the instant `day` days after 2025-01-01 00:00 UTC."""
    return DAY_ZERO + timedelta(days=day)


def make_items(*rows: str | Mapping[str, Any]) -> pl.DataFrame:
    """Return `Items`, sorted. A row is an item id, or a mapping with `item_id` and whatever else matters.

    Keys left out: title "Title of ID", no description, no tags, available, always there. `created` is a day
    number as in `at`; unknown keys become attribute columns.
    """
    filled = []
    for row in rows:
        given: dict[str, Any] = {"item_id": row} if isinstance(row, str) else dict(row)
        created = given.pop("created", None)
        created_at = None if created is None else at(created)
        blank = {"description": "", "tags": [], "available": True, "created_at": created_at}
        filled.append({"title": f"Title of {given['item_id']}", **blank, **given})
    own = {name: column.dtype for name, column in Items.columns().items()}
    more = sorted({name for row in filled for name in row} - set(own))
    frame = pl.DataFrame(filled, schema={**own, **dict.fromkeys(more, pl.String())})
    return check(Items, frame.sort("item_id"), "test items", "mend the test")


def make_interactions(*rows: tuple[Any, ...] | Mapping[str, Any], ordered: bool = True) -> pl.DataFrame:
    """Return `Interactions`, sorted. A row is (user, item), (user, item, day), or a mapping.

    Keys of a mapping: `user`, `item`, `day` (as in `at`; without it there is no time), `event`, `weight`,
    `value`, `position`, `positive`. A user's equal times, and data without times, keep the order of the rows given;
    `ordered=False` makes data without any order, where every position is 0.
    """
    given = [row if isinstance(row, Mapping) else dict(zip(("user", "item", "day"), row, strict=False)) for row in rows]
    filled = [
        {
            "user_id": row["user"],
            "item_id": row["item"],
            "step": 0,
            "time": at(row["day"]) if row.get("day") is not None else None,
            "event": row.get("event", "interaction"),
            "weight": row.get("weight", 1.0),
            "value": row.get("value"),
            "position": row.get("position"),
            "positive": row.get("positive", True),
            "consumed": row.get("consumed", True),
        }
        for row in given
    ]
    schema = {name: column.dtype for name, column in Interactions.columns().items()}
    frame = pl.DataFrame(filled, schema=schema).sort("user_id", "time", maintain_order=True)
    if ordered:
        frame = frame.with_columns(step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id"))
    return check(Interactions, frame, "test interactions", "mend the test")


def colour_of(number: int) -> str:
    """Return the colour of a checkerboard user or item: even numbers are white, odd ones black."""
    return ("white", "black")[number % 2]


def checkerboard(users: int = 20, items: int = 20, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (`Items`, `Interactions`) of a world where each user takes items of the own colour only.

    Users are `u000`, `u001`, …, items `i000`, `i001`, …; `colour_of` the number tells the colour. Each user
    takes about half of that colour, in random order, once each, one take every two days or so; no two takes of
    the world share an instant. All takes lie in days 0 to 60. So for every user the right answer is the rest of
    the own colour, and texts share words inside a colour and none across. `colour` is an attribute of the items.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(users):
        own = np.arange(number % 2, items, 2)
        taken = rng.permutation(own)[: max(2, (len(own) + 1) // 2)]
        days = np.sort(rng.uniform(0.0, 60.0, len(taken)))
        rows += [(f"u{number:03d}", f"i{item:03d}", float(day)) for item, day in zip(taken, days, strict=True)]
    return make_items(*(_colour_item(number, rng) for number in range(items))), make_interactions(*rows)


def _colour_item(number: int, rng: np.random.Generator) -> dict[str, Any]:
    colour = colour_of(number)
    words = rng.permutation(_WORDS[colour]).tolist()
    return {
        "item_id": f"i{number:03d}",
        "title": " ".join(words[:3]),
        "description": " ".join(words[3:8]),
        "tags": [colour],
        "colour": colour,
    }


def event_rows(min_size: int = 1, max_size: int = 30) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows for `make_interactions`: few users, items and days, so that ties and repeats abound.

    Days are 0 to 19; ids come in several scripts.
    """
    row = st.fixed_dictionaries(
        {
            "user": st.sampled_from(["a", "é", "用户", "😀", "مستخدم"]),
            "item": st.sampled_from(["B", "b", "ñ", "文", "🎈", "ب"]),
            "day": st.integers(0, 19),
            "weight": st.sampled_from([0.1, 0.3, 1.0, 7.7]),
            "positive": st.booleans(),
        }
    )
    return st.lists(row, min_size=min_size, max_size=max_size)


def shuffle(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return the rows in another order."""
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


def score(model: NeighbourModel, histories: Histories) -> NDArray[np.float32]:
    """Return (n_users, n_items): what each history's items say together, for and against."""
    scores: NDArray[np.float32] = (
        histories.matrix(histories.weigh_steps(model.history_decay)) @ model.similarity
    ).toarray()
    return scores
