import pytest
import torch

from recsys.text.interest_network import _sum_exponentials


def test_the_sum_of_exponentials_and_its_gradient_are_torchs():
    ours = torch.randn(7, 12, generator=torch.Generator().manual_seed(0)) * 20
    ours[0, 1:] = -1e9
    plain = ours.clone()
    weights = torch.arange(7.0)
    for logits, function in ((ours, _sum_exponentials), (plain, lambda logits: logits.logsumexp(dim=1))):
        logits.requires_grad_()
        (function(logits) * weights).sum().backward()
    torch.testing.assert_close(_sum_exponentials(ours), plain.logsumexp(dim=1))
    torch.testing.assert_close(ours.grad, plain.grad)


def test_half_precision_sums_are_single():
    logits = torch.zeros(2, 1000, dtype=torch.bfloat16)
    assert _sum_exponentials(logits).dtype == torch.float32
    assert _sum_exponentials(logits).tolist() == [pytest.approx(6.908, abs=0.01)] * 2
