import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.text.checkpoint import load_pretrained
from recsys.text.training.augmentation import assign_fields, augment

# [CLS], seven tokens of three fields, [SEP] and two tokens of padding; and an empty text.
FIELDS = np.array([[-1, 0, 0, 1, 1, 1, 2, 2, -1, -1, -1], [-1, -1] + [-1] * 9], dtype=np.int16)
LENGTHS = np.array([9, 2])


def draw(times: int = 300, **chances: float) -> np.ndarray:
    """(times, longest) masks of the first text."""
    rng = np.random.default_rng(0)
    masks = [augment(LENGTHS, FIELDS, rng, **chances) for _ in range(times)]
    assert all(mask[1].tolist() == [True, True] + [False] * 9 for mask in masks)
    return np.stack([mask[0] for mask in masks])


def test_without_augmentation_all_tokens_are_seen():
    assert (draw(5) == (np.arange(11) < 9)).all()


def test_tokens_are_dropped_independently():
    seen = draw(2000, token_dropout=0.3)
    assert seen[:, [0, 8]].all()
    assert not seen[:, 9:].any()
    np.testing.assert_allclose(seen[:, 1:8].mean(0), 0.7, atol=0.04)
    # Neighbouring tokens are independent.
    assert abs(np.corrcoef(seen[:, 1], seen[:, 2])[0, 1]) < 0.1


def test_fields_are_dropped_whole_and_never_all():
    seen = draw(2000, field_dropout=0.5)
    for field in ([1, 2], [3, 4, 5], [6, 7]):
        assert (seen[:, field] == seen[:, field[:1]]).all()
    patterns = {tuple(row) for row in seen[:, [1, 3, 6]].tolist()}
    assert len(patterns) == 7
    # Half of the draws, plus a third of the eighth in which all fields would have been dropped.
    np.testing.assert_allclose(seen[:, [1, 3, 6]].mean(0), 0.5 + 1 / 24, atol=0.04)


def test_a_crop_is_a_span_of_at_least_half():
    seen = draw(2000, span_crop=1.0)[:, 1:8]
    sizes = seen.sum(1)
    starts = seen.argmax(1)
    assert all(row[start : start + size].all() for row, start, size in zip(seen, starts, sizes, strict=True))
    assert set(sizes) == {4, 5, 6, 7}
    assert {(int(start), int(size)) for start, size in zip(starts, sizes, strict=True)} == {
        (start, size) for size in (4, 5, 6, 7) for start in range(8 - size)
    }
    assert (draw(2000, span_crop=0.25)[:, 1:8].sum(1) < 7).mean() == pytest.approx(0.25 * 3 / 4, abs=0.04)


def test_one_token_stays_even_if_all_are_dropped():
    seen = draw(500, token_dropout=1.0, field_dropout=1.0, span_crop=1.0)
    assert (seen[:, 1:8].sum(1) == 1).all()
    # Which token stays is random.
    assert seen[:, 1:8].any(0).all()


def test_same_seed_same_masks():
    chances = {"token_dropout": 0.3, "field_dropout": 0.3, "span_crop": 0.3}
    assert (draw(20, **chances) == draw(20, **chances)).all()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=5),
    st.tuples(*[st.sampled_from([0.0, 0.2, 0.7, 1.0])] * 3),
    st.integers(0, 9),
)
def test_special_tokens_stay_padding_is_masked_and_a_token_is_left(texts, chances, seed):
    lengths = np.array([len(text) + 2 for text in texts])
    fields = np.full((len(texts), lengths.max() + 1), -1, dtype=np.int16)
    for row, text in enumerate(texts):
        fields[row, 1 : 1 + len(text)] = text
    mask = augment(
        lengths,
        fields,
        np.random.default_rng(seed),
        token_dropout=chances[0],
        field_dropout=chances[1],
        span_crop=chances[2],
    )
    assert mask.shape == fields.shape
    assert mask.dtype == np.bool_
    for row, text in enumerate(texts):
        assert mask[row, 0]
        assert mask[row, len(text) + 1]
        assert not mask[row, len(text) + 2 :].any()
        assert mask[row, 1 : 1 + len(text)].any() == (len(text) > 0)


def test_an_empty_batch_has_no_tokens():
    assert augment(np.zeros(0, np.int64), np.zeros((0, 4), np.int16), np.random.default_rng(0)).shape == (0, 4)


# --- fields of tokens ------------------------------------------------------------------------------------


def find(tokenizer, texts, parts, max_tokens=20, offsets=True):
    encoded = tokenizer(
        texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True, return_offsets_mapping=offsets
    )
    fields = assign_fields(texts, parts, encoded)
    assert [text_fields.dtype for text_fields in fields] == [np.int16] * len(texts)
    assert [len(text_fields) for text_fields in fields] == [len(ids) for ids in encoded["input_ids"]]
    return [text_fields.tolist() for text_fields in fields]


@pytest.fixture
def tokenizer(write_checkpoint):
    # Every letter from a to h is a token.
    return load_pretrained(str(write_checkpoint()))[0]


def test_tokens_belong_to_the_field_that_contains_them(tokenizer):
    # The full stop is an unknown word to this tokenizer: a token of the field before it.
    assert find(tokenizer, ["ab. c. dd"], [["ab", "c", "dd"]]) == [[-1, 0, 0, 0, 1, 1, 2, 2, -1]]


def test_empty_fields_are_skipped_and_repeated_words_distinguished(tokenizer):
    texts = ["a a. a", "b", "", "by c"]
    parts = [["a a", "", "a"], ["", "b", ""], ["", "", ""], ["", "", "by c"]]
    expected = [[-1, 0, 0, 0, 2, -1], [-1, 1, -1], [-1, -1], [-1, 2, 2, -1]]
    assert find(tokenizer, texts, parts) == expected


def test_truncated_or_missing_fields_have_no_tokens(tokenizer):
    assert find(tokenizer, ["aa. bb. cc"], [["aa", "bb", "cc"]], max_tokens=6) == [[-1, 0, 0, 0, 1, -1]]
    assert find(tokenizer, ["aa cc"], [["aa", "xx", "cc"]]) == [[-1, 0, 0, 2, 2, -1]]
    assert find(tokenizer, ["aa cc"], [["zz"]]) == [[-1, 0, 0, 0, 0, -1]]


def test_without_offsets_there_is_one_field(tokenizer):
    assert find(tokenizer, ["ab. c"], [["ab", "c"]], offsets=False) == [[-1, 0, 0, 0, 0, -1]]


def test_scripts_and_emoji_of_the_real_vocabulary(encoder):
    parts = ["长夜 🎬", "Größe, שלום", "End"]
    (fields,) = find(encoder.tokenizer, [". ".join(parts)], [parts], max_tokens=64)
    tokens = encoder.tokenizer.convert_ids_to_tokens(encoder.tokenizer(". ".join(parts))["input_ids"])
    assert fields[0] == fields[-1] == -1
    assert fields[1:-1] == sorted(fields[1:-1])
    for word, field in (("[UNK]", 0), ("gr", 1), ("##ם", 1), ("end", 2)):
        assert fields[tokens.index(word)] == field
