import pytest
import torch

from recsys.text.dropout import ByteDropout

ONES = torch.ones(40, 25, 100)


def drop(rate: float, values: torch.Tensor = ONES) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dropped: torch.Tensor = ByteDropout(rate)(values)
    return dropped


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_share_of_the_elements_is_zero_and_the_mean_stays(rate):
    dropped = drop(rate)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    # The elements that stay are all scaled alike.
    assert len(dropped.unique()) == 2


def test_each_element_of_eight_neighbours_is_drawn_on_its_own():
    pairs = (drop(0.5).reshape(-1, 8) == 0).float()
    correlations = torch.corrcoef(pairs.T) - torch.eye(8)
    assert float(correlations.abs().max()) < 0.05


def test_the_seed_decides_and_training_too():
    assert torch.equal(drop(0.3), drop(0.3))
    assert ByteDropout(0.3).eval()(ONES) is ONES
    assert ByteDropout(0.0)(ONES) is ONES


def test_gradients_pass_where_values_do():
    values = torch.full((3, 5), 2.0, requires_grad=True)
    dropped = drop(0.4, values)
    dropped.sum().backward()
    assert torch.equal(values.grad * 2.0, dropped.detach())
