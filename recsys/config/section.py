"""The base of every section of the configuration, and the types that several sections share."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
# Chosen from the data: measured on the newest label window before anything is ranked.
Auto = Literal["auto"]
AUTO: Final = "auto"


class Section(BaseModel):
    """Base of every section: unknown keys are rejected, values are frozen.

    The docstring under a setting is its description in docs/reference/configuration.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DecayingSection(Section):
    """A model that scores items by a history, whose newest items count most."""

    history_decay: Annotated[float, Field(gt=0, le=1)] | Auto = AUTO
    """Decay: weight of a history item relative to the next newer one; auto: measured on the newest label window."""

    @property
    def decay(self) -> float:
        """`history_decay`; until it is measured, all items weigh the same."""
        return 1.0 if self.history_decay == AUTO else float(self.history_decay)
