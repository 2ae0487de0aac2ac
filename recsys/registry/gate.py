"""The gate: may the challenger take the champion's place?"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys.config import Config
from recsys.evaluation.intervals import compare_paired


@dataclass(frozen=True)
class Decision:
    """An answer and its reason.

    Attributes:
        promoted: yes or no.
        reason: one sentence with the numbers.
        rival: who the challenger was compared with.
        users: how many users both were measured on.
        difference, low, high: challenger minus rival in the config's metric, with its interval.
    """

    promoted: bool
    reason: str
    rival: str
    users: int
    difference: float
    low: float
    high: float


def decide(
    challenger: pl.DataFrame, rival: pl.DataFrame, rival_name: str, config: Config, *, first: bool = False
) -> Decision:
    """Compare two `UserMetrics` tables on the users they share.

    The challenger passes when, at the low end of the paired interval, it loses at most `max_relative_loss` of the
    rival's mean, so a worse model never passes by luck of a wide interval. A first champion (`first`) has no lists to
    protect: it passes when its mean loses at most that much against a baseline.
    """
    evaluation = config.evaluation
    wanted = (pl.col("metric") == evaluation.metric) & (pl.col("n") == evaluation.n)
    pairs = (
        challenger.filter(wanted)
        .select("user_id", "value")
        .join(rival.filter(wanted).select("user_id", pl.col("value").alias("rival")), on="user_id")
        .sort("user_id")
    )
    name = f"{evaluation.metric}@{evaluation.n}"
    if pairs.is_empty():
        return Decision(False, f"no user has {name} with both the challenger and {rival_name}", rival_name, 0, 0, 0, 0)
    ours, theirs = pairs["value"].to_numpy(), pairs["rival"].to_numpy()
    found = compare_paired(ours, theirs, evaluation.bootstrap_samples, evaluation.confidence, config.seed)
    floor = -config.registry.max_relative_loss * float(theirs.mean())
    compared, bar = ("mean", found.mean) if first else ("low end", found.low)
    promoted = bar >= floor
    numbers = (
        f"{name} {ours.mean():.4f} against {theirs.mean():.4f} of {rival_name} on {pairs.height:,} users: "
        f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    )
    verdict = "at or above" if promoted else "below"
    reason = f"{numbers}; the {compared} is {verdict} the allowed {floor:+.4f}"
    return Decision(promoted, reason, rival_name, pairs.height, found.mean, found.low, found.high)
