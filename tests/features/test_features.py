from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest
from described import describe, gather_facts, make_candidates
from scipy.sparse import csr_array
from worlds import at, make_interactions, make_items

from recsys.candidates.models import CandidateModels
from recsys.dataset.histories import build_histories
from recsys.features.features import declare_features
from recsys.features.item_facts import ItemFacts

LOG = np.log1p

# --- a small world by hand -------------------------------------------------------------------------------
#
# Seen from day 20. ann: a on day 2 and on day 10, then a look at b on day 16. bob: b on day 18. cyd: c, which is not
# there. ALS does not know b.


@pytest.fixture(scope="module")
def table() -> dict[str, list[float | None]]:
    a = {"title": "abc", "description": "12345", "created": 0, "tags": ["x", "y"], "author": "Ann, Bo", "year": "2000"}
    b = {"title": "长夜 🎬", "tags": ["x"], "author": "Bo", "year": "2010"}
    d = {"title": "d", "description": "d", "created": 19.5, "tags": ["y", "z"], "author": "", "year": "2020"}
    e = {"title": "", "author": "Cy", "year": "n.d."}
    items = make_items({"item_id": "a"} | a, {"item_id": "b"} | b, {"item_id": "d"} | d, {"item_id": "e"} | e)
    interactions = make_interactions(
        ("ann", "a", 2),
        {"user": "ann", "item": "a", "day": 10, "weight": 3.0},
        {"user": "ann", "item": "b", "day": 16, "consumed": False},
        {"user": "bob", "item": "b", "day": 18, "weight": 5.0},
        ("cyd", "c", 19),
    )
    histories = build_histories(interactions, items, at(20))
    candidates = make_candidates(
        {
            "als": [(1.0, 3), (3.0, 1), (2.0, None), (5.0, 1), (5.0, 2), (None, None)],
            "text": [(None, None), (0.5, 1), (None, None), (None, None), (None, None), (0.1, 1)],
        },
        [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 3)],
    )
    features = describe(
        candidates,
        histories,
        items,
        embeddings=np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32),
        factors=np.array([[2, 0], [np.nan, np.nan], [3, 4], [0, -1]], dtype=np.float32),
        item_to_item={"ad": 0.5, "bd": 0.25, "ba": 0.125},
        transitions={"be": 2.0, "ae": 1.0},
    )
    assert features["user_index"].to_list() == [0, 0, 0, 1, 1, 2]
    assert features["item_index"].to_list() == [0, 2, 3, 0, 1, 3]
    return features.to_dict(as_series=False)


# Half-life 10 days: ann's touch of a is 10 days old, of b 4; bob's of b 2. So a: 0.5; b: 0.7579 + 0.8706.
RECENT_B = 0.5**0.4 + 0.5**0.2
POPULARITY = {"ann": (LOG(1) + LOG(2)) / 2, "bob": LOG(2)}
# a was 2 days old when ann met it; b was there from ann's touch on, and 2 days old when bob met it.
AGE = {"ann": LOG(2) / 2, "bob": LOG(2)}
# Years 2000, 2010 and 2020 spread by the root of 200/3. ann's are 5 from their mean, bob's only one is his mean.
SPREAD = {"ann": np.sqrt((25 + 25 + 200 / 3) / 3), "bob": np.sqrt((0 + 200 / 3) / 2)}
# What is left of the touches of a (2000) and b (2010) says how new the touched are.
LATELY = (0.5 * 2000 + RECENT_B * 2010) / (0.5 + RECENT_B)
NEVER: list[float | None] = [None] * 6
BY_HAND: dict[str, list[float | None]] = {
    "als_rank": [3, 1, None, 1, 2, None],
    "als_z": [-1, 1, 0, 0, 0, None],
    "als_gap": [2, 0, 1, 0, 0, None],
    "text_rank": [None, 1, None, None, None, 1],
    "text_z": [None, 0, None, None, None, 0],
    "text_gap": [None, 0, None, None, None, 0],
    "n_sources": [1, 2, 0, 1, 1, 1],
    "best_rank": [3, 1, None, 1, 2, 1],
    "mean_reciprocal_rank": [1 / 6, 1, 0, 1 / 2, 1 / 4, 1 / 2],
    "item_users": [LOG(1), 0, 0, LOG(1), LOG(2), 0],
    "item_recent": [LOG(0.5), 0, 0, LOG(0.5), LOG(RECENT_B), 0],
    "item_trend": [LOG(0.5) - LOG(1), 0, 0, LOG(0.5) - LOG(1), LOG(RECENT_B) - LOG(2), 0],
    "item_recent_share": [0.5, None, None, 0.5, RECENT_B / 2, None],
    "item_percentile": [0, 0, 0, 0, 0.5, 0],
    # a and d say when they came; b was first touched by ann 4 days ago; nobody knows about e.
    "item_age_days": [20, 0.5, None, 20, 4, None],
    "item_days_since_last": [10, None, None, 10, 2, None],
    "item_weight": [2, None, None, 2, 3, None],
    "item_text_length": [8, 2, 0, 8, 4, 0],
    "user_items": [LOG(2), LOG(2), LOG(2), LOG(1), LOG(1), 0],
    "user_days_since_last": [4, 4, 4, 2, 2, None],
    "user_gap_days": [6, 6, 6, None, None, None],
    "user_popularity": [POPULARITY["ann"]] * 3 + [POPULARITY["bob"]] * 2 + [None],
    "user_item_age": [AGE["ann"]] * 3 + [AGE["bob"]] * 2 + [None],
    "user_weight": [5 / 3, 5 / 3, 5 / 3, 5, 5, None],
    "user_looked_share": [0.5, 0.5, 0.5, 0, 0, None],
    "popularity_fit": [
        LOG(1) - POPULARITY["ann"],
        -POPULARITY["ann"],
        -POPULARITY["ann"],
        LOG(1) - POPULARITY["bob"],
        0,
        None,
    ],
    "age_fit": [LOG(20) - AGE["ann"], LOG(0.5) - AGE["ann"], None, LOG(20) - AGE["bob"], LOG(4) - AGE["bob"], None],
    # ann's newest is b (0, 1), before it a (1, 0); bob has b only.
    "text_last": [0, 0.8, 0, 0, 1, None],
    "text_recent_max": [1, 0.8, 0, 0, 1, None],
    "text_recent_mean": [0.5, 0.7, -0.5, 0, 1, None],
    "text_max": [1, 0.8, 0, 0, 1, None],
    "text_mean": [0.5, 0.7, -0.5, 0, 1, None],
    "text_decayed_mean": [0.9 / 1.9, (0.9 * 0.6 + 0.8) / 1.9, -0.9 / 1.9, 0, 1, None],
    # From ann's mean, (0.5, 0.5), and from bob's, (0, 1).
    "text_distance": [np.sqrt(0.5), np.sqrt(0.1), np.sqrt(2.5), np.sqrt(2), 0, None],
    "text_breadth": [1 - np.sqrt(0.5)] * 3 + [0, 0, None],
    # Of ann's items ALS knows a alone, (1, 0) as a unit, and of bob's none.
    "als_last": NEVER,
    "als_recent_max": [1, 0.6, 0, None, None, None],
    "als_recent_mean": [1, 0.6, 0, None, None, None],
    "als_max": [1, 0.6, 0, None, None, None],
    "als_mean": [1, 0.6, 0, None, None, None],
    "als_decayed_mean": [1, 0.6, 0, None, None, None],
    "als_distance": [0, np.sqrt(0.8), np.sqrt(2), None, None, None],
    "als_breadth": [0, 0, 0, None, None, None],
    # Nothing is known of e here, and of d below.
    "item_to_item_last": [0.125, 0.25, None, 0.125, 0, None],
    "item_to_item_recent": [0.125, 0.75, None, 0.125, 0, None],
    "item_to_item_count": [1, 2, None, 1, 0, None],
    "transitions_last": [0, None, 2, 0, 0, None],
    "transitions_recent": [0, None, 3, 0, 0, None],
    "transitions_count": [0, None, 2, 0, 0, None],
    "script_share": [0.5, 0.5, None, 0, 1, None],
    "match_tags": [0.75, 0.25, None, 0.5, 1, None],
    "recent_match_tags": [1, 1, None, 1, 1, None],
    "match_author": [0.75, None, 0, 0.5, 1, None],
    "recent_match_author": [1, None, 0, 1, 1, None],
    "match_year": [0.5, 0, 0, 0, 1, None],
    "recent_match_year": [1, 0, 0, 0, 1, None],
    "near_author": NEVER,
    "lately_author": NEVER,
    "near_year": [5 / SPREAD["ann"], 15 / SPREAD["ann"], None, 10 / SPREAD["bob"], 0, None],
    "lately_year": [
        (year - LATELY) / np.sqrt(200 / 3) if year else None for year in (2000, 2020, None, 2000, 2010, None)
    ],
    "had_count": [2, 0, 0, 0, 1, 0],
    "had_days": [10, None, None, None, 2, None],
    "had_interval_days": [8, None, None, None, None, None],
    # Days say it where there is a clock.
    "had_steps": NEVER,
}


def test_every_feature_is_worked_by_hand():
    assert list(BY_HAND) == list(declare_features(["als", "text"], ["author", "year"]))


@pytest.mark.parametrize("feature", BY_HAND)
def test_feature_by_hand(table, feature):
    expected = [None if value is None else pytest.approx(value, abs=1e-5) for value in BY_HAND[feature]]
    assert table[feature] == expected


def test_newest_means_five_and_at_most_fifty():
    """Sixty items, the last the newest: what the sixth newest says is beyond reach, and the fiftieth is the last."""
    names = [f"i{number:02d}" for number in range(60)]
    items = make_items(*({"item_id": name, "author": name} for name in names), {"item_id": "z", "author": "i54"})
    interactions = make_interactions(*(("u", name, day) for day, name in enumerate(names)))
    histories = build_histories(interactions, items, at(90))
    similarity = np.zeros((61, 61), dtype=np.float32)
    similarity[:60, 60] = 2.0 ** -np.arange(60)[::-1]
    for seen, recent, furthest in ((54, 0.0, 1.0), (55, 1.0, 1.0), (10, 0.0, 1.0), (9, 0.0, 0.0)):
        embeddings = np.eye(61, dtype=np.float32)
        embeddings[60] = embeddings[seen]
        authored = items.with_columns(
            author=pl.when(pl.col("item_id") == "z").then(pl.lit(names[seen])).otherwise("author")
        )
        facts = gather_facts(histories, authored, embeddings, factors=embeddings)
        row = describe(make_candidates({"als": [(1.0, 1)]}, [(0, 60)]), histories, authored, facts).row(0, named=True)
        for kind in ("text", "als"):
            assert row[f"{kind}_recent_max"] == recent
            assert row[f"{kind}_recent_mean"] == pytest.approx(recent / 5)
            assert row[f"{kind}_max"] == furthest
            assert row[f"{kind}_mean"] == pytest.approx(1 / 60)
        assert row["recent_match_author"] == recent
        assert row["match_author"] == pytest.approx(1 / 60)
    candidate_models = SimpleNamespace(
        item_vectors={"als": embeddings},
        item_neighbours=dict.fromkeys(("item_to_item", "transitions"), csr_array(similarity)),
    )
    facts = ItemFacts.gather(
        items, [], facts.statistics, embeddings, cast(CandidateModels, candidate_models), histories.cutoff
    )
    row = describe(make_candidates({"als": [(1.0, 1)]}, [(0, 60)]), histories, items, facts).row(0, named=True)
    assert row["item_to_item_last"] == 1
    assert row["transitions_recent"] == 2 - 2**-4
    assert row["transitions_count"] == 50


def test_what_the_catalogue_dates_later_is_new():
    """A touch before the item joined, and an item that has not joined yet, find it 0 days old."""
    items = make_items({"item_id": "a", "created": 5}, {"item_id": "b", "created": 25})
    histories = build_histories(make_interactions(("u", "a", 2), ("u", "b", 3)), items, at(20))
    row = describe(make_candidates({"als": [(1.0, 1)]}, [(0, 1)]), histories, items).row(0, named=True)
    assert row["user_item_age"] == row["age_fit"] == 0.0
    assert row["item_age_days"] == -5


@pytest.mark.parametrize(("history", "expected"), [("ab", (None, 1, 1)), ("ba", (1, 1, 1)), ("b", (None, None, None))])
def test_a_model_that_does_not_know_the_history_says_nothing(history, expected):
    items = make_items("a", "b", "d")
    histories = build_histories(make_interactions(*(("u", item) for item in history)), items, None)
    candidates = make_candidates({"als": [(1.0, 1)]}, [(0, 2)])
    features = describe(candidates, histories, items, item_to_item={"ad": 1.0}, transitions={"ad": 1.0})
    for name in ("item_to_item", "transitions"):
        assert features.select(f"{name}_last", f"{name}_recent", f"{name}_count").row(0) == expected


def test_every_name_is_declared_and_told():
    """The page lists each feature by the sentence of the list, with placeholders where the config gives names."""
    page = (Path(__file__).parents[2] / "docs/reference/features.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {cells[1].strip().strip("`"): cells[2].strip() for cells in rows}
    assert told == declare_features(["{source}"], ["{attribute}"], modalities=["{vectors}"])
    assert all(sentence.endswith(".") for sentence in told.values())
