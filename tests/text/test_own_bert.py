from pathlib import Path

import pytest
import torch

from recsys.config import OwnBertConfig, TextConfig
from recsys.errors import DataError
from recsys.text.encoder import Encoder
from recsys.text.own_bert import build_own_bert, learn_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = OwnBertConfig(vocabulary_size=200, layers=2, embedding_size=16, heads=2)
TEXTS = ["The Lantern of Größe", "the lanterns", "猫和狗", "猫的生活 🤗", "", "がか हिन्दी"]


def build(folder: Path, texts=TEXTS, config=SMALL, max_tokens=24, seed=0) -> Encoder:
    build_own_bert(texts, config, max_tokens, folder, seed)
    return Encoder(str(folder), TextConfig(max_tokens=max_tokens, precision="float32"))


def words(encoder: Encoder, text: str) -> list[str]:
    tokens: list[str] = encoder.tokenizer.convert_ids_to_tokens(encoder.tokenize([text])[0])
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    return tokens[1:-1]


# --- the vocabulary --------------------------------------------------------------------------------------


def test_a_vocabulary_worked_out_by_hand():
    # Counts: a 5, b 4, ##b 4, c 1, ##c 1, 猫 3; 'ab' occurs four times, 'abc' only once.
    tokens = learn_vocabulary(["AB ab", "ab abc", "a 猫猫猫"], 100)
    assert tokens == [*SPECIAL, "a", "b", "##b", "猫", "c", "##c", "ab"]


def test_a_small_vocabulary_has_the_most_frequent_characters():
    texts = ["天天天天地地地人人", "和"]
    assert learn_vocabulary(texts, 8) == [*SPECIAL, "天", "地", "人"]
    assert learn_vocabulary(texts, 100) == [*SPECIAL, "天", "地", "人", "和"]


def test_ties_are_broken_by_code_point():
    assert learn_vocabulary(["c b a"], 7) == [*SPECIAL, "a", "b"]


def test_more_characters_than_the_trainers_default_limit():
    texts = [chr(0x4E00 + number) for number in range(3000)]
    assert set(texts) <= set(learn_vocabulary(texts, 4000))


def test_the_vocabulary_never_exceeds_its_size():
    texts = [f"{left}{right}{left}" for left in "abcdefghijklmnop" for right in "qrstuvwxyz"] * 2
    for size in (6, 40, 57, 58, 60, 100):
        tokens = learn_vocabulary(texts, size)
        assert len(tokens) == len(set(tokens)) == size


def test_the_same_vocabulary_every_time():
    # Full of ties, which the trainer would break by the order of a randomly seeded hash map.
    texts = ["Wel come to the tok en izers libr ary", "abc bcd cde dab", "猫和狗 🤗"] * 2
    assert len({tuple(learn_vocabulary(texts, 100)) for _ in range(20)}) == 1


# --- the checkpoint --------------------------------------------------------------------------------------


def test_the_encoder_loads_it(tmp_path):
    encoder = build(tmp_path / "deep" / "own")
    config = encoder.model.config
    assert (config.hidden_size, len(encoder.layers), config.num_attention_heads) == (16, 2, 2)
    assert config.vocab_size == len(encoder.tokenizer) < 200
    assert encoder.max_tokens == config.max_position_embeddings == 24
    assert {value.dtype for value in encoder.model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }


def test_every_character_of_the_catalogue_is_known(tmp_path):
    encoder = build(tmp_path)
    assert all("[UNK]" not in words(encoder, text) for text in TEXTS)
    assert words(encoder, "猫狗") == ["猫", "狗"]
    assert words(encoder, "LANTERN") == words(encoder, "lantern")
    # An accent, a Japanese voicing mark and a vowel sign change the word.
    assert words(encoder, "か") != words(encoder, "が")
    assert words(encoder, "ö") != ["o"]
    assert words(encoder, "乐") == ["[UNK]"]


def test_it_tokenizes_the_same_after_saving_and_loading(tmp_path):
    encoder = build(tmp_path / "own")
    encoder.save(tmp_path / "again")
    again = Encoder(str(tmp_path / "again"), TextConfig(max_tokens=24, precision="float32"))
    assert again.digest() == encoder.digest()


def test_the_same_texts_give_the_same_bytes(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        build_own_bert(TEXTS, SMALL, 24, tmp_path / name, seed)
    one, two, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two", "other")
    )
    assert one == two
    assert [name for name in one if one[name] != other[name]] == ["model.safetensors"]


def test_the_callers_random_state_is_kept(tmp_path):
    before = torch.get_rng_state()
    build_own_bert(TEXTS, SMALL, 24, tmp_path, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "text", ["a", "猫", "🤗", "\0a\0", "מילים", "\ud800a", "a" * 100_000, "[MASK] [PAD] ##a"], ids=range(8)
)
def test_one_text_is_enough(tmp_path, text):
    encoder = build(tmp_path, [text])
    vectors = encoder.encode([text, "", "something else"])
    assert vectors.shape == (3, 16)
    assert ((vectors**2).sum(axis=1) - 1 < 1e-5).all()


@pytest.mark.parametrize("texts", [[], [""], ["", " \n", "\0"]])
def test_a_catalogue_without_words_is_rejected(tmp_path, texts):
    with pytest.raises(DataError, match=rf"texts of {len(texts)} items: no text has a word.*text\.fields"):
        build(tmp_path, texts)


def test_positions_are_at_least_sixteen(tmp_path):
    assert build(tmp_path, max_tokens=8).model.config.max_position_embeddings == 16
