import pytest
import torch

from recsys.text.training.adversarial import perturb


def test_each_text_moves_by_epsilon_along_its_gradient():
    hidden = torch.zeros(2, 2, 2)
    gradient = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 1e-9], [0.0, 0.0]]])
    moved = perturb(hidden, gradient, 0.5)
    # The first gradient has length 5 over both tokens; the second is tiny, but only its direction matters.
    expected = torch.tensor([[[0.3, 0.0], [0.0, 0.4]], [[0.0, 0.5], [0.0, 0.0]]])
    torch.testing.assert_close(moved, expected)


def test_a_text_with_zero_gradient_is_not_perturbed():
    hidden = torch.randn(2, 3, 4)
    gradient = torch.zeros(2, 3, 4)
    gradient[1, 0, 0] = -2.0
    moved = perturb(hidden, gradient, 1.0)
    assert torch.equal(moved[0], hidden[0])
    assert moved[1, 0, 0] == hidden[1, 0, 0] - 1.0


def test_gradients_flow_through_the_hidden_states_but_not_the_perturbation():
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    gradient = torch.randn(2, 3, 4, requires_grad=True)
    perturb(hidden, gradient, 1.0).sum().backward()
    assert torch.equal(hidden.grad, torch.ones(2, 3, 4))
    assert gradient.grad is None


def test_the_perturbation_increases_the_loss():
    torch.manual_seed(0)
    hidden, target = torch.randn(4, 3, 5, requires_grad=True), torch.randn(4, 3, 5)
    losses = ((hidden - target) ** 2).sum((1, 2))
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    moved = ((perturb(hidden, gradient, 0.1) - target) ** 2).sum((1, 2))
    assert (moved > losses).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_is_preserved(dtype):
    hidden = torch.zeros(1, 2, 2, dtype=dtype)
    assert perturb(hidden, torch.ones(1, 2, 2, dtype=dtype), 1.0).dtype == dtype
