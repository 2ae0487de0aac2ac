"""Pseudonyms are keyed, stable, and reveal neither ids nor the key."""

import hashlib
import hmac

import polars as pl
import pytest

from recsys.dataset.pseudonyms import KEY, Pseudonyms, are_pseudonyms, hash_with_key
from recsys.errors import ConfigError

SECRET = "0123456789abcdef" * 4


def test_a_pseudonym_is_the_hmac_of_the_id() -> None:
    ids = pl.Series("user_id", ["u1", None, "家", "u1"])
    expected = hmac.new(SECRET.encode(), b"u1", hashlib.sha256).hexdigest()[:32]
    made = Pseudonyms(SECRET).replace(ids)
    assert made.name == "user_id"
    assert made[0] == made[3] == f"p{expected}"
    assert made[1] is None
    assert made[2] not in (None, made[0])
    assert Pseudonyms(SECRET + "x").replace(ids)[0] != made[0]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_hashes_are_those_of_the_standard(length: int) -> None:
    key, texts = bytes(range(1, 256))[:length] * (1 + length // 255), ["", "u1", "家" * 100]
    expected = [hmac.digest(key, text.encode(), "sha256").hex() for text in texts]
    assert hash_with_key(key, pl.Series(texts)).to_list() == expected


def test_the_form_of_a_pseudonym_is_known() -> None:
    made = Pseudonyms(SECRET).replace(pl.Series(["u1", "u2"]))
    assert are_pseudonyms(made)
    assert not are_pseudonyms(pl.Series([made[0], "u2"]))
    assert not are_pseudonyms(pl.Series([f"{made[0]}0"]))


def test_the_fingerprint_identifies_the_key() -> None:
    one, other = Pseudonyms(SECRET).fingerprint, Pseudonyms(SECRET + "x").fingerprint
    assert one != other
    assert one not in SECRET


@pytest.mark.parametrize("key", [None, "short"])
def test_a_missing_or_short_key_is_an_error_that_says_how_to_make_one(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY, key)
    with pytest.raises(ConfigError, match="openssl rand -hex 32") as raised:
        Pseudonyms.from_environment()
    assert "short" not in str(raised.value).replace("too short", "")
