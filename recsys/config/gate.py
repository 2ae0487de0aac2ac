"""Settings of the promotion gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recsys.config.section import Count, PositiveShare, Section, Share

Factor = Annotated[float, Field(ge=1.0)]


class GuardrailsConfig(Section):
    """What a challenger must not lose while its metric holds; null switches a guardrail off.

    A guardrail that compares users refuses a loss that is sure and larger than its margin; the others compare the
    figures themselves.
    """

    min_metric: Share = 0.0
    """Minimum value of the metric; a model without any hit is always refused."""
    new_users: Share | None = 0.1
    """Maximum loss for new users, as a share of the champion's metric."""
    light_users: Share | None = 0.1
    """Maximum loss for light users, as a share of the champion's metric."""
    segments: Share | None = 0.15
    """Maximum loss for each segment of evaluation.segments.item_columns, as a share of the champion's metric."""
    cold_item_recall: Share | None = 0.3
    """Maximum loss of recall of cold items, as a share of the champion's."""
    coverage: Share | None = 0.3
    """Maximum loss of catalogue coverage, as a share of the champion's."""
    fallback_share: Share | None = 0.1
    """Maximum rise of the share of rows filled by the fallback chain: 0.1 allows 0.15 after 0.05."""
    churn: Share | None = 0.95
    """Maximum mean share of a user's list that is not in the champion's list for the same user."""
    seconds: Factor | None = 3.0
    """Maximum seconds per 1,000 users, as a multiple of the champion's; `promote` times both alternately."""
    bytes: Factor | None = 3.0
    """Maximum memory of candidates and features per 1,000 users, as a multiple of the champion's."""


class GateConfig(Section):
    """Promotion gate: when a challenger replaces the champion. Rules and reasons: docs/explanation/gate.md."""

    accept_equal: Literal["never", "fresher", "always"] = "fresher"
    """Whether a challenger that is as good as the champion is promoted; fresher: only if it was trained on newer
    data."""
    max_loss: Share = 0.02
    """Non-inferiority margin, as a share of the champion's metric: within it, a challenger is as good."""
    max_total_loss: Share = 0.02
    """Maximum total loss of all promotions since the anchor, as a share of the anchor's metric."""
    confidence: PositiveShare = 0.99
    """Confidence of the intervals against champion and anchor, for the first challenger on a window. Losses that refuse
    (baselines, guardrails) need evaluation.confidence only."""
    plausible_change: Annotated[float, Field(gt=0)] = 0.02
    """Typical true change between two trainings, as a share of the metric. Intervals are widened where their
    standard error is large compared with it, so an implausibly large change needs more evidence."""
    min_users: Count = 50
    """Minimum number of users measured with both models; with fewer, the answer is `cannot tell`."""
    min_users_with_hits: Count = 20
    """Minimum number of users with a hit by either model; with fewer, the answer is `cannot tell`."""
    min_users_differing: Count = 10
    """Minimum number of users whose metric differs between the models; with fewer, the answer is `cannot tell`."""
    guardrails: GuardrailsConfig = GuardrailsConfig()
    """Limits on what a challenger may lose even if its metric is good enough."""
