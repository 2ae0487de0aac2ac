"""The contract that every tower keeps, and the initial state of each."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from recsys.config import InterestConfig, SequenceConfig
from recsys.text.towers import HistorySpans, make_tower

SIZE, LENGTH = 6, 5
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture(params=["mean", "attention", "transformer"])
def tower(request: pytest.FixtureRequest) -> torch.nn.Module:
    """A tower whose weights are all non-zero, as after training."""
    config = InterestConfig(tower=request.param, size=SIZE, heads=2, history_length=LENGTH, history_decay=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = make_tower(SIZE, config)
        for weight in tower.parameters():
            torch.nn.init.normal_(weight, 0.0, 0.7)
    return tower.eval()


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(2, LENGTH, SIZE, generator=torch.Generator().manual_seed(1))


def compute_states(tower: torch.nn.Module, vectors: torch.Tensor, mask: torch.Tensor, ordered: bool) -> torch.Tensor:
    """Return (batch, length, size) states of all steps of (batch, length, size) histories."""
    batch, length, size = vectors.shape
    items = np.arange(batch * length).reshape(batch, length)
    rows, steps = np.divmod(items.ravel(), length)
    states = tower(vectors.reshape(-1, size), HistorySpans(items, mask.numpy(), ordered, rows, steps))
    return states.reshape(batch, length, size)


@pytest.mark.parametrize("ordered", [True, False])
class TestEveryTower:
    def test_there_is_one_state_per_step(self, tower, vectors, ordered) -> None:
        states = compute_states(tower, vectors, MASK, ordered)
        assert (states.shape, states.dtype) == (vectors.shape, torch.float32)
        assert torch.isfinite(states).all()

    @pytest.mark.parametrize("changed", range(LENGTH))
    def test_a_state_depends_on_its_step_and_earlier_ones_only(self, changed, tower, vectors, ordered) -> None:
        before = compute_states(tower, vectors, MASK, ordered)
        other = vectors.clone()
        other[:, changed, 0] += 1.0
        differs = (compute_states(tower, other, MASK, ordered)[0] - before[0]).abs().amax(dim=1) > 1e-6
        assert differs.tolist() == [step >= changed for step in range(LENGTH)]

    def test_items_beyond_the_end_are_not_seen(self, tower, vectors, ordered) -> None:
        other = vectors.clone()
        other[1, 3:] = 100.0
        after, before = (compute_states(tower, each, MASK, ordered)[MASK] for each in (other, vectors))
        torch.testing.assert_close(after, before, atol=0.0, rtol=0.0)

    def test_other_histories_in_the_batch_change_nothing(self, tower, vectors, ordered) -> None:
        alone = compute_states(tower, vectors[1:, :3], MASK[1:, :3], ordered)
        assert torch.allclose(alone[0], compute_states(tower, vectors, MASK, ordered)[1, :3], atol=1e-5)

    def test_all_weights_have_finite_gradients(self, tower, vectors, ordered) -> None:
        compute_states(tower, vectors, MASK, ordered)[MASK].square().sum().backward()
        for name, weight in tower.named_parameters():
            if name != "recency" or ordered:
                assert torch.isfinite(weight.grad).all(), name
                assert weight.grad.any(), name


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_the_initial_state_is_the_recency_weighted_mean(kind, vectors) -> None:
    tower = make_tower(SIZE, InterestConfig(tower=kind, history_length=LENGTH, history_decay=0.5))
    with torch.inference_mode():
        states, flat = compute_states(tower, vectors, MASK, True), compute_states(tower, vectors, MASK, False)
    a, b, c = vectors[0, :3].numpy()
    np.testing.assert_allclose(states[0, 2], (0.25 * a + 0.5 * b + c) / 1.75, atol=1e-6)
    np.testing.assert_allclose(flat[0, 2], (a + b + c) / 3, atol=1e-6)


def test_attention_can_learn_to_attend_to_similar_items() -> None:
    tower = make_tower(2, InterestConfig(tower="attention", history_length=3, history_decay=1.0))
    torch.nn.init.eye_(tower.query_key.weight)
    tower.query_key.weight.data *= 100.0
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    states = compute_states(tower, vectors, torch.ones(1, 3, dtype=torch.bool), True)
    assert torch.allclose(states, vectors, atol=1e-6)


def test_the_transformer_distinguishes_orders() -> None:
    config = InterestConfig(tower="transformer", size=SIZE, history_length=3)
    torch.manual_seed(0)
    tower = make_tower(SIZE, config).eval()
    first, second, third = torch.eye(SIZE)[:3]
    mask = torch.ones(2, 3, dtype=torch.bool)
    histories = torch.stack([torch.stack([first, second, third]), torch.stack([second, first, third])])
    states = compute_states(tower, histories, mask, True)
    assert not torch.allclose(states[0, 2], states[1, 2], atol=1e-4)


def test_a_transformer_needs_a_size_that_its_heads_can_share() -> None:
    with pytest.raises(ValidationError, match="needs a size"):
        InterestConfig(tower="transformer")
    with pytest.raises(ValidationError, match="not a multiple of heads 3"):
        SequenceConfig(size=16, heads=3)
    assert SequenceConfig(tower="mean", size=None).size is None


def test_half_precision_attends_like_single_precision() -> None:
    tower = make_tower(8, SequenceConfig(size=8, history_length=LENGTH)).eval()
    vectors = torch.randn(2, LENGTH, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = compute_states(tower, vectors, MASK, True)[MASK]
    torch.testing.assert_close(half, compute_states(tower, vectors, MASK, True)[MASK], atol=0.05, rtol=0.05)
