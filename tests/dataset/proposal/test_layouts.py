"""The proposal for each layout says what a person would write, and asks where the files leave two readings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from dataset.proposal.services import LAYOUTS

from recsys.config import parse_config
from recsys.dataset.proposal.proposal import Proposal


def look_up(content: dict[str, Any], path: str) -> Any:
    """Return the value at a dotted path, None if there is none."""
    node: Any = content
    for name in path.split("."):
        if not isinstance(node, dict) or name not in node:
            return None
        node = node[name]
    return node


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str, propose_layout: Callable[..., Proposal]) -> None:
    layout = LAYOUTS[name]
    proposal = propose_layout(name)
    proposed = {path: look_up(proposal.content, path) for path in layout.expected}
    assert proposed == layout.expected, proposal.text
    assert tuple(question.key for question in proposal.questions) == layout.questions
    content = yaml.safe_load(proposal.text)
    assert content == proposal.content
    parse_config(content, name)
    assert len(proposal.preview.items) == 5
    assert len(proposal.preview.history) >= 3


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.questions])
def test_an_answer_closes_the_question(name: str, propose_layout: Callable[..., Proposal]) -> None:
    proposal = propose_layout(name)
    assert "# CHECK" in proposal.text
    answered = propose_layout(name, LAYOUTS[name].answers)
    assert not answered.questions
    assert "# CHECK" not in answered.text
    key, value = next(iter(LAYOUTS[name].answers.items()))
    assert f"# Answered: {key}={value}" in answered.text
