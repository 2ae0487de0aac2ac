import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file
from worlds import make_interactions, make_items

from recsys.config import InterestConfig
from recsys.dataset.histories import build_histories
from recsys.text.hashed_terms import count_hashed_terms, scale_terms, weigh_buckets
from recsys.text.interest import InterestModel

BUCKETS = 4096


def test_a_text_has_the_same_row_in_every_catalogue():
    alone = count_hashed_terms(pl.Series(["The Long Watch", ""]), BUCKETS)
    among = count_hashed_terms(pl.Series(["长夜 🎬", "the long watch", "other"]), BUCKETS)
    assert alone.shape == (2, BUCKETS)
    np.testing.assert_array_equal(alone[[0]].toarray(), among[[1]].toarray())
    # the, long, watch, the long, long watch
    assert alone[[0]].nnz == 5
    assert alone[[1]].nnz == 0


def test_repeated_terms_count_logarithmically():
    row = count_hashed_terms(pl.Series(["a a a"]), BUCKETS).data
    assert sorted(row) == pytest.approx([1 + np.log(2), 1 + np.log(3)])


def test_terms_of_one_item_or_of_too_many_have_no_weight():
    texts = pl.Series([f"all own{number} {'some' if number < 3 else ''}" for number in range(40)])
    words = count_hashed_terms(texts, BUCKETS)
    weights = weigh_buckets(words)
    assert sorted(weights[weights > 0]) == pytest.approx([1 + np.log(41 / 4)])
    scaled = scale_terms(words, weights)
    assert np.diff(scaled.indptr).tolist() == [1] * 3 + [0] * 37
    assert scaled.data == pytest.approx(1.0)


@pytest.fixture(scope="module")
def world():
    """Twelve series, each with its own readers; embeddings are random. The last item of each series is new."""
    items = make_items(*(f"series{series:02} {number}" for series in range(12) for number in range(3)))
    texts = pl.Series([f"{name[:-2]} saga" for name in items["item_id"]])
    rows = [(f"u{user:02}", f"series{user % 12:02} {(user // 12 + step) % 2}") for user in range(48) for step in (0, 1)]
    vectors = np.random.default_rng(0).normal(size=(36, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return build_histories(make_interactions(*rows), items, None), vectors, texts


@pytest.fixture(scope="module")
def model(world):
    histories, vectors, texts = world
    model = InterestModel(8, InterestConfig(hashed_terms=256, epochs=20, batch_size=8, hashed_terms_dropout=0.0))
    model.fit(histories, vectors, 0, texts=texts)
    return model


def margins(model, world):
    """For each user, the score of the new item of their series minus that of the next series."""
    histories, vectors, _ = world
    items = model.item_vectors(vectors)
    scores = model.user_vectors(histories, items) @ items.T
    users = np.arange(48)
    return scores[users, users % 12 * 3 + 2] - scores[users, (users + 1) % 12 * 3 + 2]


def test_new_items_of_a_series_score_high_for_its_readers(model, world):
    assert margins(model, world).mean() > 0.4
    histories, vectors, texts = world
    without = InterestModel(8, InterestConfig(epochs=20, batch_size=8))
    without.fit(histories, vectors, 0, texts=texts)
    assert abs(margins(without, world).mean()) < 0.2


@pytest.mark.parametrize("continued", [False, True])
def test_only_buckets_with_a_weight_are_trained(model, world, tmp_path, continued):
    histories, vectors, texts = world
    if continued:
        config = InterestConfig(hashed_terms=256, epochs=20, batch_size=8)
        start, model = model, InterestModel(8, config)
        model.fit(histories, vectors, 1, texts=texts, start=start)
    model.save(tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    weighted = state["bucket_weights"].numpy() > 0
    trained = np.abs(state["words"].numpy()).sum(axis=1) > 0
    assert 0 < weighted.sum() < 256
    np.testing.assert_array_equal(trained, weighted)


def test_texts_without_a_shared_term_train_no_bucket(world):
    histories, vectors, texts = world
    alone = pl.Series([f"word{number}x" for number in range(len(texts))])
    model = InterestModel(8, InterestConfig(hashed_terms=4096, epochs=2, batch_size=8))
    assert model.fit(histories, vectors, 0, texts=alone)
    assert np.isfinite(model.item_vectors(vectors)).all()


def test_a_loaded_model_computes_its_term_vectors_again(model, world, tmp_path):
    histories, vectors, texts = world
    model.save(tmp_path / "model.safetensors")
    loaded = InterestModel.load(tmp_path / "model.safetensors", histories.item_ids, model._config)
    again = loaded.with_term_vectors(texts)
    np.testing.assert_array_equal(again.item_vectors(vectors), model.item_vectors(vectors))
    assert again.with_term_vectors(texts) is again


def test_another_catalogue_gets_its_own_term_vectors(model, world):
    _, vectors, _ = world
    aligned = model.align(pl.Series(["new", "series05 1"])).with_term_vectors(
        pl.Series(["series02 saga", "series05 saga"])
    )
    both = aligned.item_vectors(vectors[[6, 16]])
    np.testing.assert_allclose(both, model.item_vectors(vectors)[[6, 16]], atol=1e-6)


def test_a_model_that_continues_counts_the_same_texts_once(model, world, monkeypatch):
    histories, vectors, texts = world
    counted = []
    monkeypatch.setattr(
        "recsys.text.interest.count_hashed_terms",
        lambda texts, buckets: counted.append(1) or count_hashed_terms(texts, buckets),
    )
    alike, changed = (InterestModel(8, model._config) for _ in range(2))
    alike.fit(histories, vectors, 0, texts=texts.clone(), start=model)
    assert not counted
    changed.fit(histories, vectors, 0, texts=texts + " again", start=model)
    assert counted == [1]
    assert not np.array_equal(alike.item_vectors(vectors), changed.item_vectors(vectors))
