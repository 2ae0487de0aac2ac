"""What every section of the configuration is: frozen, without unknown keys, of a few common types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: no unknown keys, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
