import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from recsys.config import AdaptationConfig, OwnBertConfig, TextConfig
from recsys.errors import CheckpointError
from recsys.text import masked_language
from recsys.text.encoder import Encoder
from recsys.text.masked_language import _load_trained_head, _make_head, _mask, _read_maskable, adapt
from recsys.text.own_bert import build_own_bert

# Each first word always occurs with the same second word, so one predicts the other.
FIRST, SECOND = ["red", "green", "blue", "猫", "🤗", "wide"], ["rose", "tree", "sea", "狗", "smile", "road"]
TEXTS = [f"{first} {second} number{last}" for first, second in zip(FIRST, SECOND, strict=True) for last in range(12)]
CONFIG = AdaptationConfig(epochs=120, learning_rate=5e-3)
SHORT = AdaptationConfig(epochs=2, learning_rate=1e-3)
BATCH = 1024


def load(folder: Path) -> Encoder:
    return Encoder(str(folder), TextConfig(max_tokens=16, precision="float32"))


def weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("own")
    build_own_bert(TEXTS, OwnBertConfig(layers=2, embedding_size=32, heads=2), 16, path, 0)
    return path


@pytest.fixture
def own(folder) -> Encoder:
    return load(folder)


# --- training --------------------------------------------------------------------------------------------


def test_a_masked_word_becomes_predictable(own, monkeypatch):
    heads = []
    monkeypatch.setattr(masked_language, "_make_head", lambda encoder: heads.append(_make_head(encoder)) or heads[0])
    losses = adapt(own, TEXTS, CONFIG, 512, 0)
    assert losses[0] == pytest.approx(np.log(own.model.config.vocab_size), rel=0.05)
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    mask = own.tokenizer.mask_token
    ids, real = own.pad(own.tokenize([f"{first} {mask} number5" for first in FIRST]))
    with torch.inference_mode():
        states = own.run_layers(own.embed_tokens(ids), real, own.layers)
        guessed = heads[0](states[ids == own.tokenizer.mask_token_id], own.model.get_input_embeddings().weight)
    assert own.tokenizer.convert_ids_to_tokens(guessed.argmax(dim=1).tolist()) == SECOND


def test_all_layers_and_word_vectors_learn_and_nothing_else_changes(own):
    own.model.register_parameter("other", torch.nn.Parameter(torch.ones(3)))
    before, vocabulary = weights(own), own.tokenizer.get_vocab()
    adapt(own, TEXTS, SHORT, BATCH, 0)
    changed = {name for name, value in weights(own).items() if not torch.equal(value, before[name])}
    # The pooler does not take part.
    assert {name for name in before if name not in changed} == {"other", "pooler.dense.weight", "pooler.dense.bias"}
    assert {value.dtype for value in own.model.parameters()} == {torch.float32}
    assert not own.model.training
    assert all(parameter.grad is None for parameter in own.model.parameters())
    assert own.tokenizer.get_vocab() == vocabulary


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_results_depend_on_the_seed_only(folder, precision):
    results = []
    for seed in (3, 3, 4):
        encoder = Encoder(str(folder), TextConfig(max_tokens=16, precision=precision))
        torch.manual_seed(len(results))
        results.append((adapt(encoder, TEXTS, SHORT, BATCH, seed), encoder.digest()))
        assert {value.dtype for value in encoder.model.parameters()} == {torch.float32}
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_the_callers_random_state_is_kept(own):
    np.random.seed(0)  # noqa: NPY002 - the legacy state is what must not change
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    adapt(own, TEXTS, SHORT, BATCH, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002


def test_progress_counts_steps(own):
    done: list[int] = []
    losses = adapt(own, TEXTS, SHORT, 512, 0, done.append)
    assert len(losses) > SHORT.epochs
    assert done == [1] * len(losses) == [1] * masked_language.count_adaptation_steps(own, TEXTS, SHORT, 512)


@pytest.mark.parametrize(
    ("texts", "epochs"),
    [([], 2), (["", "\0", "[MASK]", "乐乐乐"], 2), (TEXTS, 0)],
    ids=["none", "empty", "off"],
)
def test_without_anything_to_learn_nothing_changes(own, texts, epochs):
    before = own.digest()
    config = AdaptationConfig(epochs=epochs)
    assert adapt(own, texts, config, BATCH, 0) == []
    assert masked_language.count_adaptation_steps(own, texts, config, BATCH) == 0
    assert own.digest() == before


def test_unusual_texts_are_harmless(own):
    strange = ["", "\0red\0", "🤗", "\ud800", "猫" * 5000, "乐", "[MASK] [SEP] red"]
    losses = adapt(own, strange, SHORT, BATCH, 0)
    assert losses
    assert np.isfinite(losses).all()
    assert np.isfinite(own.encode(strange)).all()


def test_a_tokenizer_without_a_mask_token_is_rejected(own):
    own.tokenizer.mask_token = None
    with pytest.raises(CheckpointError, match=r"no mask token.*text\.adaptation\.epochs"):
        adapt(own, TEXTS, SHORT, BATCH, 0)


@pytest.mark.parametrize(
    ("family", "more"),
    [("roberta", {"pad_token_id": 0}), ("camembert", {"pad_token_id": 0}), ("electra", {"embedding_size": 8})],
)
def test_other_families_learn_too(write_checkpoint, family, more):
    encoder = load(write_checkpoint(family, family, **more))
    before = encoder.digest()
    losses = adapt(encoder, ["abc def", "fed cba", "hhh"], AdaptationConfig(epochs=3), BATCH, 0)
    assert np.isfinite(losses).all()
    assert encoder.digest() != before


# --- masking ---------------------------------------------------------------------------------------------


def test_words_are_masked_in_the_published_shares(own):
    guesses = _read_maskable(own)
    word, other = guesses.ids[:2]
    texts = [np.array([2, *[word] * 20, other, 3]), np.array([2, word, 3]), np.array([2, 1, word, 1, 3])] * 2000
    kept = [text.copy() for text in texts]
    masked = _mask(texts, 0.2, guesses, np.random.default_rng(0))
    assert all(np.array_equal(text, before) for text, before in zip(texts, kept, strict=True))
    # A fifth of 21 tokens is 4, of one token 1; never special tokens, never unknown ones.
    assert np.bincount(masked.rows).tolist() == [4, 1, 1] * 2000
    hidden = [(int(row), int(column)) for row, column in zip(masked.rows, masked.columns, strict=True)]
    assert [kept[row][column] for row, column in hidden] == masked.targets.tolist()
    assert guesses.allowed[masked.targets].all()
    assert len(set(hidden)) == len(hidden)
    assert {column for row, column in hidden if row % 3 == 0} == set(range(1, 22))
    seen = np.array([masked.tokens[row][column] for row, column in hidden])
    shares = [(seen == guesses.mask).mean(), (seen == masked.targets).mean()]
    assert shares == pytest.approx([0.8, 0.1], abs=0.02)
    assert guesses.allowed[seen[seen != guesses.mask]].all()
    positions = {(row, column) for row, column in hidden}
    unchanged = [
        masked.tokens[row][column] == kept[row][column]
        for row in range(6)
        for column in range(len(kept[row]))
        if (row, column) not in positions
    ]
    assert all(unchanged)


def test_each_epoch_masks_other_tokens(own, monkeypatch):
    seen: list[list[str]] = []

    def remember(*arguments):
        masked = _mask(*arguments)
        seen.append(sorted(str(text.tolist()) for text in masked.tokens))
        return masked

    monkeypatch.setattr(masked_language, "_mask", remember)
    adapt(own, TEXTS, SHORT, 100_000, 0)
    assert len(seen) == 2
    assert seen[0] != seen[1]


# --- the head --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_the_checkpoints_head_is_used(write_checkpoint, family):
    folder = write_checkpoint(family, family, **({"pad_token_id": 0} if family == "roberta" else {}))
    assert _load_trained_head(str(folder)) is None
    trained = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    torch.nn.init.normal_(trained.get_output_embeddings().bias)
    trained.save_pretrained(folder)
    encoder = load(folder)
    ids, real = encoder.pad(encoder.tokenize(["abc", "fed"]))
    with torch.inference_mode():
        states = encoder.run_layers(encoder.embed_tokens(ids), real, encoder.layers)
        logits = _make_head(encoder)(states, encoder.model.get_input_embeddings().weight)
        expected = trained(input_ids=ids, attention_mask=real.long()).logits
    assert torch.allclose(logits, expected, atol=1e-5)


def test_a_deleted_checkpoint_has_no_head(own, tmp_path):
    moved = copy.copy(own)
    moved.model = copy.deepcopy(own.model)
    moved.model.name_or_path = str(tmp_path / "gone")
    assert adapt(moved, TEXTS[:3], SHORT, BATCH, 0)
