"""The six cases of docs/explanation/gate.md."""

import pytest
from benchmarks.gate_cases import Example, judge, list_examples


@pytest.mark.parametrize("example", list_examples(), ids=lambda example: example.title)
def test_the_verdict(example: Example) -> None:
    decision = judge(example)
    assert (decision.answer, decision.promoted) == (example.answer, example.promoted)
