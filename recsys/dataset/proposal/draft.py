"""The settings that are proposed, each with its evidence, in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recsys.dataset.proposal.questions import Question

Path = tuple[str, ...]


@dataclass
class Draft:
    """Settings of a config, by their path.

    Attributes:
        values: path -> value, in the order of the file.
        evidence: path -> why the value is proposed; empty where nothing is to say.
        checks: path -> lines of what somebody should check.
    """

    values: dict[Path, Any] = field(default_factory=dict)
    evidence: dict[Path, str] = field(default_factory=dict)
    checks: dict[Path, list[str]] = field(default_factory=dict)

    def put(self, path: str, value: Any, evidence: str = "", check: str | None = None) -> None:
        """Propose a setting; the names of its path are separated by spaces."""
        key = tuple(path.split(" "))
        self.values[key] = value
        if evidence:
            self.evidence[key] = evidence
        if check:
            self.checks.setdefault(key, []).append(check)

    def note(self, path: str, question: Question | None) -> None:
        """Mark a setting as one that somebody should check, if nobody answered its question."""
        if question is not None:
            why = f" ({question.evidence})" if question.evidence else ""
            line = f"{question.text} Assumed: {question.chosen}{why}; change with {question.alternatives}."
            self.checks.setdefault(tuple(path.split(" ")), []).append(line)

    def get(self, path: str) -> Any:
        """Return a proposed value, None if the setting is not proposed."""
        return self.values.get(tuple(path.split(" ")))

    def content(self) -> dict[str, Any]:
        """Return the settings as nested mappings."""
        nested: dict[str, Any] = {}
        for path, value in self.values.items():
            node = nested
            for name in path[:-1]:
                node = node.setdefault(name, {})
            node[path[-1]] = value
        return nested
