"""Which users of a night with a canary get the challenger's lists."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.storage.compilation import compiled


def draw_users(user_ids: pl.Series, share: float, key: str) -> NDArray[np.bool_]:
    """Return (n_users) bool, which users get the challenger's lists.

    Each user is drawn alone, by a keyed hash of the id: a user has the same answer every night, on every machine and
    whoever else is active. With the same key, the users of a smaller share are among those of a larger one; another
    key draws other users.

    Args:
        user_ids: (n_users) String.
        share: of all possible users, above 0 and below 1; of the given users about as many.
        key: of the canary.
    """
    # 53 bits are as exact as a float.
    return (hash_ids(user_ids, hashlib.sha256(key.encode()).digest()[:16]) >> np.uint64(11)) * 2.0**-53 < share


def hash_ids(ids: pl.Series, key: bytes) -> NDArray[np.uint64]:
    """Return (n_ids) uint64, the keyed hash of each id in UTF-8 (SipHash-2-4: Aumasson and Bernstein 2012, Indocrypt).

    The hashes of polars and Python change with their versions.

    Args:
        ids: (n_ids) String without nulls.
        key: 16 bytes.
    """
    binary = ids.rechunk().cast(pl.Binary).to_arrow(compat_level=pl.CompatLevel.oldest())
    hashes = np.zeros(len(ids), dtype=np.uint64)
    if len(ids):
        _, starts, content = binary.buffers()
        offsets = np.frombuffer(starts, np.int64)[binary.offset : binary.offset + len(ids) + 1]
        _hash_strings(np.frombuffer(content or b"", np.uint8), offsets, np.frombuffer(key, "<u8"), hashes)
    return hashes


@compiled()
def _turn(word, bits):  # type: ignore[no-untyped-def]
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@compiled()
def _mix(a, b, c, d):  # type: ignore[no-untyped-def]
    """One SipRound."""
    a, c = a + b, c + d
    b, d = _turn(b, 13) ^ a, _turn(d, 16) ^ c
    a = _turn(a, 32)
    c, a = c + b, a + d
    b, d = _turn(b, 17) ^ c, _turn(d, 21) ^ a
    return a, b, _turn(c, 32), d


@compiled()
def _hash_strings(content, offsets, key, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(hashes)):
        start, stop = offsets[row], offsets[row + 1]
        a, b = key[0] ^ np.uint64(0x736F6D6570736575), key[1] ^ np.uint64(0x646F72616E646F6D)
        c, d = key[0] ^ np.uint64(0x6C7967656E657261), key[1] ^ np.uint64(0x7465646279746573)
        # Words of eight bytes, the last one filled up with zeros and the length.
        for word_start in range(start, stop + 1, 8):
            word = np.uint64(0)
            for byte in range(min(8, stop - word_start)):
                word |= np.uint64(content[word_start + byte]) << np.uint64(8 * byte)
            if word_start + 8 > stop:
                word |= np.uint64((stop - start) & 0xFF) << np.uint64(56)
            d ^= word
            for _ in range(2):
                a, b, c, d = _mix(a, b, c, d)
            a ^= word
        c ^= np.uint64(0xFF)
        for _ in range(4):
            a, b, c, d = _mix(a, b, c, d)
        hashes[row] = a ^ b ^ c ^ d
