import numpy as np
from scipy.sparse import csr_array
from worlds import at, make_interactions, make_items

from recsys.dataset.histories import build_histories
from recsys.ranking.evidence import Evidence, Nearness

NEAR = Nearness(0.5, 0.1)


def count(*rows, items="abc", day=100):
    histories = build_histories(make_interactions(*rows), make_items(*items), at(day))
    everything = csr_array(np.ones((len(items), len(items)), dtype=np.float32))
    return Evidence.count(histories, NEAR, [everything])


def test_people_with_both_items_and_their_order():
    evidence = count(("u", "a", 1), ("u", "b", 2), ("v", "b", 1), ("v", "a", 2), ("w", "a", 1), ("w", "b", 3))
    after = csr_array((evidence.after, evidence.pairs.indices, evidence.pairs.indptr), shape=(3, 3))
    assert evidence.people == 3
    assert evidence.pairs[0, 1] == evidence.pairs[1, 0] == 3
    assert evidence.pairs[0, 2] == 0
    # u and w went on from a to b, v from b to a.
    assert (after[0, 1], after[1, 0]) == (2, 1)


def test_only_pairs_of_a_neighbour_model_are_counted():
    histories = build_histories(make_interactions(("u", "a", 1), ("u", "b", 2)), make_items(*"ab"), at(5))
    one_way = csr_array(np.array([[0, 0.5], [0, 0]], dtype=np.float32))
    assert Evidence.count(histories, NEAR, [one_way]).pairs.toarray().tolist() == [[0, 1], [0, 0]]
    assert Evidence.count(histories, NEAR, []).pairs.nnz == 0


def test_the_shortest_window_in_which_an_item_is_popular():
    # a: twelve people in the last week, and b: twelve in the last month; c has few.
    rows = [(f"u{n}", "a", 95) for n in range(12)] + [(f"v{n}", "b", 80) for n in range(12)] + [("w", "c", 99)]
    evidence = count(*rows)
    assert evidence.popular.tolist() == [[12, 12, 0], [7, 30, 0]]


def test_new_people_of_a_window_and_of_the_one_before():
    rows = [(f"u{n}", "a", 96) for n in range(6)] + [(f"v{n}", "a", 88) for n in range(3)] + [("w", "b", 96)]
    assert count(*rows).rising.tolist() == [[6, 0, 0], [3, 0, 0], [7, 0, 0]]
    # Who had the item before is not new.
    again = [(f"u{n}", "a", 50) for n in range(6)]
    assert count(*rows, *again).rising[2].tolist() == [0, 0, 0]


def test_nearness_is_above_that_of_random_pairs():
    angles = np.random.default_rng(0).uniform(0, np.pi, 300)
    vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = Nearness.measure(vectors, csr_array((300, 300), dtype=np.float32))
    cosines = vectors @ vectors.T
    share = (cosines[~np.eye(300, dtype=bool)] > found.embeddings).mean()
    assert 0.007 < share < 0.013
    assert found.terms == 0.0
    assert Nearness.measure(vectors, None) == found
    # Of a single item nothing is near.
    assert Nearness.measure(vectors[:1], None) == Nearness(1.0, 0.0)


def test_evidence_survives_a_file():
    evidence = count(("u", "a", 1), ("u", "b", 2), ("v", "b", 1))
    again = Evidence.from_arrays(evidence.to_arrays())
    assert (again.nearness, again.people) == (NEAR, 2)
    for name, array in evidence.to_arrays().items():
        assert np.array_equal(array, again.to_arrays()[name])
