"""Names of parameters and metrics in MLflow, which allows few characters and 250 of them.

A setting's path may hold any letters: kinds of events and attributes are the user's. Each character that MLflow refuses
becomes `_xHH_`, its code point in hexadecimal, so that two settings never share a name and the path can be read back.
"""

from __future__ import annotations

import hashlib
import re

_LENGTH = 250
_ESCAPE = re.compile(r"_x([0-9A-F]+)_")
_INCOMPLETE = re.compile(r"_x[0-9A-F]*$")
# Marks a shortened name: no escape contains an L, and an underscore before an x is escaped itself.
_SHORTENED = "_xL"


def encode_name(path: str) -> str:
    """Return a name that MLflow accepts for a setting's path or a metric.

    Letters and digits of every script, `_`, `-`, `.` and spaces stay. A name of more than 250 characters is cut and
    ends in a hash of the whole path.
    """
    encoded = "".join(_encode(path, index) for index in range(len(path)))
    if len(encoded) <= _LENGTH:
        return encoded
    mark = f"{_SHORTENED}{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    return _INCOMPLETE.sub("", encoded[: _LENGTH - len(mark)]) + mark


def decode_name(name: str) -> str | None:
    """Return the path that `encode_name` was given; None for a shortened name."""
    if _SHORTENED in name:
        return None
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def _encode(path: str, index: int) -> str:
    character = path[index]
    allowed = character.isalnum() or character in "_- ."
    # A point in front would be read as a folder's.
    if not allowed or (character == "_" and path[index + 1 : index + 2] == "x") or (character == "." and index == 0):
        return f"_x{ord(character):X}_"
    return character
