"""Changing settings of a config for a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys.config import Config, parse_config


def change_config(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the config with other values at dotted paths such as `text.interest.words`."""
    content = config.resolved()
    for path, value in changes.items():
        *sections, last = path.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    return parse_config(content, "comparison")
