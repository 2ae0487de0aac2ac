import numpy as np
import torch
from scipy.sparse import random_array
from torch import nn

from recsys.text.term_sums import TermSums
from recsys.text.towers import sum_rows


def test_sums_and_gradients_are_those_of_plain_autograd():
    terms = random_array((9, 30), density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    words = nn.Parameter(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    plain = nn.Parameter(words.detach().clone())
    sums = TermSums(words, terms)
    # The second choice is kept for the third step; gradients of a step do not stay for the next.
    for items in ([1, 5, 8], [0, 2, 5, 6], [0, 2, 5, 6]):
        words.grad = plain.grad = None
        ours, reference = sums.sum(np.array(items)), sum_rows(plain, terms[np.array(items)])
        weights = torch.arange(ours.numel(), dtype=torch.float32).view(ours.shape)
        (ours * weights).sum().backward()
        (reference * weights).sum().backward()
        torch.testing.assert_close(ours, reference)
        torch.testing.assert_close(words.grad, plain.grad)
