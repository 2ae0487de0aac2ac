from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from worlds import at, make_interactions, make_items

from recsys.candidates import union
from recsys.candidates.union import batch_users, cut_union, propose, propose_with_ties, select_top
from recsys.dataset.histories import Histories, build_histories
from recsys.tables import Candidates, check

NAN = np.nan
# Few values, so that ties abound; -0.0 equals 0.0.
tied_scores = st.tuples(st.integers(0, 5), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([NAN, -1.0, -0.0, 0.0, 0.5, 1.0, 1e30]))
)


def choose_slowly(row: np.ndarray, depth: int) -> list[int]:
    said = [column for column in range(len(row)) if not np.isnan(row[column])]
    return sorted(said, key=lambda column: (-row[column], column))[:depth]


class FakeSource:
    """Scores from a table: user id -> one score per item of the catalogue."""

    reason = "The test says so"

    def __init__(self, name: str, table: dict[str, list[float]]) -> None:
        self.name = name
        self._table = table

    def score(self, histories: Histories) -> np.ndarray:
        nothing = [NAN] * histories.n_items
        rows = [self._table.get(user, nothing) for user in histories.user_ids]
        return np.array(rows, dtype=np.float32).reshape(histories.n_users, histories.n_items)


ITEMS = make_items(*"abcde")
HISTORIES = build_histories(make_interactions(("u", "a", 1), ("v", "b", 1), ("v", "c", 2)), ITEMS, at(5))
ALL = np.ones(5, dtype=bool)
ONE = FakeSource("als", {"u": [9, 1, 3, 3, NAN], "v": [2, 9, 9, NAN, 1]})
TWO = FakeSource("popular", {"u": [9, 8, NAN, 6, 7], "v": [NAN, NAN, NAN, NAN, NAN]})


# --- select_top ------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(tied_scores, st.integers(1, 14))
def test_top_agrees_with_a_slow_reference(scores, depth):
    before = scores.copy()
    columns, real = select_top(scores, depth)
    assert (columns.dtype, real.dtype) == (np.int32, np.bool_)
    assert columns.shape == real.shape == (len(scores), min(depth, scores.shape[1]))
    for number, row in enumerate(scores):
        assert columns[number][real[number]].tolist() == choose_slowly(row, depth)
        # The real ones stand first, and no column stands twice.
        assert (np.diff(real[number].astype(int)) <= 0).all()
        assert len(set(columns[number].tolist())) == columns.shape[1]
    assert scores.tobytes() == before.tobytes()


@settings(max_examples=50)
@given(tied_scores, st.integers(1, 14))
def test_top_of_a_row_is_the_same_in_any_batch(scores, depth):
    columns, real = select_top(scores, depth)
    for number in range(len(scores)):
        alone, said = select_top(scores[number : number + 1], depth)
        assert alone[0][said[0]].tolist() == columns[number][real[number]].tolist()


def test_many_ties_at_the_cut_go_to_the_smaller_columns():
    scores = np.ones((3, 5000), dtype=np.float32)
    scores[:, 4000] = 2.0
    scores[1, :100] = NAN
    columns, real = select_top(scores, 4)
    assert columns.tolist() == [[4000, 0, 1, 2], [4000, 100, 101, 102], [4000, 0, 1, 2]]
    assert real.all()


def test_top_of_nothing():
    columns, real = select_top(np.full((2, 3), NAN, dtype=np.float32), 2)
    assert columns.shape == (2, 2)
    assert not real.any()
    assert select_top(np.zeros((2, 0), dtype=np.float32), 4)[0].shape == (2, 0)
    assert select_top(np.zeros((0, 3), dtype=np.float32), 2)[0].shape == (0, 2)


# --- propose ---------------------------------------------------------------------------------------------


def test_union_by_hand():
    table = propose([ONE, TWO], {"als": 2, "popular": 2}, HISTORIES, ALL, repeats=False)
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
    table = propose([ONE], {"als": 2}, HISTORIES, ALL, repeats=True)
    assert table.rows() == [(0, 0, 9.0, 1), (0, 2, 3.0, 2), (1, 1, 9.0, 1), (1, 2, 9.0, 2)]


def test_what_the_user_only_looked_at_is_proposed():
    looked = replace(HISTORIES, taken=np.zeros(len(HISTORIES.items), dtype=bool))
    kinds = [propose([ONE], {"als": 2}, one, ALL, repeats=False) for one in (looked, HISTORIES)]
    assert kinds[0].equals(propose([ONE], {"als": 2}, HISTORIES, ALL, repeats=True))
    assert not kinds[0].equals(kinds[1])


def test_items_that_are_not_recommendable_are_never_proposed():
    recommendable = np.array([True, True, False, True, False])
    for repeats in (False, True):
        table = propose([ONE, TWO], {"als": 5, "popular": 5}, HISTORIES, recommendable, repeats=repeats)
        assert set(table["item_index"]) <= {0, 1, 3}
        # Their places are free for others.
        assert table.filter(pl.col("user_index") == 0)["als_rank"].drop_nulls().sort().to_list()[:2] == [1, 2]
    assert propose([ONE], {"als": 5}, HISTORIES, ~ALL, repeats=True).is_empty()


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
        scores = np.where(allowed, source.score(histories), NAN)
        for user in range(users):
            for rank, item in enumerate(choose_slowly(scores[user], depths[source.name]), start=1):
                expected.setdefault((user, item), {})[source.name] = rank
    table = propose(sources, depths, histories, recommendable, repeats=repeats)
    assert table.select("user_index", "item_index").rows() == sorted(expected)
    for found in table.iter_rows(named=True):
        pair = (found["user_index"], found["item_index"])
        for source in sources:
            assert found[f"{source.name}_rank"] == expected[pair].get(source.name)
            value = source.score(histories)[pair]
            assert found[f"{source.name}_score"] == (None if np.isnan(value) else value)


@pytest.mark.parametrize("cells", [1, 25, 60, 10**9])
def test_batches_do_not_change_the_result(monkeypatch, cells):
    rng = np.random.default_rng(3)
    ids = [f"u{number:02d}" for number in range(23)]
    catalogue = make_items(*(f"i{number}" for number in range(9)))
    rows = make_interactions(*((user, f"i{rng.integers(9)}", 1) for user in ids))
    histories = build_histories(rows, catalogue, at(5))
    sources = [
        FakeSource(name, {user: rng.choice([NAN, 1.0, 2.0, 3.0], 9).tolist() for user in ids})
        for name in ("als", "popular")
    ]
    depths = {"als": 3, "popular": 4}
    whole = propose(sources, depths, histories, np.ones(9, dtype=bool), repeats=False)
    assert whole["user_index"].n_unique() == 23
    monkeypatch.setattr(union, "_CELLS", cells)
    assert propose(sources, depths, histories, np.ones(9, dtype=bool), repeats=False).equals(whole)


@pytest.mark.parametrize(("cells", "sizes"), [(1, [1, 1]), (10, [1, 1]), (20, [2]), (1000, [2])])
def test_batches_hold_so_many_cells_and_cover_everybody(monkeypatch, cells, sizes):
    monkeypatch.setattr(union, "_CELLS", cells)
    runs = list(batch_users(HISTORIES, 2))
    assert [run.stop - run.start for run in runs] == sizes
    assert [user for run in runs for user in range(run.start, run.stop)] == [0, 1]


def test_nobody_gets_an_empty_table_of_the_same_columns():
    depths = {"als": 2, "popular": 2}
    nobody = propose([ONE, TWO], depths, HISTORIES.select(slice(0, 0)), ALL, repeats=False)
    assert nobody.is_empty()
    assert nobody.schema == propose([ONE, TWO], depths, HISTORIES, ALL, repeats=False).schema
    silent = propose([ONE, TWO], depths, HISTORIES.take(pl.Series(["x"])), ALL, repeats=False)
    assert silent.is_empty()
    assert silent.schema == nobody.schema


def test_an_empty_catalogue_has_no_candidates():
    histories = build_histories(make_interactions(("u", "a", 1)), make_items(), at(5))
    assert propose(
        [FakeSource("als", {"u": []})], {"als": 3}, histories, np.ones(0, dtype=bool), repeats=True
    ).is_empty()


# --- ties and the cut of the union ------------------------------------------------------------------------


def test_a_source_alone_comes_with_all_that_ties_at_its_depth():
    rows = propose_with_ties(ONE, 2, HISTORIES, ALL, repeats=True)
    # u: 9, then two threes for the second place; v: two nines.
    assert rows.rows() == [(0, 0, 9.0), (0, 2, 3.0), (0, 3, 3.0), (1, 1, 9.0), (1, 2, 9.0)]
    assert rows.schema == {"user_index": pl.UInt32, "item_index": pl.UInt32, "score": pl.Float32}


def test_a_source_alone_keeps_to_what_may_be_shown():
    shown = np.array([True, True, True, False, True])
    rows = propose_with_ties(ONE, 2, HISTORIES, shown, repeats=False)
    # u has a, and d is not to be shown; v has b and c.
    assert rows.rows() == [(0, 1, 1.0), (0, 2, 3.0), (1, 0, 2.0), (1, 4, 1.0)]
    assert propose_with_ties(TWO, 3, HISTORIES, ALL, repeats=True)["user_index"].unique().to_list() == [0]


@pytest.mark.parametrize("cells", [1, 7, 10_000])
def test_runs_of_users_change_nothing_alone(cells, monkeypatch):
    whole = propose_with_ties(ONE, 2, HISTORIES, ALL, repeats=True)
    monkeypatch.setattr(union, "_CELLS", cells)
    assert propose_with_ties(ONE, 2, HISTORIES, ALL, repeats=True).equals(whole)


def offer(*rows):
    schema = {"user_index": pl.UInt32, "item_index": pl.UInt32, "als_rank": pl.UInt16, "text_rank": pl.UInt16}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_cut_keeps_what_the_sources_agree_on():
    # 1/(60+1) = .0164 alone; 1/(60+9) + 1/(60+9) = .0290 together; the last two tie, the smaller item stays.
    candidates = offer((0, 1, 1, None), (0, 3, 9, 9), (0, 5, None, 2), (0, 6, 2, None), (1, 2, None, 50))
    kept = cut_union(candidates, ["als", "text"], 3)
    assert kept.select("user_index", "item_index").rows() == [(0, 1), (0, 3), (0, 5), (1, 2)]
    assert cut_union(candidates, ["als", "text"], 1)["item_index"].to_list() == [3, 2]
    assert cut_union(candidates, ["als", "text"], None).equals(candidates)
