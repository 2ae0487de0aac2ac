from collections.abc import Iterator

import pytest
import torch
from torch import nn

from recsys.text.training.loop import TrainingLoop


def make_loop(weight: nn.Parameter, max_norm: float = 1e9, **more: object) -> TrainingLoop[float]:
    """Plain gradient descent on weight * batch: the gradient of a step is its batch."""
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 0.5**update)

    def compute_losses(batch: float) -> Iterator[torch.Tensor]:
        yield weight * batch

    return TrainingLoop(compute_losses, optimizer, schedule, [weight], max_norm, **more)


@pytest.fixture
def weight() -> nn.Parameter:
    return nn.Parameter(torch.tensor(8.0))


def test_each_step_moves_by_rate_times_gradient(weight):
    loop = make_loop(weight)
    # The rate is 1, then 0.5.
    assert list(loop.run([1.0, 4.0])) == [(1.0, 8.0), (4.0, 28.0)]
    assert weight.item() == 8.0 - 1.0 - 0.5 * 4.0
    assert loop.losses == [8.0, 28.0]
    assert weight.grad is None


def test_gradients_are_averaged_over_a_window_and_the_last_one_may_be_short(weight):
    loop = make_loop(weight, accumulation=2)
    seen = [weight.item() for _ in loop.run([1.0, 3.0, 6.0])]
    # The first update is (1 + 3) / 2; the second has half of the third step, at a rate of 0.5.
    assert seen == [8.0, 6.0, 6.0]
    assert weight.item() == 6.0 - 0.5 * 6.0 / 2
    # Nothing is pending: the next run starts a new window.
    list(loop.run([1.0, 3.0]))
    assert weight.item() == 4.5 - 0.25 * 2.0


def test_gradients_are_clipped_to_the_norm(weight):
    list(make_loop(weight, max_norm=2.0).run([100.0]))
    assert weight.item() == pytest.approx(6.0)


def test_gradients_left_by_others_are_dropped(weight):
    loop = make_loop(weight)
    weight.grad = torch.tensor(100.0)
    list(loop.run([1.0]))
    assert weight.item() == 7.0


def test_a_later_loss_sees_the_gradient_of_the_first_and_is_not_recorded(weight):
    loop = make_loop(weight)
    gradients = []

    def compute_losses(batch: float) -> Iterator[torch.Tensor]:
        yield weight * batch
        gradients.append(weight.grad.item())
        yield weight * 10.0

    loop.compute_losses = compute_losses
    assert list(loop.run([2.0])) == [(2.0, 16.0)]
    assert gradients == [2.0]
    assert weight.item() == 8.0 - 12.0


def test_hooks_run_around_each_update_with_its_number_and_gradients(weight):
    calls = []
    loop = make_loop(
        weight,
        accumulation=2,
        before_update=lambda: calls.append(("before", weight.item())),
        after_update=lambda update: calls.append((update, weight.grad.item())),
    )
    list(loop.run([1.0, 3.0, 6.0]))
    assert calls == [("before", 8.0), (0, 2.0), ("before", 6.0), (1, 3.0)]


def test_a_batch_without_a_loss_is_an_error(weight):
    loop = make_loop(weight)
    loop.compute_losses = lambda batch: []
    with pytest.raises(RuntimeError, match="without a loss"):
        list(loop.run([1.0]))
