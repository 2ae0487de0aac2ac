import copy
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from recsys.config import TextConfig
from recsys.text import encoder as encoder_module
from recsys.text.encoder import Encoder
from recsys.text.inference import FastLayers, spread

FLOAT32 = TextConfig(precision="float32")
TEXTS = ["a crew drifts between stars", "bread", "", "of the kingdom and its fall, " * 4]


@pytest.fixture
def tiny(write_checkpoint) -> Encoder:
    return Encoder(str(write_checkpoint()), FLOAT32)


@torch.no_grad()
def run_both(encoder: Encoder, texts: list[str], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """States of tokens after the last layer: of the fast layers, and of the model's own layers in float32."""
    ids, mask = encoder.pad(encoder.tokenize(texts))
    below = encoder.embed_tokens(ids)
    return FastLayers(encoder.layers, dtype)(below, mask)[mask], encoder.run_layers(below, mask, encoder.layers)[mask]


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("bert", {}),
        ("bert", {"num_attention_heads": 8, "hidden_act": "relu"}),
        ("electra", {"embedding_size": 8}),
        ("roberta", {"pad_token_id": 0}),
        ("camembert", {"pad_token_id": 0}),
        ("xlm-roberta", {"pad_token_id": 0}),
    ],
)
def test_states_are_those_of_the_models_own_layers(write_checkpoint, family, more):
    encoder = Encoder(str(write_checkpoint(family=family, **more)), FLOAT32)
    assert FastLayers.fits(encoder.layers)
    for texts in (["abc de", "h", ""], ["ab", "cd"]):
        ours, theirs = run_both(encoder, texts, torch.float32)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_states_of_the_published_weights_are_the_models_own(encoder):
    ours, theirs = run_both(encoder, TEXTS, torch.float32)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize("texts", [TEXTS, [TEXTS[0]] * 3], ids=["padded", "all of one length"])
def test_bfloat16_states_have_the_direction_of_the_exact_ones(encoder, texts):
    ours, theirs = run_both(encoder, texts, torch.bfloat16)
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, theirs)
    assert torch.cosine_similarity(ours, theirs).min() > 0.998


def test_large_attention_scores_give_finite_states(tiny):
    with torch.no_grad():
        tiny.layers[0].attention.self.query.weight *= 1e6
    ours, _ = run_both(tiny, ["abc de", "h"], torch.bfloat16)
    assert torch.isfinite(ours).all()
    # A text without tokens: no tokenizer gives one, but it must not become NaN.
    nothing = FastLayers(tiny.layers, torch.bfloat16)(torch.zeros(2, 3, 16), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.isfinite(nothing).all()


def test_there_is_no_dropout_and_no_gradient(tiny):
    ids, mask = tiny.pad(tiny.tokenize(["abc de", "h"]))
    run = FastLayers(tiny.layers, torch.float32)
    quiet = run(tiny.embed_tokens(ids).detach(), mask)
    below = tiny.embed_tokens(ids).detach()
    tiny.layers.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = run(below, mask)
    assert torch.equal(states, quiet)
    assert not states.requires_grad


def test_without_layers_the_states_are_unchanged(tiny):
    below = torch.randn(2, 3, 16)
    assert torch.equal(FastLayers([], torch.bfloat16)(below, torch.ones(2, 3, dtype=torch.bool)), below)


# --- threads ---------------------------------------------------------------------------------------------


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_results_are_in_order_and_torchs_threads_are_restored():
    seen: set[tuple[int, int]] = set()
    together = threading.Barrier(3, timeout=20)

    def work(number: int) -> int:
        # A barrier: all three must run at the same time.
        together.wait()
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return 10 * number

    assert list(spread(work, range(6))) == [0, 10, 20, 30, 40, 50]
    assert len({thread for thread, _ in seen}) == 3
    assert {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_single_item_uses_all_threads():
    assert list(spread(lambda _: torch.get_num_threads(), [None])) == [3]
    assert list(spread(str, [])) == []


@pytest.mark.usefixtures("three_threads")
def test_threads_are_restored_after_an_error_and_an_early_stop():
    with pytest.raises(ZeroDivisionError):
        list(spread(lambda number: 1 // number, [2, 1, 0, 1]))
    assert torch.get_num_threads() == 3
    half = spread(str, range(100))
    assert next(half) == "0"
    half.close()
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_do_not_depend_on_threads(write_checkpoint, monkeypatch, precision):
    monkeypatch.setattr(encoder_module, "CACHE_TOKENS", 40)
    encoder = Encoder(str(write_checkpoint()), TextConfig(precision=precision))
    texts = ["abcdefgh"[: 1 + number % 8] * (number % 3) for number in range(50)]
    spread_out = encoder.encode(texts)
    assert np.array_equal(encoder.encode(texts), spread_out)
    torch.set_num_threads(1)
    np.testing.assert_allclose(encoder.encode(texts), spread_out, atol=1e-6)


# --- in the encoder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_are_the_same_each_time_and_follow_the_weights(write_checkpoint, precision):
    encoder = Encoder(str(write_checkpoint()), TextConfig(precision=precision))
    first = encoder.encode(["abc de", "h"])
    assert np.array_equal(encoder.encode(["abc de", "h"]), first)
    with torch.no_grad():
        encoder.layers[0].output.dense.bias[3] += 0.5
    assert not np.allclose(encoder.encode(["abc de", "h"]), first, atol=1e-4)


def test_layers_with_additions_use_the_models_own_forward_pass(tiny):
    class Doubled(nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(states)

    changed = copy.deepcopy(tiny)
    plain = changed.layers[1].output.dense
    doubled = Doubled(plain.in_features, plain.out_features)
    doubled.load_state_dict(plain.state_dict())
    changed.layers[1].output.dense = doubled
    assert not FastLayers.fits(changed.layers)
    assert FastLayers.fits(changed.layers[:1])

    by_hand = copy.deepcopy(tiny)
    with torch.no_grad():
        by_hand.layers[1].output.dense.weight *= 2
        by_hand.layers[1].output.dense.bias *= 2
    np.testing.assert_allclose(changed.encode(["abc de", "h"]), by_hand.encode(["abc de", "h"]), atol=1e-6)
