"""Pseudonyms: keyed hashes that take the place of user ids, wherever an id enters.

The key comes from the environment and is stored nowhere; snapshots record its fingerprint.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import polars as pl

from recsys.config import DatasetConfig
from recsys.errors import ConfigError
from recsys.progress import format_count

KEY = "RECSYS_PSEUDONYM_KEY"
_LEAST_CHARACTERS = 32
# A letter first, so that nothing takes a pseudonym for a number.
_PREFIX = "p"
_HEX_DIGITS = 32
# Of SHA-256.
_BLOCK_BYTES = 64
_FORM = rf"^{_PREFIX}[0-9a-f]{{{_HEX_DIGITS}}}$"
_FINGERPRINT_DIGITS = 16


class Pseudonyms:
    """HMAC-SHA256 of ids with one key, as `p` and the first 32 hexadecimal digits.

    Args:
        key: the secret; the same key gives the same pseudonyms.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    def from_environment(cls) -> Pseudonyms:
        """Return the pseudonyms of the key in `RECSYS_PSEUDONYM_KEY`.

        Raises:
            ConfigError: the key is missing or too short.
        """
        key = os.environ.get(KEY, "").strip()
        if len(key) < _LEAST_CHARACTERS:
            found = f"has {format_count(len(key), 'character')}" if key else "is not set"
            raise ConfigError(
                f"dataset.pseudonyms: {KEY} {found}, expected a secret of at least {_LEAST_CHARACTERS} characters; "
                "make one with 'openssl rand -hex 32' and keep it outside RECSYS_HOME"
            )
        return cls(key)

    @property
    def fingerprint(self) -> str:
        """Identifies the key without revealing it."""
        return hmac.digest(self._key, b"recsys fingerprint of this key", "sha256").hex()[:_FINGERPRINT_DIGITS]

    def replace(self, ids: pl.Series) -> pl.Series:
        """Return the pseudonym of each clean id; null where there is none. Each distinct id is hashed once."""
        distinct = ids.drop_nulls().unique()
        if len(distinct) == len(ids):
            return self._name(ids)
        return ids.replace_strict(distinct, self._name(distinct), default=None, return_dtype=pl.String)

    def _name(self, ids: pl.Series) -> pl.Series:
        return (_PREFIX + hash_with_key(self._key, ids).str.slice(0, _HEX_DIGITS)).alias(ids.name)


def find_pseudonyms(config: DatasetConfig) -> Pseudonyms | None:
    """Return the pseudonyms that a dataset uses; None: it uses the ids themselves.

    Raises:
        ConfigError: the key is missing or too short.
    """
    return Pseudonyms.from_environment() if config.pseudonyms else None


def name_users(config: DatasetConfig, ids: pl.Series) -> pl.Series:
    """Return clean ids of users as snapshots hold them: pseudonyms where the dataset uses them.

    Raises:
        ConfigError: the key is missing or too short.
    """
    pseudonyms = find_pseudonyms(config)
    return pseudonyms.replace(ids) if pseudonyms else ids


def are_pseudonyms(ids: pl.Series) -> bool:
    """Return whether every text has the form of a pseudonym."""
    return bool(ids.str.contains(_FORM).all())


def hash_with_key(key: bytes, texts: pl.Series) -> pl.Series:
    """Return the HMAC-SHA256 of each text, hexadecimal."""
    # RFC 2104 with the two blocks of the key hashed once: half the time of `hmac`, which hashes them for each text.
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    copy_inner, copy_outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)).copy for pad in (0x36, 0x5C))

    def digest(text: str) -> str:
        inner, outer = copy_inner(), copy_outer()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.hexdigest()

    return pl.Series(texts.name, [digest(text) for text in texts.to_list()], dtype=pl.String)
