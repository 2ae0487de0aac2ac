"""What the gate decides from: the measurements of challenger, champion, anchor and baselines on the same users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys.evaluation.paired import Pairs

FigureName = Literal["coverage", "fallback_share", "churn", "seconds", "bytes"]
SegmentMargin = Literal["new_users", "light_users", "segments", "cold_item_recall"]


@dataclass(frozen=True)
class Rival:
    """A model that the challenger is compared with.

    Attributes:
        name: in the table, such as `champion version 3` or `source als`.
        pairs: the challenger's values and the rival's for the same users; None where there are none.
        full_name: in sentences, such as `the evaluation model of champion version 3`; empty: the name.
        why_not: the reason why there are no pairs.
    """

    name: str
    pairs: Pairs | None
    full_name: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class SegmentPairs:
    """Challenger and champion in one segment.

    Attributes:
        name: as in the tables, such as `users: light`.
        metric: such as `ndcg@10`.
        margin: the setting of `registry.gate.guardrails` that holds the margin.
        pairs: values of the users with a positive in the segment; None where the segment has no users.
    """

    name: str
    metric: str
    margin: SegmentMargin
    pairs: Pairs | None


@dataclass(frozen=True)
class Figure:
    """A figure of the challenger that has no value per user.

    Attributes:
        name: also the setting of `registry.gate.guardrails` that holds the margin.
        figure: of the challenger; None where it was not measured.
        against: of the champion; None where it was not measured, or where the limit stands alone (`churn`).
        users: number of users behind the figure.
    """

    name: FigureName
    figure: float | None
    against: float | None
    users: int


@dataclass(frozen=True)
class Case:
    """Everything that a decision depends on, except the settings.

    Attributes:
        metric: the metric that models are compared by, such as `ndcg@10`.
        figure: its mean over the challenger's users.
        users: their number.
        champion: None where there is no champion: the challenger would be the first.
        anchor: the best champion so far; None where there is no champion.
        champion_to_anchor: values of the champion and the anchor for the same users; None where they are one version
            or were not both measured.
        baselines: the blend and the single sources of the challenger's own run.
        segments: challenger against champion.
        figures: likewise.
        fresher: the challenger learned from newer data than the champion.
        spent: loss of all promotions since the anchor, as a share of the metric.
        tries: number of challengers that were judged on the same window before this one.
    """

    metric: str
    figure: float
    users: int
    champion: Rival | None
    anchor: Rival | None = None
    champion_to_anchor: Pairs | None = None
    baselines: tuple[Rival, ...] = ()
    segments: tuple[SegmentPairs, ...] = ()
    figures: tuple[Figure, ...] = ()
    fresher: bool = False
    spent: float = 0.0
    tries: int = 0
