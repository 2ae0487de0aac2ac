"""Questions are asked where somebody can answer, and wrong answers are errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recsys.dataset.proposal.proposal import Proposal
from recsys.dataset.proposal.questions import Question, parse_answers
from recsys.errors import ConfigError


def test_a_question_names_both_readings_and_their_spans(propose_layout: Callable[..., Proposal]) -> None:
    (question,) = propose_layout("us_or_eu").questions
    assert question.options == ("%d/%m/%Y", "%m/%d/%Y")
    assert "%d/%m/%Y: 2023-03-01 to 2023-09-12" in question.evidence


def test_somebody_is_asked(propose_layout: Callable[..., Proposal]) -> None:
    asked: list[str] = []

    def ask(question: Question) -> str:
        asked.append(question.key)
        return "%m/%d/%Y"

    proposal = propose_layout("us_or_eu", ask=ask)
    assert asked == ["time_format"]
    assert proposal.content["dataset"]["interactions"]["time_format"] == "%m/%d/%Y"
    assert not proposal.questions


def test_an_answer_replaces_what_is_clear(propose_layout: Callable[..., Proposal]) -> None:
    proposal = propose_layout("hive", {"time": "dt", "event": "none", "title": "description"})
    columns = proposal.content["dataset"]["interactions"]["columns"]
    assert columns["time"] == "dt"
    assert "event" not in columns
    assert proposal.content["dataset"]["items"]["columns"]["title"] == "description"


def test_a_rating_by_answer_gets_a_limit(propose_layout: Callable[..., Proposal]) -> None:
    interactions = propose_layout("one_to_five", {"value_meaning": "rating"}).content["dataset"]["interactions"]
    assert interactions["columns"]["value"] == "3"
    assert interactions["positive_value"] > 1
    interactions = propose_layout("one_to_five", {"value_meaning": "count"}).content["dataset"]["interactions"]
    assert interactions["value_weight"] == "log1p"
    assert "positive_value" not in interactions


def test_an_impossible_answer_is_an_error(propose_layout: Callable[..., Proposal]) -> None:
    with pytest.raises(ConfigError, match=r"answer time_format=iso: not possible; choose one of %d/%m/%Y"):
        propose_layout("us_or_eu", {"time_format": "iso"})
    with pytest.raises(ConfigError, match=r"answer user=nobody: .* choose one of"):
        propose_layout("us_or_eu", {"user": "nobody"})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["user"], "expected key=value"),
        (["colour=red"], "one of the keys items, interactions"),
        (["user=a", "user=b"], "set twice, to a and b"),
    ],
)
def test_answers_that_are_none(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_answers(texts)


def test_answers_keep_equals_signs() -> None:
    assert parse_answers(["time_format=%d=%m", " user = a b "]) == {"time_format": "%d=%m", "user": "a b"}
