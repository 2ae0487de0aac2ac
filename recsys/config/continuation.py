"""Settings of `recsys train --from`."""

from __future__ import annotations

from recsys.config.section import Count, Section


class ContinuationConfig(Section):
    """When `recsys train --from champion` trains from scratch all the same."""

    full_every: Count = 8
    """Every training of this number is a full one: with 8, at most 7 trainings in a row continue."""
    full_if_monitor_asks: bool = True
    """Train from scratch if the last monitored night recommends retraining (`recsys_monitor_retrain` is 1)."""
