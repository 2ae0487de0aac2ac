"""Names in MLflow: always accepted, never shared, and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_param_name

from recsys.registry.names import decode_name, encode_name

PATHS = st.text(min_size=1) | st.text(st.sampled_from("_xL5F28a./ "), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dataset.interactions.event_weights.buy (web)", "dataset.interactions.event_weights.buy _x28_web_x29_"),
        ("text.max_tokens", "text.max_tokens"),
        ("attributes.価格/é", "attributes.価格_x2F_é"),
        ("a_x28_", "a_x5F_x28_"),
        ("..", "_x2E_."),
    ],
)
def test_names(path: str, name: str) -> None:
    assert encode_name(path) == name
    assert decode_name(name) == path


@given(PATHS)
def test_mlflow_accepts_every_name(path: str) -> None:
    name = encode_name(path)
    _validate_param_name(name)
    assert len(name) <= MAX_ENTITY_KEY_LENGTH
    assert decode_name(name) in (path, None)


@given(PATHS, PATHS)
def test_two_paths_never_share_a_name(one: str, other: str) -> None:
    assert (encode_name(one) == encode_name(other)) == (one == other)


def test_long_names_are_shortened_and_stay_different() -> None:
    long = "attributes." + "(" * 300
    names = {encode_name(long + tail) for tail in ("", "a", "b")}
    assert len(names) == 3
    assert all(len(name) <= MAX_ENTITY_KEY_LENGTH and decode_name(name) is None for name in names)
    # A name that looks shortened already is escaped.
    name = max(names)
    assert encode_name(name) != name
