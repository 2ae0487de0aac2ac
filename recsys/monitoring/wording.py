"""Figures as text, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.monitoring.watches import find_watch

AREAS = ("outcomes", "arrival", "data", "identity", "abuse", "model", "lists")
# Shares whose change is judged in relation to their size, or that are not judged.
_PERCENT = ("hit_rate", "outcomes.recall", ".by_age.", "abuse.popular_changed")
# Distances and coefficients between 0 and 1 that nobody reads as shares.
_NUMBERS = ("model.score", "model.feature_ks", "lists.gini")
# Shares below this would round to 0.0 %.
_SMALL_SHARE = 0.0005


def write_figure(name: str, value: float) -> str:
    """Return a figure's value as text: a share in percent, a number with the digits that it needs."""
    watch = find_watch(name)
    if (
        watch is not None
        and watch.scale == "share"
        and not name.startswith(("model.score", "model.feature_ks", "lists.gini"))
    ):
        return f"{value:.2%}" if 0 < abs(value) < _SMALL_SHARE else f"{value:.1%}"
    if name == "lists.coverage" or any(part in name for part in _PERCENT):
        return f"{value:.1%}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def limit_interval(name: str, ends: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a figure's interval without the values that it cannot have: a mean of shares is 0 to 1.

    Stored intervals keep them, because their widths are standard errors.
    """
    low, high = ends
    return (low, high) if ".over_" in name else (max(0.0, low), min(1.0, high))


def write_range(normal: Mapping[str, Any], figure: str | None = None) -> str:
    """Return what is normal for a figure, such as `1,200 (820 to 1,700)`.

    Args:
        normal: an alert; or `value`, `low` and `high` of a figure.
        figure: name of the figure; needed where it is not an alert.
    """
    name = figure or normal["figure"]
    value = normal.get("value") if figure else normal["expected"]
    low, high = (None if normal[end] is None else write_figure(name, normal[end]) for end in ("low", "high"))
    if low is None:
        limits = f"at most {high}"
    elif high is None:
        limits = f"at least {low}"
    else:
        limits = f"{low} to {high}"
    return limits if value is None else f"{write_figure(name, value)} ({limits})"
