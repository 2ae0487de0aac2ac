import numpy as np
import pytest
import torch
from scipy.sparse import random_array
from torch import nn

from recsys.config import InterestConfig
from recsys.text.term_sums import TermSums, count_steps_per_update
from recsys.text.towers import sum_rows

STEPS_PER_UPDATE = 4
CONFIG = InterestConfig(hashed_terms=30, hashed_terms_learning_rate=0.1, last_learning_share=0.5)


@pytest.fixture
def terms():
    return random_array((9, 30), density=0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(0))


@pytest.fixture
def words():
    return nn.Parameter(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))


def compute_loss(sums, step):
    """Return a loss with another gradient in each step."""
    return (sums * torch.arange(sums.numel(), dtype=torch.float32).view(sums.shape).add(step).sin()).sum()


@pytest.mark.parametrize("steps", [8, 10])
@pytest.mark.parametrize("choices", [[[0, 2, 5, 6]], [[1, 5, 8], [0, 2, 5, 6]]], ids=["same items", "changing items"])
def test_vectors_move_as_with_an_optimiser_that_moves_them_by_the_mean_gradient_of_several_steps(
    terms, words, choices, steps
):
    plain = nn.Parameter(words.detach().clone())
    optimizer = torch.optim.Adam([plain], 0.1)
    updates = -(-steps // STEPS_PER_UPDATE)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, updates)
    ours = TermSums(words, terms, CONFIG, steps, STEPS_PER_UPDATE)
    for step in range(steps):
        items = np.array(choices[step % len(choices)])
        sums, reference = ours.sum(items), sum_rows(plain, terms[items])
        torch.testing.assert_close(sums, reference)
        compute_loss(sums, step).backward()
        window = range(step // STEPS_PER_UPDATE * STEPS_PER_UPDATE, steps)[:STEPS_PER_UPDATE]
        (compute_loss(reference, step) / len(window)).backward()
        ours.advance()
        if step == window[-1]:
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    ours.store()
    torch.testing.assert_close(words.detach(), plain.detach())


def test_the_sums_of_the_same_items_are_computed_once_in_several_steps(terms, words, monkeypatch):
    computed = []
    monkeypatch.setattr("recsys.text.term_sums.sum_rows", lambda *arguments: computed.append(1) or sum_rows(*arguments))
    ours = TermSums(words, terms, CONFIG, 8, STEPS_PER_UPDATE)
    for step in range(8):
        compute_loss(ours.sum(np.array([0, 2, 5])), step).backward()
        ours.advance()
    assert len(computed) == 2


def test_only_the_vectors_of_buckets_that_occur_move_and_only_when_they_are_stored(terms, words):
    before = words.detach().clone()
    ours = TermSums(words, terms, CONFIG, STEPS_PER_UPDATE, STEPS_PER_UPDATE)
    for step in range(STEPS_PER_UPDATE):
        compute_loss(ours.sum(np.arange(9)), step).backward()
        ours.advance()
    torch.testing.assert_close(words.detach(), before)
    ours.store()
    moved = (words.detach() != before).any(dim=1).numpy()
    assert 10 < moved.sum() < 30
    np.testing.assert_array_equal(np.flatnonzero(moved), np.unique(terms.indices))


def test_new_vectors_get_enough_updates_from_a_short_training():
    assert [count_steps_per_update(steps, False) for steps in (0, 120, 250, 400, 2000)] == [1, 1, 2, 4, 4]
    assert count_steps_per_update(120, True) == 4
