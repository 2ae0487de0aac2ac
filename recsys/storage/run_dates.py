"""Run dates: the days that folders of lists are named by."""

from __future__ import annotations

from datetime import date


def is_run_date(text: str) -> bool:
    """Return whether a text is a day as YYYY-MM-DD, the only spelling of a run date."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
