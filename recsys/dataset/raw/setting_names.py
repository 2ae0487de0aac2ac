"""Names of settings in messages about raw files."""

from __future__ import annotations

HOLDOUT = "hold-out pairs"


def name_setting(what: str, field: str = "") -> str:
    """Return the setting that a message about a table's files names.

    Hold-out pairs have a path of their own, and are written as the interactions are.

    Args:
        what: the table's name, such as `items`, or `HOLDOUT`.
        field: of the table's settings; empty: all of them.
    """
    if what == HOLDOUT and field == "path":
        return "windows.holdout_path"
    table = "interactions" if what == HOLDOUT else what
    return f"dataset.{table}.{field}" if field else f"dataset.{table}"
