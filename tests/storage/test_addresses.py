"""No part of a password is shown, whatever it contains and wherever it is."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.storage.addresses import Address, clean, hide_credentials


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://ana:hunter22@host/prefix/", "https://host/prefix/"),
        ("https://host/prefix?token=hunter22", "https://host/prefix"),
        ("postgresql+psycopg://ana:hun/ter@22%41@host:5432/db?sslmode=require", "postgresql+psycopg://host:5432/db"),
        ("postgresql://ana:hunter?22@host/db", "postgresql://host/db"),
        ("postgresql://ana@/db?host=/run/x", "postgresql:///db"),
        ("postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("sqlite:////srv/a@b/mlflow.db", "sqlite:////srv/a@b/mlflow.db"),
        ("mlruns", "mlruns"),
        ("host=db.shop user=ana password='hunter 22' dbname=lists", "host=db.shop dbname=lists"),
        # Which part is the password, nobody knows.
        ("http://ana:hunter22", "http://***"),
        ("http://ana:hunter@22?x=1@host/db", "http://***"),
        ("postgresql://host/db?password=hunter@22", "postgresql://***"),
    ],
)
def test_only_scheme_host_and_path_are_shown(text: str, place: str) -> None:
    address = Address.parse(text)
    assert address.place == place
    message = address.clean(f'connection to "{text}" failed for "{address.user}" with "{address.password}"')
    for secret in ("hunter", "22", "%41"):
        assert secret not in message


PASSWORDS = st.text(st.sampled_from("ab/@%?&=#:+ é1"), min_size=1, max_size=12)


@given(PASSWORDS)
def test_an_encoded_password_is_read_back_and_never_shown(password: str) -> None:
    secret = f"secret{password}secret"
    address = Address.parse(f"postgresql://ana-the-user:{quote(secret, safe='')}@host:1/db")
    assert (address.password, address.hostname, address.port, address.path) == (secret, "host", "1", "db")
    assert address.place == "postgresql://host:1/db"
    for spelling in (secret, quote(secret), quote(secret, safe="")):
        message = address.clean(f"could not connect with {spelling} as ana-the-user")
        assert message == "could not connect with *** as ***"


@given(PASSWORDS)
def test_a_raw_password_is_never_shown(password: str) -> None:
    secret = f"secret{password}secret"
    for scheme in ("http", "postgresql"):
        address = Address.parse(f"{scheme}://ana:{secret}@host/db")
        assert "secret" not in address.place
        assert "secret" not in address.clean(f"cannot reach {scheme}://ana:{secret}@host/db: {secret} is wrong")


def test_credentials_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter22")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok/en+1")
    assert clean("hunter22 and\n tok%2Fen%2B1") == "*** and ***"


def test_a_short_secret_is_hidden_as_a_word_only() -> None:
    assert Address.parse("postgresql://a:b@host/db").clean("user a: database b is absent") == (
        "user ***: database *** is absent"
    )


def test_a_traceback_keeps_its_lines_and_loses_credentials() -> None:
    address = "http://ana-the-user:hun/ter22@127.0.0.1:1"
    lines = [
        "Traceback:",
        "  File 'a.py', line 1",
        f"    call('{address}')",
        "",
        f"Error: {address}/api: 'ana-the-user'",
    ]
    place = "http://127.0.0.1:1"
    expected = [*lines[:2], f"    call('{place}')", "", f"Error: {place}/api: '***'"]
    assert hide_credentials("\n".join(lines), ["", address]) == "\n".join(expected)
