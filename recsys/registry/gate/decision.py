"""The gate's answer, and the table of checks behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

Answer = Literal["better", "as good", "worse", "cannot tell"]
Verdict = Literal["better", "as good", "worse", "cannot tell", "pass", "fail"]
Kind = Literal["rival", "guardrail", "evidence"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the decision table.

    Attributes:
        name: what the challenger is held against, such as `champion version 3`, or what it must keep, such as
            `coverage`.
        kind: a rival model, a guardrail, or the evidence itself.
        metric: what `figure` counts, such as `ndcg@10`.
        figure: of the challenger.
        against: the same of the rival; None where there is none.
        difference, low, high: figure minus against, and the ends of its interval; None where there is none.
        margin: the loss that is allowed, in the unit of the metric; for a limit without a rival, the limit.
        verdict: an `Answer` for rivals, `pass`, `fail` or `cannot tell` for the others.
        users: number of users behind the figures.
        sentence: the row in words, with the numbers that decided.
    """

    name: str
    kind: Kind
    metric: str
    figure: float
    against: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    verdict: Verdict
    users: int
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The gate's answer.

    Attributes:
        answer: how the challenger compares with the champion and everything else that it must not lose to.
        promoted: whether it becomes the champion. A challenger that is `as good` may be refused (`accept_equal`), and
            a first champion is promoted where few users `cannot tell`.
        sentence: the reason, with the numbers that decided.
        checks: the decision table, in the order of reading.
        spent: what this promotion adds to the loss since the anchor, as a share of the metric; below 0 where it gains
            back what earlier promotions lost. 0 where it is refused or becomes the anchor.
        new_anchor: the challenger becomes the anchor.
    """

    answer: Answer
    promoted: bool
    sentence: str
    checks: tuple[Check, ...]
    spent: float
    new_anchor: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        plain["checks"] = [asdict(check) for check in self.checks]
        return plain


def parse_decision(content: Mapping[str, Any]) -> Decision:
    """Return the decision that `Decision.to_dict` wrote.

    Raises:
        TypeError: it has other fields.
        KeyError: it has no checks.
    """
    return Decision(**{**content, "checks": tuple(Check(**check) for check in content["checks"])})


def decision_table(decision: Decision) -> pl.DataFrame:
    """Return the checks as text: `check`, `figure`, `difference`, `margin`, `verdict`; fits 80 columns.

    `difference` has the interval in brackets; what a check does not have is empty.
    """
    rows = [
        (
            check.name,
            _format(check.figure),
            _format_interval(check),
            "" if check.margin is None else _format(check.margin),
            check.verdict,
        )
        for check in decision.checks
    ]
    schema = dict.fromkeys(("check", "figure", "difference", "margin", "verdict"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _format(value: float, sign: str = "") -> str:
    """Return a figure in at most seven characters; a share has no zero before its point."""
    if abs(value) < 10:
        text = f"{value:{sign}.4f}"
        return text.replace("0.", ".", 1) if abs(value) < 1 else text
    return f"{value:{sign},.0f}" if abs(value) < 100_000 else f"{value / 1e6:{sign}.2f}M"


def _format_interval(check: Check) -> str:
    if check.difference is None:
        return ""
    text = _format(check.difference, "+")
    return text if check.low is None or check.high is None else f"{text} [{_format(check.low)}, {_format(check.high)}]"
