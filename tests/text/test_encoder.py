import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import TextConfig
from recsys.errors import ConfigError
from recsys.text.checkpoint import DEFAULT_CHECKPOINT, find_checkpoint
from recsys.text.device import has_fast_bfloat16
from recsys.text.encoder import Encoder, make_batches

FLOAT32 = TextConfig(precision="float32")
TEXTS = [
    "The Long Watch. space, war. A crew drifts",
    "",
    "bread",
    "长夜 守望 🎬🧑‍🚀",
    "שלום עולם مرحبا",
    "Ünïcödé Ça và",
    "spirited\taway\nagain  and   again",
    "word " * 20_000,
    "x" * 100_000,
    "of the kingdom and its fall " * 6,
]


def load_peer(folder: str, max_tokens: int):
    """The checkpoint as sentence-transformers loads it."""
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(folder, device="cpu")
    peer.max_seq_length = max_tokens
    return peer


# --- encode ----------------------------------------------------------------------------------------------


def test_vectors_are_those_of_sentence_transformers(encoder):
    ours = encoder.encode(TEXTS)
    theirs = load_peer(find_checkpoint(DEFAULT_CHECKPOINT), 64).encode(TEXTS, normalize_embeddings=True)
    assert ours.dtype == np.float32
    assert ours.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_vectors_in_full_precision_are_those_of_sentence_transformers(tmp_path):
    fast = Encoder(DEFAULT_CHECKPOINT, TextConfig(precision="bfloat16"))
    fast.save(tmp_path)
    theirs = load_peer(str(tmp_path), fast.max_tokens).encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(fast.in_full_precision().encode(TEXTS), theirs, atol=1e-5)
    assert np.abs(fast.encode(TEXTS) - theirs).max() > 1e-4, "bfloat16 rounds more, so the copy must not change it"


def test_rows_are_unit_length_and_in_input_order(encoder):
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    one_by_one = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(vectors, one_by_one, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), vectors[::-1], atol=1e-5)
    assert np.array_equal(encoder.encode(TEXTS), vectors)


def test_batch_size_does_not_change_vectors(encoder):
    texts = [" ".join(["of the kingdom"] * (1 + number % 23)) for number in range(24)]
    small = copy.copy(encoder)
    small._config = FLOAT32.model_copy(update={"batch_tokens": 512})
    np.testing.assert_allclose(small.encode(texts), encoder.encode(texts), atol=1e-5)


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.tokenize([]) == []


def test_unusual_characters_are_harmless(encoder):
    vectors = encoder.encode(["spirited\0away", "spirited away", "half \ud83c a character", "half ? a character"])
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[2], vectors[3])


def test_words_beyond_the_token_limit_are_ignored(encoder):
    assert [len(tokens) for tokens in encoder.tokenize(["", "bread", "word " * 62, "word " * 63])] == [2, 3, 64, 64]
    long = "a crew drifts between stars " * 20
    vectors = encoder.encode([long, long + "bread flour butter sugar"])
    assert np.array_equal(vectors[0], vectors[1])


def test_progress_counts_every_text(write_checkpoint):
    done: list[int] = []
    tiny = Encoder(str(write_checkpoint()), TextConfig(precision="float32", batch_tokens=512))
    tiny.encode(["a " * 40] * 30, done.append)
    assert done == [21, 9]


def test_bfloat16_is_close_to_float32(encoder):
    half = copy.copy(encoder)
    half._config = TextConfig(precision="bfloat16")
    ours, exact = half.encode(TEXTS[:7]), encoder.encode(TEXTS[:7])
    assert ours.dtype == np.float32
    assert not np.array_equal(ours, exact)
    assert (ours * exact).sum(1).min() > 0.998


# --- families and limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("bert", {}),
        ("electra", {"embedding_size": 16}),
        ("electra", {"embedding_size": 8}),
        ("roberta", {"pad_token_id": 0}),
        ("camembert", {"pad_token_id": 0}),
        ("xlm-roberta", {"pad_token_id": 0}),
    ],
)
def test_each_family_agrees_with_its_own_model(write_checkpoint, family, more):
    tiny = Encoder(str(write_checkpoint(family=family, **more)), FLOAT32)
    ids, mask = tiny.pad(tiny.tokenize(["abc de", "h", ""]))
    with torch.inference_mode():
        states = tiny.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    np.testing.assert_allclose(tiny.encode(["abc de", "h", ""]), tiny.pool(states, mask).numpy(), atol=1e-6)


@pytest.mark.parametrize(("family", "limit"), [("bert", 24), ("electra", 24), ("camembert", 22), ("xlm-roberta", 22)])
def test_a_text_never_exceeds_the_positions_of_the_model(write_checkpoint, family, limit):
    more = {} if family in ("bert", "electra") else {"pad_token_id": 1, "position_embedding_type": "absolute"}
    folder = write_checkpoint(family=family, **more)
    if more:
        # Positions begin after the padding token's id, which must be the tokenizer's too.
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "[UNK]"}))
    tiny = Encoder(str(folder), FLOAT32)
    assert tiny.max_tokens == limit
    assert np.isfinite(tiny.encode(["a " * 100])).all()


# --- projection ------------------------------------------------------------------------------------------


def test_projection_shortens_vectors_and_nearly_preserves_neighbours(encoder):
    short = copy.copy(encoder)
    short.head = copy.deepcopy(encoder.head)
    texts = [f"{first} {second}" for first in ("bread", "war", "stars") for second in ("of old", "at home", "for all")]
    before = encoder.encode(texts)
    short.project(before, 8)
    after = short.encode(texts)
    assert after.shape == (9, 8)
    assert short.embedding_size == 8
    assert encoder.embedding_size == 384
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=0.05)
    short.project(after, 4)
    assert short.embedding_size == 8


def test_projection_cannot_make_vectors_longer(write_checkpoint):
    tiny = Encoder(str(write_checkpoint()), FLOAT32)
    with pytest.raises(ConfigError, match=r"text.projection: is 17, but the encoder's vectors have 16 dimensions"):
        tiny.project(tiny.encode(["a"]), 17)


# --- save and digest -------------------------------------------------------------------------------------


def test_other_libraries_load_a_saved_folder_with_the_same_vectors(encoder, tmp_path, capfd):
    from transformers import AutoModel, AutoTokenizer

    texts = [text for text in TEXTS if len(text) < 1000]
    want = encoder.encode(texts)
    folder = tmp_path / "deep" / "encoder"
    encoder.save(folder)
    again = Encoder(str(folder), FLOAT32)
    assert capfd.readouterr() == ("", "")
    assert again.digest() == encoder.digest()
    assert np.array_equal(again.encode(texts), want)

    peer = load_peer(str(folder), 64)
    assert [type(module).__name__ for module in peer] == ["Transformer", "Pooling", "Normalize"]
    np.testing.assert_allclose(peer.encode(texts), want, atol=1e-5)
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 64

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        vectors = encoder.pool(model(**batch).last_hidden_state, batch["attention_mask"].bool())
    np.testing.assert_allclose(vectors.numpy(), want, atol=1e-5)
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
@pytest.mark.parametrize("size", [None, 5])
def test_pooling_and_projection_are_saved_for_us_and_for_sentence_transformers(write_checkpoint, pooling, size):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    texts = ["abc de fgh", "h", "", "ab " * 30]
    made = Encoder(str(write_checkpoint()), TextConfig(precision="float32", pooling=pooling))
    if size:
        made.project(made.encode([*texts, *"abcdefgh"]), size)
    with torch.no_grad():
        for parameter in made.head.parameters():
            parameter += torch.linspace(-1, 1, parameter.numel()).view(parameter.shape)
    want = made.encode(texts)
    assert want.shape == (4, size or 16)
    folder = write_checkpoint("saved")
    made.save(folder)

    again = Encoder(str(folder), FLOAT32)
    assert again.digest() == made.digest()
    assert np.array_equal(again.encode(texts), want)
    peer = SentenceTransformer(str(folder), device="cpu", trust_remote_code=pooling == "attention")
    np.testing.assert_allclose(peer.encode(texts), want, atol=1e-5)
    assert peer.get_embedding_dimension() == made.embedding_size
    _, loaded = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(loaded.values())


def test_saved_bytes_are_the_same_each_time(write_checkpoint, tmp_path):
    tiny = Encoder(str(write_checkpoint()), FLOAT32)
    tiny.save(tmp_path / "a")
    tiny.encode(["abc", "a"])
    tiny.save(tmp_path / "b")
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*") if path.is_file())
    assert len(files) >= 8
    changed = [file for file in files if (tmp_path / "a" / file).read_bytes() != (tmp_path / "b" / file).read_bytes()]
    assert changed == []


def test_digest_changes_with_everything_that_changes_vectors(write_checkpoint):
    folder = str(write_checkpoint())
    tiny = Encoder(folder, FLOAT32)
    digests = [tiny.digest(), Encoder(folder, TextConfig(precision="bfloat16")).digest()]
    digests.append(Encoder(folder, TextConfig(precision="float32", max_tokens=8)).digest())
    digests.append(Encoder(str(write_checkpoint("cased", lower=False)), FLOAT32).digest())
    digests.append(Encoder(str(write_checkpoint("heads", num_attention_heads=4)), FLOAT32).digest())
    cls, attention = (Encoder(folder, FLOAT32.model_copy(update={"pooling": name})) for name in ("cls", "attention"))
    digests += [cls.digest(), attention.digest()]
    with torch.no_grad():
        tiny.layers[1].output.dense.bias[3] += 1e-3
        attention.head.attention.direction[3] += 1e-3
    cls.project(cls.encode(["a", "b"]), 4)
    digests += [tiny.digest(), attention.digest(), cls.digest()]
    assert len(set(digests)) == 10


def test_digest_does_not_change_with_use(write_checkpoint):
    folder = str(write_checkpoint())
    tiny = Encoder(folder, TextConfig())
    before = tiny.digest()
    tiny.encode(["abc", "", "a" * 500])
    assert tiny.digest() == before == Encoder(folder, TextConfig(batch_tokens=512)).digest()
    fast = has_fast_bfloat16(torch.device("cpu"))
    same = Encoder(folder, TextConfig(precision="bfloat16" if fast else "float32"))
    assert tiny.digest() == same.digest()


# --- batches ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 2000))
def test_batches_have_every_text_once_within_the_token_limit(lengths, batch_tokens):
    batches = list(make_batches(lengths, batch_tokens))
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[text] for text in batch)
        assert len(batch) == 1 or longest * len(batch) <= batch_tokens
    flat = [int(text) for batch in batches for text in batch]
    assert flat == sorted(flat, key=lambda text: (-lengths[text], text))
