"""Every tower keeps the contract; then where each starts."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from recsys.config import InterestConfig, SequenceConfig
from recsys.text.towers import Stretches, make_tower

SIZE, LENGTH = 6, 5
REAL = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture(params=["mean", "attention", "transformer"])
def tower(request: pytest.FixtureRequest) -> torch.nn.Module:
    """One that has learned something."""
    config = InterestConfig(tower=request.param, size=SIZE, heads=2, history_length=LENGTH, history_decay=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = make_tower(SIZE, config)
        for weight in made.parameters():
            torch.nn.init.normal_(weight, 0.0, 0.7)
    return made.eval()


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(2, LENGTH, SIZE, generator=torch.Generator().manual_seed(1))


def read_all(tower: torch.nn.Module, vectors: torch.Tensor, real: torch.Tensor, ordered: bool) -> torch.Tensor:
    """Return (batch, length, size) states of all places of (batch, length, size) histories."""
    batch, length, size = vectors.shape
    items = np.arange(batch * length).reshape(batch, length)
    rows, places = np.divmod(items.ravel(), length)
    states = tower(vectors.reshape(-1, size), Stretches(items, real.numpy(), ordered, rows, places))
    return states.reshape(batch, length, size)


@pytest.mark.parametrize("ordered", [True, False])
class TestEveryTower:
    def test_one_state_per_place(self, tower, vectors, ordered) -> None:
        states = read_all(tower, vectors, REAL, ordered)
        assert (states.shape, states.dtype) == (vectors.shape, torch.float32)
        assert torch.isfinite(states).all()

    @pytest.mark.parametrize("changed", range(LENGTH))
    def test_a_state_knows_its_place_and_earlier_ones_only(self, changed, tower, vectors, ordered) -> None:
        before = read_all(tower, vectors, REAL, ordered)
        other = vectors.clone()
        other[:, changed, 0] += 1.0
        differs = (read_all(tower, other, REAL, ordered)[0] - before[0]).abs().amax(dim=1) > 1e-6
        assert differs.tolist() == [place >= changed for place in range(LENGTH)]

    def test_what_is_not_real_is_not_seen(self, tower, vectors, ordered) -> None:
        other = vectors.clone()
        other[1, 1] = 100.0
        real = REAL.clone()
        real[1, 1] = False
        after = (read_all(tower, other, real, ordered) - read_all(tower, vectors, real, ordered))[1]
        assert after.abs().amax(dim=1).nonzero().ravel().tolist() == [1]

    def test_histories_beside_change_nothing(self, tower, vectors, ordered) -> None:
        alone = read_all(tower, vectors[1:, :3], REAL[1:, :3], ordered)
        assert torch.allclose(alone[0], read_all(tower, vectors, REAL, ordered)[1, :3], atol=1e-5)

    def test_all_weights_learn_and_no_gradient_is_broken(self, tower, vectors, ordered) -> None:
        read_all(tower, vectors, REAL, ordered)[REAL].square().sum().backward()
        for name, weight in tower.named_parameters():
            if name != "recency" or ordered:
                assert torch.isfinite(weight.grad).all(), name
                assert weight.grad.any(), name


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_at_first_the_state_is_the_recency_weighted_mean(kind, vectors) -> None:
    tower = make_tower(SIZE, InterestConfig(tower=kind, history_length=LENGTH, history_decay=0.5))
    with torch.inference_mode():
        states, flat = read_all(tower, vectors, REAL, True), read_all(tower, vectors, REAL, False)
    a, b, c = vectors[0, :3].numpy()
    np.testing.assert_allclose(states[0, 2], (0.25 * a + 0.5 * b + c) / 1.75, atol=1e-6)
    np.testing.assert_allclose(flat[0, 2], (a + b + c) / 3, atol=1e-6)


def test_attention_can_learn_to_read_what_is_alike() -> None:
    tower = make_tower(2, InterestConfig(tower="attention", history_length=3, history_decay=1.0))
    torch.nn.init.eye_(tower.query_key.weight)
    tower.query_key.weight.data *= 100.0
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    states = read_all(tower, vectors, torch.ones(1, 3, dtype=torch.bool), True)
    assert torch.allclose(states, vectors, atol=1e-6)


def test_the_transformer_tells_orders_apart() -> None:
    config = InterestConfig(tower="transformer", size=SIZE, history_length=3)
    torch.manual_seed(0)
    tower = make_tower(SIZE, config).eval()
    one, two, three = torch.eye(SIZE)[:3]
    real = torch.ones(2, 3, dtype=torch.bool)
    states = read_all(tower, torch.stack([torch.stack([one, two, three]), torch.stack([two, one, three])]), real, True)
    assert not torch.allclose(states[0, 2], states[1, 2], atol=1e-4)


def test_a_transformer_needs_a_size_that_its_heads_can_share() -> None:
    with pytest.raises(ValidationError, match="needs a size"):
        InterestConfig(tower="transformer")
    with pytest.raises(ValidationError, match="3 heads cannot share"):
        SequenceConfig(size=16, heads=3)
    assert SequenceConfig(tower="mean", size=None).size is None
