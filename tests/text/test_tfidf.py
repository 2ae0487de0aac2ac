from math import log, sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys.config import TfidfConfig
from recsys.text.tfidf import fit_tfidf, weigh_terms

ALL = TfidfConfig(max_share=1.0)


def neighbours(*texts: str, config: TfidfConfig = ALL) -> np.ndarray:
    similarity = fit_tfidf(pl.Series(texts, dtype=pl.String), config)
    assert similarity.dtype == np.float32
    return similarity.toarray()


def test_similarities_worked_out_by_hand():
    # "red" is in all three, "tea" in two; "pot", "tea red" and "red pot" in one each, so they are left out.
    similarity = neighbours("Tea red", "red POT", "tea tea? Red.", config=TfidfConfig(max_words=1, max_share=1.0))
    red, tea = 1.0, 1.0 + log(4 / 3)
    twice = tea * (1.0 + log(2))
    first, third = sqrt(red**2 + tea**2), sqrt(red**2 + twice**2)
    near = (red * red + tea * twice) / first / third
    expected = [[0, red / first, near], [red / first, 0, red / third], [near, red / third, 0]]
    assert similarity == pytest.approx(np.array(expected), rel=1e-5)


def test_chinese_is_split_by_character():
    similarity = neighbours("红烧牛肉的做法", "家常红烧肉", "手机摄影教程", "摄影入门,手机就够了", "🎈")
    assert np.argmax(similarity[0]) == 1
    assert np.argmax(similarity[2]) == 3
    assert similarity[0, 2] == similarity[1, 3] == 0
    assert not similarity[4].any()
    # 红烧 together weighs more than 红 and 烧 apart.
    together, apart = neighbours("红烧", "红烧甲", "烧红乙")[0, 1:]
    assert together > apart > 0


@pytest.mark.parametrize(
    ("one", "other", "stranger"),
    [
        ("The Long Watch", "a long watch at sea", "Watchmaker's lament"),
        ("ÉTÉ à Paris", "un été", "et tu"),
        ("हिन्दी कविता", "नई हिन्दी कहानी", "हिम नदी"),
        ("كتاب الطبخ", "كتاب جديد", "كتب"),
        ("iPhone手机壳", "华为手机", "电脑桌"),
        ("東京タワー", "東京駅", "大阪城"),
        ("한국 요리", "요리 교실", "요리사"),
        ("model 2049", "2049: the film", "20 49"),
    ],
)
def test_words_of_many_scripts(one, other, stranger):
    similarity = neighbours(one, other, stranger)
    assert similarity[0, 1] > 0
    assert similarity[0, 2] == similarity[1, 2] == 0


def test_terms_in_too_many_items_are_left_out():
    texts = ["the cat sat", "the cat ran", "the dog ran", "the dog slept"]
    assert (neighbours(*texts) > 0).sum() == 12
    kept = neighbours(*texts, config=TfidfConfig(max_share=0.5)) > 0
    assert np.argwhere(kept).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]]
    # A term of two items is always kept, however small the catalogue.
    assert (neighbours(*texts, config=TfidfConfig(max_share=0.01)) > 0).tolist() == kept.tolist()


def test_texts_without_terms_have_no_neighbours():
    assert neighbours().shape == (0, 0)
    for texts in (["one text"], ["", "", ""], ["?!", "…", "😀"], ["a", "b", "c"]):
        assert not neighbours(*texts).any()
        assert neighbours(*texts).shape == (len(texts), len(texts))


def test_k_nearest_and_ties_go_to_the_smaller_item():
    texts = ["tea", "tea", "tea cup", "tea cup", "tea"]
    similarity = neighbours(*texts, config=TfidfConfig(k=2, max_share=1.0))
    assert [np.flatnonzero(row).tolist() for row in similarity] == [[1, 4], [0, 4], [0, 3], [0, 2], [0, 1]]
    assert not np.diagonal(neighbours(*texts, config=TfidfConfig(k=5, max_share=1.0))).any()


def test_batches_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), 5)) for _ in range(40)]
    whole = neighbours(*texts, config=TfidfConfig(k=6, max_share=1.0))
    for block in (1, 7, 39):
        monkeypatch.setattr("recsys.dataset.nearest_rows._BLOCK", block)
        assert neighbours(*texts, config=TfidfConfig(k=6, max_share=1.0)).tobytes() == whole.tobytes()


WORDS = st.lists(st.sampled_from(["tea", "CUP", "红", "烧", "été", "!", "a-b"]), max_size=8).map(" ".join)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=2, max_size=8), st.integers(1, 3))
def test_agrees_with_scikit_learn(texts, max_words):
    vectors = weigh_terms(pl.Series(texts), TfidfConfig(max_words=max_words, max_share=1.0))
    reference = TfidfVectorizer(
        token_pattern=r"[红烧]|[^\W红烧]+", ngram_range=(1, max_words), min_df=2, sublinear_tf=True, norm="l2"
    )
    try:
        expected = reference.fit_transform(texts)
    except ValueError:  # no term in two texts
        assert vectors.nnz == 0
        return
    assert vectors.shape == expected.shape
    assert (vectors @ vectors.T).toarray() == pytest.approx((expected @ expected.T).toarray(), abs=1e-5)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_text_is_accepted(texts):
    similarity = neighbours(*texts)
    assert np.isfinite(similarity).all()
    assert (similarity == similarity.T).all()
    assert (similarity >= 0).all()
    assert (similarity < 1 + 1e-5).all()
    assert similarity.tobytes() == neighbours(*texts).tobytes()


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_the_nearest_are_the_k_largest_products(monkeypatch, k, block):
    rng = np.random.default_rng(k)
    # Few words and repeated texts, so that many similarities tie.
    texts = pl.Series([" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 5))) for _ in range(60)])
    monkeypatch.setattr("recsys.dataset.nearest_rows._BLOCK", block)
    config = TfidfConfig(max_share=1.0, k=k)
    vectors = weigh_terms(texts, config).toarray()
    products = vectors @ vectors.T
    np.fill_diagonal(products, 0)
    found = fit_tfidf(texts, config)
    assert found.has_sorted_indices
    assert found.indptr.dtype == found.indices.dtype == np.int32
    for own, row in zip(found, products, strict=True):
        assert len(own.data) == min(k, int((row > 0).sum()))
        assert own.data == pytest.approx(row[own.indices], rel=1e-5)
        # What is left out is not larger than the least that is kept.
        left_out = np.delete(row, own.indices)
        assert left_out.max(initial=0) <= own.data.min(initial=1) + 1e-6
