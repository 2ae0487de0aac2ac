"""The users that a measurement draws where there are more than it needs."""

from __future__ import annotations

import hashlib

import polars as pl


def draw_users(user_ids: pl.Series, size: int | None) -> pl.Series:
    """Return at most `size` of the users, drawn at random by their ids, sorted.

    Those with the smallest hashes are drawn. So every model, the champion, and the training of next week draw the same
    users, whatever their seeds and whoever else is there, and can be compared user by user.

    Args:
        user_ids: distinct strings.
        size: None draws all.
    """
    if size is None or len(user_ids) <= size:
        return user_ids.sort()
    hashes = pl.Series([hashlib.sha256(user.encode()).digest()[:8] for user in user_ids], dtype=pl.Binary)
    return user_ids.gather(hashes.arg_sort()[:size]).sort()
