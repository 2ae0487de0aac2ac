"""Attention by plain products gives what torch's fused kernel gives, and is what a loaded model uses."""

import pytest
import torch
from torch.nn import functional

from recsys.text.attention import attend
from recsys.text.checkpoint import load_pretrained

SHAPE = (3, 2, 5, 4)
SCALE = SHAPE[-1] ** -0.5


def make_parts() -> list[torch.Tensor]:
    # In float64 the products are taken, as in bfloat16, and rounding says nothing.
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(3)]


def make_mask(name: str | None) -> torch.Tensor | None:
    tokens = torch.arange(SHAPE[2])
    padding = tokens < torch.tensor([5, 2, 4])[:, None]
    return {"padding": padding[:, None, None, :], "by token": (tokens[:, None] >= tokens).expand(3, 1, 5, 5)}.get(name)


@pytest.mark.parametrize(
    ("mask", "causal"), [(None, False), (None, True), ("padding", False), ("by token", False)], ids=str
)
@pytest.mark.parametrize("scale", [1.0, SCALE])
def test_outputs_and_gradients_are_those_of_the_fused_kernel(mask, causal, scale):
    ours, theirs = make_parts(), make_parts()
    seen = make_mask(mask)
    mixed = attend(*ours, mask=seen, causal=causal, scale=scale)
    expected = functional.scaled_dot_product_attention(*theirs, attn_mask=seen, is_causal=causal, scale=scale)
    torch.testing.assert_close(mixed, expected)
    for result in (mixed, expected):
        result.square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_dropout_keeps_the_mean_and_changes_single_draws():
    parts = [part.detach() for part in make_parts()]
    torch.manual_seed(0)
    draws = torch.stack([attend(*parts, scale=SCALE, dropout=0.25) for _ in range(4000)])
    assert draws.std(dim=0).min() > 0.01
    torch.testing.assert_close(draws.mean(dim=0), attend(*parts, scale=SCALE), atol=0.05, rtol=0)


def test_a_model_of_transformers_attends_with_it(write_checkpoint):
    _, model = load_pretrained(str(write_checkpoint()))
    model.eval()
    assert model.config._attn_implementation == "recsys"
    ids = torch.arange(5, 17).view(2, 6)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        model.set_attn_implementation("eager")
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(states[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-4)
