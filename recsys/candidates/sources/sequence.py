"""Interest scores from a model in which the order of the history matters most."""

from __future__ import annotations

from typing import ClassVar

from recsys.candidates.sources.text import InterestSource
from recsys.config.plugins import register_source


@register_source
class SequenceSource(InterestSource):
    """Interest scores of the sequence model."""

    name = "sequence"
    section_path: ClassVar[str] = "text.sequence"
    model: ClassVar[str] = "sequence"
