import numpy as np
import torch
from scipy.sparse import random_array
from torch import nn

from recsys.text.term_sums import TermSums
from recsys.text.towers import sum_rows


def test_sums_and_gradients_are_those_of_plain_autograd():
    terms = random_array((9, 30), density=0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    used = np.unique(terms.indices)
    assert 10 < len(used) < 30
    words = nn.Parameter(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    plain = nn.Parameter(words.detach().clone())
    sums = TermSums(words, terms)
    # The second choice is kept for the third step; gradients of a step do not stay for the next.
    for items in ([1, 5, 8], [0, 2, 5, 6], [0, 2, 5, 6]):
        sums.words.grad = plain.grad = None
        ours, reference = sums.sum(np.array(items)), sum_rows(plain, terms[np.array(items)])
        weights = torch.arange(ours.numel(), dtype=torch.float32).view(ours.shape)
        (ours * weights).sum().backward()
        (reference * weights).sum().backward()
        torch.testing.assert_close(ours, reference)
        expected = torch.zeros_like(plain)
        expected[used] = sums.words.grad
        torch.testing.assert_close(expected, plain.grad)


def test_what_is_learned_is_stored_where_the_terms_are():
    terms = random_array((9, 30), density=0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    words = nn.Parameter(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    expected = words.detach().clone()
    sums = TermSums(words, terms)
    with torch.no_grad():
        sums.words += 1
    torch.testing.assert_close(words.detach(), expected)
    sums.store()
    expected[np.unique(terms.indices)] += 1
    torch.testing.assert_close(words.detach(), expected)
