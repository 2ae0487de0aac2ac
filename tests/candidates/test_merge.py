from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from candidate_frames import to_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, make_interactions, make_items

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import cut_union, map_blocks, propose, propose_with_ties
from recsys.candidates.scores import DenseScores, Scores
from recsys.dataset.histories import Histories, build_histories
from recsys.tables import Candidates, check

NAN = np.nan


def choose_slowly(row: np.ndarray, depth: int) -> list[int]:
    said = [column for column in range(len(row)) if not np.isnan(row[column])]
    return sorted(said, key=lambda column: (-row[column], column))[:depth]


class FakeSource:
    """Scores from a table: user id -> one score per item of the catalogue."""

    reason = "The test says so"

    def __init__(self, name: str, table: dict[str, list[float]]) -> None:
        self.name = name
        self._table = table

    def score(self, histories: Histories) -> Scores:
        nothing = [NAN] * histories.n_items
        rows = [self._table.get(user, nothing) for user in histories.user_ids]
        return DenseScores.from_array(np.array(rows, dtype=np.float32).reshape(histories.n_users, histories.n_items))


def offer(sources, depths, histories, recommendable, *, repeats):
    rows = propose(sources, depths, histories, Exclusions.of(histories, recommendable, repeats=repeats))
    return rows.to_frame([source.name for source in sources])


ITEMS = make_items(*"abcde")
HISTORIES = build_histories(make_interactions(("u", "a", 1), ("v", "b", 1), ("v", "c", 2)), ITEMS, at(5))
ALL = np.ones(5, dtype=bool)
ONE = FakeSource("als", {"u": [9, 1, 3, 3, NAN], "v": [2, 9, 9, NAN, 1]})
TWO = FakeSource("popular", {"u": [9, 8, NAN, 6, 7], "v": [NAN, NAN, NAN, NAN, NAN]})


# --- propose ---------------------------------------------------------------------------------------------


def test_union_by_hand():
    table = offer([ONE, TWO], {"als": 2, "popular": 2}, HISTORIES, ALL, repeats=False)
    check(Candidates, table, "test candidates", "mend the test")
    assert table.schema == pl.Schema(
        {
            "user_index": pl.UInt32,
            "item_index": pl.UInt32,
            "als_score": pl.Float32,
            "als_rank": pl.UInt16,
            "popular_score": pl.Float32,
            "popular_rank": pl.UInt16,
        }
    )
    assert table.rows() == [
        # u has a; c and d tie in als and both fit; popular adds b and e, which als scores (or not) too deep.
        (0, 1, 1.0, None, 8.0, 1),
        (0, 2, 3.0, 1, None, None),
        (0, 3, 3.0, 2, 6.0, None),
        (0, 4, None, None, 7.0, 2),
        (1, 0, 2.0, 1, None, None),
        (1, 4, 1.0, 2, None, None),
    ]


def test_with_repeats_what_the_user_has_is_proposed():
    table = offer([ONE], {"als": 2}, HISTORIES, ALL, repeats=True)
    assert table.rows() == [(0, 0, 9.0, 1), (0, 2, 3.0, 2), (1, 1, 9.0, 1), (1, 2, 9.0, 2)]


def test_what_the_user_only_looked_at_is_proposed():
    looked = replace(HISTORIES, consumed=np.zeros(len(HISTORIES.items), dtype=bool))
    kinds = [offer([ONE], {"als": 2}, one, ALL, repeats=False) for one in (looked, HISTORIES)]
    assert kinds[0].equals(offer([ONE], {"als": 2}, HISTORIES, ALL, repeats=True))
    assert not kinds[0].equals(kinds[1])


def test_items_that_are_not_recommendable_are_never_proposed():
    recommendable = np.array([True, True, False, True, False])
    for repeats in (False, True):
        table = offer([ONE, TWO], {"als": 5, "popular": 5}, HISTORIES, recommendable, repeats=repeats)
        assert set(table["item_index"]) <= {0, 1, 3}
        # Their places are free for others.
        assert table.filter(pl.col("user_index") == 0)["als_rank"].drop_nulls().sort().to_list()[:2] == [1, 2]
    assert offer([ONE], {"als": 5}, HISTORIES, ~ALL, repeats=True).is_empty()


@pytest.mark.parametrize("repeats", [False, True])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_union_agrees_with_a_slow_reference(repeats, data):
    users, size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    ids = [f"u{number}" for number in range(users)]
    score = st.sampled_from([NAN, 0.0, 1.0, 2.0])
    row = st.lists(score, min_size=size, max_size=size)
    sources = [FakeSource(name, {user: data.draw(row) for user in ids}) for name in ("als", "text", "popular")]
    depths = {source.name: data.draw(st.integers(1, 6)) for source in sources}
    recommendable = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    taken = [(user, f"i{data.draw(st.integers(0, size - 1))}", 1) for user in ids]
    catalogue = make_items(*(f"i{number}" for number in range(size)))
    histories = build_histories(make_interactions(*taken), catalogue, at(5))

    expected: dict[tuple[int, int], dict[str, int]] = {}
    allowed = np.repeat(recommendable[None], users, axis=0)
    if not repeats:
        allowed[histories.users, histories.items] = False
    for source in sources:
        scores = np.where(allowed, source.score(histories).to_array(), NAN)
        for user in range(users):
            for rank, item in enumerate(choose_slowly(scores[user], depths[source.name]), start=1):
                expected.setdefault((user, item), {})[source.name] = rank
    table = offer(sources, depths, histories, recommendable, repeats=repeats)
    assert table.select("user_index", "item_index").rows() == sorted(expected)
    for found in table.iter_rows(named=True):
        pair = (found["user_index"], found["item_index"])
        for source in sources:
            assert found[f"{source.name}_rank"] == expected[pair].get(source.name)
            value = source.score(histories).to_array()[pair]
            assert found[f"{source.name}_score"] == (None if np.isnan(value) else value)


def test_a_users_candidates_do_not_depend_on_who_stands_beside():
    rng = np.random.default_rng(3)
    ids = [f"u{number:03d}" for number in range(300)]
    catalogue = make_items(*(f"i{number}" for number in range(9)))
    rows = make_interactions(*((user, f"i{rng.integers(9)}", 1) for user in ids))
    histories = build_histories(rows, catalogue, at(5))
    sources = [
        FakeSource(name, {user: rng.choice([NAN, 1.0, 2.0, 3.0], 9).tolist() for user in ids})
        for name in ("als", "popular")
    ]
    given = (sources, {"als": 3, "popular": 4})
    whole = offer(*given, histories, np.ones(9, dtype=bool), repeats=False)
    assert whole["user_index"].n_unique() == 300
    for some in (slice(0, 1), slice(127, 131), slice(299, 300)):
        part = offer(*given, histories.select(some), np.ones(9, dtype=bool), repeats=False)
        there = whole.filter(pl.col("user_index").is_between(some.start, some.stop - 1))
        assert part.equals(there.with_columns(pl.col("user_index") - some.start))


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_cover_everybody_in_order(threads):
    everybody = HISTORIES.take(pl.Series([f"u{number:03d}" for number in range(300)]))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen = map_blocks(lambda first, users: (first, users.user_ids.to_list(), torch.get_num_threads()), everybody)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert [first for first, _, _ in seen] == [0, 128, 256]
    assert [user for _, ids, _ in seen for user in ids] == everybody.user_ids.to_list()
    assert {inside for *_, inside in seen} == {1}
    assert map_blocks(lambda first, users: users.n_users, HISTORIES.select(slice(0, 0))) == [0]


def test_frame_and_back():
    frame = offer([ONE, TWO], {"als": 2, "popular": 2}, HISTORIES, ALL, repeats=False)
    rows = to_rows(frame, ["als", "popular"], 2)
    assert rows.starts.tolist() == [0, 4, 6]
    assert rows.users.tolist() == [0, 0, 0, 0, 1, 1]
    assert rows.to_frame(["als", "popular"]).equals(frame)
    later = rows.to_frame(["als", "popular"], 7)
    assert later["user_index"].to_list() == [7, 7, 7, 7, 8, 8]
    assert later.schema == frame.schema


def test_nobody_gets_an_empty_table_of_the_same_columns():
    depths = {"als": 2, "popular": 2}
    nobody = offer([ONE, TWO], depths, HISTORIES.select(slice(0, 0)), ALL, repeats=False)
    assert nobody.is_empty()
    assert nobody.schema == offer([ONE, TWO], depths, HISTORIES, ALL, repeats=False).schema
    unscored = offer([ONE, TWO], depths, HISTORIES.take(pl.Series(["x"])), ALL, repeats=False)
    assert unscored.is_empty()
    assert unscored.schema == nobody.schema


def test_an_empty_catalogue_has_no_candidates():
    histories = build_histories(make_interactions(("u", "a", 1)), make_items(), at(5))
    assert offer([FakeSource("als", {"u": []})], {"als": 3}, histories, np.ones(0, dtype=bool), repeats=True).is_empty()


# --- ties and the cut of the union ------------------------------------------------------------------------


def test_a_source_alone_comes_with_all_that_ties_at_its_depth():
    rows = propose_with_ties(ONE, 2, HISTORIES, ALL, repeats=True)
    # u: 9, then two threes for the second place; v: two nines.
    assert rows.rows() == [(0, 0, 9.0), (0, 2, 3.0), (0, 3, 3.0), (1, 1, 9.0), (1, 2, 9.0)]
    assert rows.schema == {"user_index": pl.UInt32, "item_index": pl.UInt32, "score": pl.Float32}


@settings(max_examples=60)
@given(st.data())
def test_a_source_alone_agrees_with_a_slow_reference(data):
    score = st.sampled_from([NAN, -1.0, 0.0, 1.0, 2.0])
    table = {user: data.draw(st.lists(score, min_size=5, max_size=5)) for user in "uv"}
    shown, repeats = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5))), data.draw(st.booleans())
    depth = data.draw(st.integers(1, 7))
    found = propose_with_ties(FakeSource("als", table), depth, HISTORIES, shown, repeats=repeats)
    expected = []
    for number, (user, had) in enumerate((("u", "a"), ("v", "bc"))):
        allowed = [item for item in range(5) if shown[item] and (repeats or "abcde"[item] not in had)]
        row = np.array([table[user][item] if item in allowed else NAN for item in range(5)])
        best = choose_slowly(row, depth)
        expected += [(number, item, row[item]) for item in range(5) if best and row[item] >= row[best[-1]]]
    assert found.rows() == expected


def test_a_source_alone_keeps_to_what_may_be_shown():
    shown = np.array([True, True, True, False, True])
    rows = propose_with_ties(ONE, 2, HISTORIES, shown, repeats=False)
    # u has a, and d is not to be shown; v has b and c.
    assert rows.rows() == [(0, 1, 1.0), (0, 2, 3.0), (1, 0, 2.0), (1, 4, 1.0)]
    assert propose_with_ties(TWO, 3, HISTORIES, ALL, repeats=True)["user_index"].unique().to_list() == [0]


def test_company_changes_nothing_alone():
    everybody = HISTORIES.take(pl.Series(["u", "v", *(f"w{number}" for number in range(200))]))
    alone = propose_with_ties(ONE, 2, HISTORIES, ALL, repeats=True)
    assert propose_with_ties(ONE, 2, everybody, ALL, repeats=True).equals(alone)


def ranks(*rows):
    schema = {"user_index": pl.UInt32, "item_index": pl.UInt32}
    for name in ("als", "text"):
        schema |= {f"{name}_score": pl.Float32, f"{name}_rank": pl.UInt16}
    frame = pl.DataFrame([(u, i, None, a, None, t) for u, i, a, t in rows], schema=schema, orient="row")
    return to_rows(frame, ["als", "text"], 2)


def test_the_cut_keeps_what_the_sources_agree_on():
    # 1/(60+1) = .0164 alone; 1/(60+9) + 1/(60+9) = .0290 together; the last two tie, the smaller item stays.
    rows = ranks((0, 1, 1, None), (0, 3, 9, 9), (0, 5, None, 2), (0, 6, 2, None), (1, 2, None, 50))
    kept = cut_union(rows, 3)
    assert (kept.starts.tolist(), kept.items.tolist()) == ([0, 3, 4], [1, 3, 5, 2])
    assert kept.ranks.tolist() == [[1, 9, 0, 0], [0, 9, 2, 50]]
    assert kept.scores.shape == (2, 4)
    assert cut_union(rows, 1).items.tolist() == [3, 2]
    assert cut_union(rows, None) is rows
