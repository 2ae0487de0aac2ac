"""The panel on limits: everything that must hold before a model serves and lists are published, as pass or fail."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.config import SanityConfig
from recsys.evaluation.drift import compare_lists
from recsys.evaluation.formatting import write_number
from recsys.progress import format_count
from recsys.registry.gate.decision import Check, Decision
from recsys.report.grids import Grid, Row, write_share
from recsys.report.layout import Panel, Stat
from recsys.report.nights import Night
from recsys.report.serving import Serving

_PASSED = ("pass", "better", "as good")
_FAILED = ("fail", "worse")
_HEAD = ("limit", "value", "allowed", "result", "details")
_WORDS = ("result", "details")
_CHURN = "churn"


def show_limits(serving: Serving, nights: Sequence[Night], sanity: SanityConfig, n: int) -> Panel:
    """Show the gate's checks of this run's version, and the limits that published lists had to keep.

    Args:
        serving: the registry's view of the run.
        nights: published lists, newest first.
        sanity: the limits of lists.
        n: length of the published lists.
    """
    grids: list[Grid] = []
    stats: list[Stat] = []
    notes: list[str] = []
    if serving.decision:
        rows = _list_checks(serving.decision)
        stats.append(_count("checks of the gate", rows))
        grids.append(Grid("The gate: version against champion, anchor, baselines and guardrails", _HEAD, rows, _WORDS))
    elif serving.problem:
        notes.append(f"The gate's checks are not shown: {serving.problem}")
    elif serving.judged:
        notes.append("The gate judged this run's version, but the table of its checks cannot be read.")
    else:
        notes.append("The gate has not judged this run's version yet. Run 'recsys promote'.")
    if nights:
        rows = _list_sanity(nights, sanity, n)
        stats.append(_count("limits of the lists", rows))
        grids.append(Grid(f"Lists of {nights[0].run_date}", _HEAD, rows, _WORDS))
    question = "Did the model and its lists keep every limit that was set?"
    return Panel("limits", "Limits", question, stats=tuple(stats), grids=tuple(grids), notes=tuple(notes))


def _count(what: str, rows: Sequence[Row]) -> Stat:
    results = [row.cells[3] for row in rows]
    failed, open_ = (sum(result in words for result in results) for words in (_FAILED, ("cannot tell",)))
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{open_} without enough evidence"] if open_ else []
    return Stat(f"{len(results) - failed - open_} of {len(results)}", f"{what} passed", ", ".join(parts))


def _list_checks(decision: Decision) -> tuple[Row, ...]:
    return tuple(
        Row(
            (check.name, _write(check, check.figure), _write_margin(check), check.verdict, check.sentence),
            failed=check.verdict in _FAILED,
        )
        for check in decision.checks
    )


def _write(check: Check, value: float) -> str:
    if check.kind == "evidence" or abs(value) >= 10:
        return f"{value:,.0f}"
    return write_number(value, 4)


def _write_margin(check: Check) -> str:
    if check.margin is None:
        return "–"
    if check.kind == "evidence":
        return f"at least {check.margin:,.0f}"
    margin = _write(check, check.margin)
    if check.against is not None:
        return f"worse by ≤ {margin}"
    # Of the limits without a rival, only this one is an upper limit.
    return f"{'≤' if check.name == _CHURN else '≥'} {margin}"


def _list_sanity(nights: Sequence[Night], sanity: SanityConfig, n: int) -> tuple[Row, ...]:
    counts = nights[0].facts.get("counts") or {}
    rows = []
    if {"rows", "users", "fallback_rows", "empty_lists"} <= counts.keys():
        filled = counts["fallback_rows"] / max(1, counts["rows"])
        empty = counts["empty_lists"] / max(1, counts["users"])
        rows.append(_judge("fallback rows", filled, sanity.max_fallback_share, "of all rows were filled up"))
        rows.append(_judge("empty lists", empty, sanity.max_empty_share, f"of {format_count(counts['users'], 'user')}"))
    if len(nights) > 1:
        churn = compare_lists(nights[0].lists, nights[1].lists, n).churn
        if churn is not None:
            rows.append(_judge("churn", churn, sanity.max_churn, f"of list items replaced since {nights[1].run_date}"))
        left = nights[0].lists["item_id"].n_unique() / max(1, nights[1].lists["item_id"].n_unique())
        rows.append(
            Row(
                (
                    "coverage left",
                    write_share(left),
                    f"≥ {write_share(sanity.min_coverage_left)}",
                    "pass" if left >= sanity.min_coverage_left else "fail",
                    f"different items, compared with {nights[1].run_date}",
                ),
                failed=left < sanity.min_coverage_left,
            )
        )
    return tuple(rows)


def _judge(name: str, value: float, limit: float, details: str) -> Row:
    passed = value <= limit
    cells = (name, write_share(value), f"≤ {write_share(limit)}", "pass" if passed else "fail", details)
    return Row(cells, failed=not passed)
