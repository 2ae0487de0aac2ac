"""Settings of `recsys train --from`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recsys.config.section import Count, Section


class ContinuationConfig(Section):
    """What `recsys train --from champion` keeps, and when it trains from scratch all the same."""

    full_every: Count = 8
    """Every training of this number is a full one: with 8, at most 7 trainings in a row continue."""
    full_if_monitor_asks: bool = True
    """Train from scratch if the last monitored night recommends retraining (`recsys_monitor_retrain` is 1)."""
    encoder_steps: Annotated[int, Field(ge=0)] = 0
    """Number of steps in which the encoder learns from the interactions since the version's training and as many older
    ones; 0: it stays, and known texts are not encoded again."""
    encoder_learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Learning rate of the encoder's last layer in these steps."""
    keep_ranker_choice: bool = True
    """Keep the number of trees and the share of the blend that the last full training chose by folds, if sources,
    features and settings of the ranker are the same. false: choose by folds in every training."""
