"""What every section of the configuration is: frozen, without unknown keys, of a few common types."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
# Left to the data: measured on the newest label window before anything is ranked.
Auto = Literal["auto"]
AUTO: Final = "auto"


class Section(BaseModel):
    """Base of every section: no unknown keys, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DecayingSection(Section):
    """A model that scores by a history, its newest items most."""

    # How much less each step back weighs.
    history_decay: Annotated[float, Field(gt=0, le=1)] | Auto = AUTO

    @property
    def decay(self) -> float:
        """`history_decay`; until it is measured all items weigh the same."""
        return 1.0 if self.history_decay == AUTO else float(self.history_decay)
