"""Settings of `recsys monitor`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from recsys.config.section import Count, Section


class LimitConfig(Section):
    """The range that a figure may have, in place of the learned one."""

    low: float | None = None
    """Lower limit of the normal range; null: none."""
    high: float | None = None
    """Upper limit of the normal range; null: none."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high {self.high:g}")
        return self


class MonitoringConfig(Section):
    """What `recsys monitor` compares each night with, and what it keeps."""

    reference_nights: Count = 28
    """Number of recent good nights that tonight is compared with; nights with an alert do not count."""
    min_reference_nights: Count = 5
    """Minimum number of good nights for learned ranges; with fewer, only figures with a fixed limit are checked."""
    tolerance: Annotated[float, Field(gt=0)] = 5.0
    """Maximum distance of a figure from its expected value, in robust standard deviations of the reference nights."""
    sample_users: Count = 5_000
    """Number of sampled users whose histories and lists are compared with the last good night."""
    sample_items: Count = 5_000
    """Number of sampled items whose texts are compared with the last good night."""
    keep_nights: Count = 400
    """Number of nights whose figures are kept; older ones are deleted."""
    mlflow: bool = True
    """Whether each night is logged to MLflow, in an experiment named like that of the trainings plus `-monitoring`."""
    limits: dict[str, LimitConfig] = Field(default={})
    """Figure -> fixed range that replaces the learned one."""
    ignore: tuple[str, ...] = ()
    """Figures that never cause an alert; a name ending in * matches all figures that start with it."""

    @model_validator(mode="after")
    def _reference_is_long_enough(self) -> Self:
        if self.reference_nights < self.min_reference_nights:
            raise ValueError(
                f"reference_nights is {self.reference_nights}, below min_reference_nights {self.min_reference_nights}"
            )
        if self.keep_nights < self.reference_nights:
            raise ValueError(f"keep_nights is {self.keep_nights}, below reference_nights {self.reference_nights}")
        return self
