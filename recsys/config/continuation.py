"""Settings of `recsys train --from`."""

from __future__ import annotations

from recsys.config.section import Count, Section


class ContinuationConfig(Section):
    """What `recsys train --from champion` keeps, and when it trains from scratch all the same."""

    full_every: Count = 8
    """Every training of this number is a full one: with 8, at most 7 trainings in a row continue."""
    full_if_monitor_asks: bool = True
    """Train from scratch if the last monitored night recommends retraining (`recsys_monitor_retrain` is 1)."""
    keep_ranker_choice: bool = True
    """Keep the number of trees and the share of the blend that the last full training chose by folds, if sources,
    features and settings of the ranker are the same. false: choose by folds in every training."""
