"""Sources that are used only where they help: which setting says so."""

from __future__ import annotations

from typing import Any

from recsys.config import Config
from recsys.config.overrides import apply_settings

# Source -> the setting that says whether it is used.
USE = {"sequence": "text.sequence.use", "attributes": "candidates.attributes.use"}


def settle_use(config: Config, source: str, used: bool) -> Config:
    """Return the settings with a source's `use` decided, and without the source if it is not used.

    A source that is alone stays.
    """
    settings: dict[str, Any] = {USE[source]: used}
    depths = {name: depth for name, depth in config.candidates.depths.items() if used or name != source}
    if depths:
        settings["candidates.depths"] = depths
    return apply_settings(config, settings)
