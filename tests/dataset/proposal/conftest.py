"""A layout's files, and the proposal for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dataset.proposal.services import LAYOUTS

from recsys.dataset.proposal.proposal import Proposal, propose
from recsys.dataset.proposal.questions import Decisions, Question

ProposeLayout = Callable[..., Proposal]


@pytest.fixture
def propose_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProposeLayout:
    """Write a layout and propose a config for it."""

    def run(name: str, answers: dict[str, str] | None = None, ask: Callable[[Question], str] | None = None) -> Proposal:
        layout = LAYOUTS[name]
        monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
        if not (tmp_path / "export").exists():
            layout.write(tmp_path)
        return propose(layout.paths, name, Decisions(answers=answers or {}, ask=ask))

    return run
