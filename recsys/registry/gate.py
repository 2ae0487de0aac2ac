"""The gate: may the challenger replace the champion?"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys.config import Config
from recsys.evaluation.intervals import compare_paired
from recsys.progress import format_count


@dataclass(frozen=True)
class Decision:
    """The gate's answer.

    Attributes:
        promoted: yes or no.
        reason: one sentence with the numbers.
        rival: the model that the challenger was compared with.
        users: how many users both were measured on.
        difference, low, high: challenger minus rival in the config's metric, and the ends of its interval.
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

    The challenger passes when the lower bound of the paired interval is a loss of at most `max_relative_loss` of the
    rival's mean; a worse model cannot pass because its interval is wide. A first champion replaces no lists, so only
    its mean has to be within that loss.

    Args:
        challenger: `UserMetrics` of one model.
        rival: `UserMetrics` of one model.
        rival_name: for the reason, such as `champion version 3`.
        config: `evaluation` names the metric and the interval, `registry` the allowed loss.
        first: there is no champion yet, and the rival is a baseline.
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
    estimate = compare_paired(ours, theirs, evaluation.bootstrap_samples, evaluation.confidence, config.seed)
    allowed_loss = config.registry.max_relative_loss * float(theirs.mean())
    bound, value = ("mean", estimate.mean) if first else ("lower bound", estimate.low)
    promoted = value >= -allowed_loss
    users = format_count(pairs.height, "user")
    numbers = (
        f"{name} {ours.mean():.4f} against {theirs.mean():.4f} of {rival_name} on {users}: "
        f"{estimate.mean:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"
    )
    verdict = "is within" if promoted else "exceeds"
    reason = f"{numbers}; {bound} {verdict} the allowed loss of {allowed_loss:.4f}"
    return Decision(promoted, reason, rival_name, pairs.height, estimate.mean, estimate.low, estimate.high)
