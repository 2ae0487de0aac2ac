"""Forgotten users: ingest rejects their rows. Only keyed hashes of their ids are kept."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.pseudonyms import hash_with_key
from recsys.errors import ArtifactError
from recsys.storage.files import encode_json, read_json, replace_text

_SALT_BYTES = 32


@dataclass(frozen=True)
class ForgottenUsers:
    """The users who must not come back.

    Attributes:
        salt: key of the hashes, drawn once for a home.
        hashes: HMAC-SHA256 of the ids, hexadecimal.
    """

    salt: str
    hashes: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> ForgottenUsers:
        """Read the list of a home; without a file nobody is forgotten.

        Raises:
            ArtifactError: the file is damaged: without it forgotten users would come back.
        """
        try:
            content = read_json(path)
            return cls(str(content["salt"]), frozenset(map(str, content["hashes"])))
        except FileNotFoundError:
            return cls(secrets.token_hex(_SALT_BYTES), frozenset())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"file {path}: cannot be read ({error}), so forgotten users would come back; restore it from a backup, "
                "or delete it and run 'recsys forget' for them again"
            ) from error

    def add(self, ids: Iterable[str]) -> ForgottenUsers:
        """Return the list with further users."""
        return ForgottenUsers(self.salt, self.hashes | set(self.hash(pl.Series(list(ids), dtype=pl.String))))

    def hash(self, ids: pl.Series) -> list[str]:
        """Return the hash of each id."""
        hashes: list[str] = hash_with_key(bytes.fromhex(self.salt), ids).to_list()
        return hashes

    def find(self, ids: pl.Series) -> NDArray[np.bool_]:
        """Return (n) bool, which ids are of forgotten users; a null is not."""
        if not self.hashes or not len(ids):
            return np.zeros(len(ids), dtype=np.bool_)
        known = ids.fill_null("")
        hashes = pl.Series(self.hash(known), dtype=pl.String)
        found = hashes.is_in(pl.Series(sorted(self.hashes)).implode()) & ids.is_not_null()
        return found.to_numpy()

    def write(self, path: Path) -> None:
        """Replace the list of a home.

        Raises:
            ArtifactError: it cannot be written; the existing list is unchanged.
        """
        replace_text(path, encode_json({"salt": self.salt, "hashes": sorted(self.hashes)}))
