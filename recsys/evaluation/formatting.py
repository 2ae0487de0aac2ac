"""How numbers are written: metrics, means with intervals, p-values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

METRIC_NAMES = {
    "ndcg": "nDCG",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "mrr": "MRR",
    "map": "MAP",
    "hit_rate": "hit rate",
    "recall_ips": "recall, popularity-corrected",
    "coverage": "catalogue coverage",
    "gini": "Gini",
    "novelty": "novelty",
    "diversity": "diversity",
    "cold_share": "share of cold items",
}


def format_interval(row: Mapping[str, Any], names: tuple[str, str, str], number_format: str) -> str:
    """Format a mean and the ends of its interval as `0.123 [0.110, 0.136]`.

    Args:
        row: the numbers by name.
        names: of the mean, the low end and the high end.
        number_format: of each number, such as `.3f`.
    """
    mean, low, high = (format(row[name], number_format) for name in names)
    return f"{mean} [{low}, {high}]"


def format_p_value(value: float) -> str:
    """Format a p-value as `p = 0.032`, rounded up to three decimals; the smallest is written `p ≤ 0.001`."""
    thousandths = math.ceil(1000 * value - 1e-9)
    return f"p {'≤' if thousandths <= 1 else '='} {max(1, thousandths) / 1000:.3f}"


def name_metric(metric: str) -> str:
    """Return a metric's name for people."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def write_number(value: float | None, digits: int = 4, *, signed: bool = False) -> str:
    """Write a number with a typographic minus sign; a dash for None."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
