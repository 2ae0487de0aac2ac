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
    """Smallest value of the metric itself; a model without any hit is always refused."""
    new_users: Share | None = 0.1
    """Share of the champion's metric that new users may lose."""
    light_users: Share | None = 0.1
    """Share of the champion's metric that light users may lose."""
    segments: Share | None = 0.15
    """Share of the champion's metric that each segment of evaluation.segments.item_columns may lose."""
    cold_item_recall: Share | None = 0.3
    """Share of the champion's recall of cold items that may be lost."""
    coverage: Share | None = 0.3
    """Share of the champion's catalogue coverage that may be lost."""
    fallback_share: Share | None = 0.1
    """Points that the share of rows filled by the fallback chain may rise: 0.1 allows 0.15 after 0.05."""
    churn: Share | None = 0.95
    """Largest mean share of a user's list that the champion did not list for the same user."""
    seconds: Factor | None = 3.0
    """Largest seconds per 1,000 users, as a multiple of the champion's; both are timed in turns by `promote`."""
    bytes: Factor | None = 3.0
    """Largest memory of candidates and features per 1,000 users, as a multiple of the champion's."""


class GateConfig(Section):
    """When a challenger replaces the champion. Rules and reasons: docs/explanation/gate.md."""

    accept_equal: Literal["never", "fresher", "always"] = "fresher"
    """Whether a challenger that is as good as the champion is promoted; fresher: if it learned from newer data."""
    max_loss: Share = 0.02
    """Share of the champion's metric within which a challenger is as good."""
    max_total_loss: Share = 0.02
    """Share of the anchor's metric that all promotions since the anchor may lose together."""
    confidence: PositiveShare = 0.99
    """Confidence of the intervals against champion and anchor, for the first challenger on a window. Losses that refuse
    (baselines, guardrails) need evaluation.confidence only."""
    plausible_change: Annotated[float, Field(gt=0)] = 0.02
    """Size of a usual true change between two trainings, as a share of the metric. Intervals are widened where their
    standard error is not small against it, so a change that is too large to be plausible needs more proof."""
    min_users: Count = 50
    """Users who must be measured with both models; with fewer the gate cannot tell."""
    min_users_with_hits: Count = 20
    """Users who must have a hit with either model; with fewer the gate cannot tell."""
    min_users_differing: Count = 10
    """Users whose metric must differ between the models; with fewer the gate cannot tell."""
    guardrails: GuardrailsConfig = GuardrailsConfig()
    """What a challenger must not lose while its metric holds."""
