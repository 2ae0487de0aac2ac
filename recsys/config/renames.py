"""Settings that have a new name: a config with an old name is rejected with the new one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# Dotted path of the old name -> the new name in the same section.
RENAMED = {
    "dataset.interactions.columns.shown_at": "position",
    "text.interest.words": "hashed_terms",
    "text.interest.words_dropout": "hashed_terms_dropout",
    "text.interest.words_learning_rate": "hashed_terms_learning_rate",
    "text.sequence.words": "hashed_terms",
    "text.sequence.words_dropout": "hashed_terms_dropout",
    "text.sequence.words_learning_rate": "hashed_terms_learning_rate",
    "candidates.at_most": "max_candidates",
    "ranking.leave_out": "exclude_features",
    "registry.max_relative_loss": "gate.max_loss",
}


def find_renamed(content: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return a message per setting with an old name, and the content without those settings."""
    messages: list[str] = []
    current = deepcopy(content)
    for path, new_name in RENAMED.items():
        *parents, old_name = path.split(".")
        section: Any = current
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if isinstance(section, dict) and old_name in section:
            del section[old_name]
            messages.append(f"{path} was renamed to {new_name}")
    return messages, current
