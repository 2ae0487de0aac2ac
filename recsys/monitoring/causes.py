"""Likely causes in the order in which they are asked: which figures moved together, what that means, what to do."""

from __future__ import annotations

from recsys.monitoring.catalogue_causes import CATALOGUE_CAUSES, IDENTITY_CAUSES
from recsys.monitoring.cause import Cause
from recsys.monitoring.event_causes import EVENT_CAUSES, VOLUME_CAUSES
from recsys.monitoring.model_causes import MODEL_CAUSES

# A cause that explains more comes first.
CAUSES: tuple[Cause, ...] = (
    *IDENTITY_CAUSES,
    *EVENT_CAUSES,
    *CATALOGUE_CAUSES,
    *MODEL_CAUSES,
    *VOLUME_CAUSES,
)

UNKNOWN = Cause(
    "unknown",
    "figures are outside their normal range",
    "Check these figures on the page; accept the night if the change is intended.",
    lambda now: bool(now.moved),
    ("*",),
)
