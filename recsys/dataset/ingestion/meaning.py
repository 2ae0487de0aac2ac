"""What events mean: how much they weigh, whether the user has the item, and whether lists should predict it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.config import InteractionFiles


def weigh_values(files: InteractionFiles, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the value of each event multiplies its weight by.

    Args:
        files: `value_weight` decides.
        values: (n_events), NaN for a missing value, which counts as 1; above 0 where values weigh.
    """
    if files.value_weight == "none":
        return np.ones(len(values))
    amounts = np.where(np.isnan(values), 1.0, values)
    return amounts if files.value_weight == "linear" else np.log1p(amounts)


def weigh_events(
    files: InteractionFiles, events: NDArray[np.integer], values: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the weight of each event: that of its kind, times what its value makes of it.

    Args:
        files: weights of the kinds.
        events: (n_events) index of the kind among `event_weights`.
        values: as for `weigh_values`.
    """
    weights = np.array(list(files.event_weights.values()), dtype=np.float64)[events]
    return np.asarray(weights * weigh_values(files, values), dtype=np.float32)


def mark_consumed(files: InteractionFiles, events: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return (n_events) bool: the user has the item after the event."""
    kinds = [kind in files.owned_events or kind in _list_positive(files) for kind in files.event_weights]
    return np.asarray(np.array(kinds)[events])


def mark_positive(
    files: InteractionFiles, events: NDArray[np.integer], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return (n_events) bool: the lists should predict the event."""
    positive = np.asarray(np.array([kind in _list_positive(files) for kind in files.event_weights])[events])
    if files.positive_value is not None:
        positive = positive & (np.isnan(values) | (values >= files.positive_value))
    return positive


def order_kinds(files: InteractionFiles) -> list[str]:
    """Return the event kinds by weight, the weakest first; of equal ones the first of `event_weights` is weaker."""
    return sorted(files.event_weights, key=lambda kind: files.event_weights[kind])


def _list_positive(files: InteractionFiles) -> list[str]:
    kinds = files.event_weights if files.positive_events is None else files.positive_events
    return [kind for kind in kinds if kind not in files.owned_events]
