"""The users of a canary: drawn by a hash that no library changes, about as many as asked for."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from recsys.serving.variants import draw_users, hash_ids

USERS = pl.Series([f"u{number:07d}" for number in range(40_000)])
# With a share of 0.0002 and the key "key"; these never change, because published lists hold them.
FIRST_DRAWN = [8744, 14748, 15040, 22625, 25224, 25690, 26248, 31072, 33141, 36295]


def test_the_hash_has_the_published_values() -> None:
    # The vectors of the reference implementation: key 00 01 … 0f, messages of 0, 1, … bytes 00 01 …
    expected = {
        0: 0x726FDB47DD0E0E31,
        1: 0x74F839C593DC67FD,
        2: 0x0D6C8009D9A94F5A,
        3: 0x85676696D7FB7E2D,
        7: 0xAB0200F58B01D137,
        8: 0x93F5F5799A932462,
        15: 0xA129CA6149BE45E5,
    }
    messages = pl.Series([bytes(range(length)).decode() for length in expected])
    assert hash_ids(messages, bytes(range(16))).tolist() == list(expected.values())


def test_the_hash_does_not_depend_on_chunks_or_slices() -> None:
    ids = pl.Series(["新来的", "", "a" * 300, "u1", "\N{GRINNING FACE}"])
    whole = hash_ids(ids, bytes(16))
    assert len(set(whole.tolist())) == len(ids)
    assert np.array_equal(hash_ids(ids[2:], bytes(16)), whole[2:])
    assert np.array_equal(hash_ids(pl.concat([ids[:1], ids[1:]], rechunk=False), bytes(16)), whole)
    assert hash_ids(ids.head(0), bytes(16)).tolist() == []


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_the_share_of_users_is_the_share_asked_for(share: float, key: str) -> None:
    low, high = binom.interval(1 - 1e-6, len(USERS), share)
    assert low <= draw_users(USERS, share, key).sum() <= high


def test_a_user_has_the_same_answer_whoever_else_is_active() -> None:
    drawn = draw_users(USERS, 0.3, "key")
    shuffled = USERS.sample(fraction=0.5, shuffle=True, seed=1)
    assert (
        dict(zip(USERS, drawn, strict=True)).items()
        >= dict(zip(shuffled, draw_users(shuffled, 0.3, "key"), strict=True)).items()
    )
    assert draw_users(USERS, 0.0002, "key").nonzero()[0].tolist() == FIRST_DRAWN


def test_a_larger_share_keeps_the_users_of_a_smaller_one() -> None:
    small, large = (draw_users(USERS, share, "key") for share in (0.05, 0.2))
    assert (large | ~small).all()


def test_another_key_draws_other_users() -> None:
    first, second = (draw_users(USERS, 0.1, key) for key in ("monday", "tuesday"))
    both = int((first & second).sum())
    low, high = binom.interval(1 - 1e-6, len(USERS), 0.01)
    assert low <= both <= high
