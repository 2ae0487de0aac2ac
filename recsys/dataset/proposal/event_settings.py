"""What is proposed for the interactions: times, kinds of event with their weights, and what a number means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from recsys.dataset.proposal.draft import Draft
from recsys.dataset.proposal.event_columns import (
    Value,
    fill_time,
    find_order,
    find_value,
    list_columns,
    rate_events,
    rate_times,
)
from recsys.dataset.proposal.event_kinds import Kind, name_kind, read_kind
from recsys.dataset.proposal.names import match_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.questions import Decisions
from recsys.dataset.proposal.roles import Roles
from recsys.progress import format_count

_PUT = "dataset interactions "
_NONE = "none"
_OLD = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventFacts:
    """What later settings need to know about the interactions.

    Attributes:
        times: of the sample's rows, Datetime in UTC; None without a time column.
        has_order: whether a column orders each user's events.
        kinds: kind of each row; None without an event column.
        predicted: kinds that lists predict; empty: all.
        meaning: of the number, `` without one.
    """

    times: pl.Series | None
    has_order: bool
    kinds: pl.Series | None
    predicted: tuple[str, ...]
    meaning: str


def propose_interactions(draft: Draft, roles: Roles, decisions: Decisions) -> EventFacts:
    """Propose the columns and the meaning of the interactions."""
    view = roles.interactions
    user, item = view.columns[roles.user], view.columns[roles.item]
    draft.put(_PUT + "columns user_id", roles.user, user.shown)
    found = "" if roles.overlap is None else f"; {roles.overlap:.0%} of the ids are among the sampled items"
    draft.put(_PUT + "columns item_id", roles.item, item.shown + found)
    for key, setting in (("user", "user_id"), ("item", "item_id"), ("interactions", "user_id")):
        draft.note(_PUT + f"columns {setting}", decisions.is_open(key))
    times, taken = _propose_time(draft, roles, decisions)
    has_order = False
    if times is None:
        order = find_order(roles)
        if order is not None:
            draft.put(_PUT + "columns order", order.name, "numbers each user's events in order")
            taken.add(order.name)
            has_order = True
    kinds, predicted = _propose_kinds(draft, roles, decisions, taken)
    meaning = _propose_value(draft, roles, decisions, taken, has_kinds=kinds is not None)
    if view.unfolding is not None and kinds is not None and f"{view.unfolding.column}.outcome" in view.columns:
        draft.put(_PUT + "columns position", f"{view.unfolding.column}.position", "position in the list shown")
    _leave_out_blanks(draft, roles)
    return EventFacts(times, has_order, kinds, predicted, meaning)


def _propose_time(draft: Draft, roles: Roles, decisions: Decisions) -> tuple[pl.Series | None, set[str]]:
    rated = rate_times(roles)
    names = [column.name for _, column in rated]
    if not rated and decisions.answers.get("time", _NONE) == _NONE:
        return None, set()
    best = rated[0][1].name if rated else _NONE
    close = [column.name for points, column in rated if points > rated[0][0] - 0.25]
    others = [name for name in roles.interactions.columns if name not in names]
    answer = decisions.decide(
        "time",
        [best, *close, *names, _NONE, *others],
        best,
        clear=len(close) <= 1,
        text="Which column contains the time of the event?",
        evidence="; ".join(roles.interactions.columns[name].shown for name in close),
    )
    if answer == _NONE:
        return None, set(names)
    column = roles.interactions.columns[answer]
    parts = fill_time(column, rated)
    name = [part.name for part in parts] if len(parts) > 1 else answer
    draft.put(_PUT + "columns time", name, "; where it is blank, ".join(part.shown for part in parts))
    draft.note(_PUT + "columns time", decisions.is_open("time"))
    times = _propose_format(draft, column, decisions)
    for part in parts[1:]:
        if times is not None and part.time is not None:
            times = times.fill_null(part.time.times)
    return times, set(names)


def _propose_format(draft: Draft, column: Column, decisions: Decisions) -> pl.Series | None:
    guess = column.time
    if guess is None:
        draft.put(
            _PUT + "time_format",
            "auto",
            check=f"The times in '{column.name}' are in an unknown format; set one.",
        )
        return None
    if guess.other is not None:
        readings = {guess.format: guess, guess.other.format: guess.other}
        spans = "; ".join(f"{name}: {g.first:%Y-%m-%d} to {g.last:%Y-%m-%d}" for name, g in readings.items())
        answer = decisions.decide(
            "time_format",
            list(readings),
            guess.format,
            clear=False,
            text=f"Does {column.known[0]!r} start with the day or with the month?",
            evidence=spans,
        )
        guess = readings[answer]
    else:
        answer = decisions.decide("time_format", [guess.format], guess.format, clear=True)
    times = guess.times
    shown = f"{column.known[0]!r}; the sample spans {guess.first:%Y-%m-%d} to {guess.last:%Y-%m-%d}"
    draft.put(_PUT + "time_format", guess.format, shown)
    draft.note(_PUT + "time_format", decisions.is_open("time_format"))
    old = (times < _OLD).sum()
    if 0 < old < 0.2 * times.len():
        draft.put(
            _PUT + "earliest_time",
            f"{_OLD:%Y-%m-%dT%H:%M:%SZ}",
            f"{format_count(int(old), 'sampled row')} with an older, invalid time",
        )
        times = times.set(times < _OLD, None)
    return times


def _propose_kinds(
    draft: Draft, roles: Roles, decisions: Decisions, taken: set[str]
) -> tuple[pl.Series | None, tuple[str, ...]]:
    rated = [found for found in rate_events(roles) if found[1].name not in taken]
    answer = decisions.answers.get("event")
    best = rated[0][1].name if rated else _NONE
    close = [column.name for points, column, _ in rated if points > rated[0][0] - 0.3]
    chosen = decisions.decide(
        "event",
        [best, *close, _NONE, *(column.name for column in list_columns(roles))],
        best,
        clear=len(close) <= 1,
        text="Which column contains the kind of event?",
        evidence="; ".join(roles.interactions.columns[name].shown for name in close),
    )
    kinds = next((kinds for _, column, kinds in rated if column.name == chosen), None)
    if chosen != _NONE and kinds is None and answer is not None:
        column = roles.interactions.columns[chosen]
        kinds = [read_kind(str(name)) for name in column.known.value_counts(sort=True).to_series(0)]
    if chosen == _NONE or kinds is None:
        return None, ()
    taken.add(chosen)
    column = roles.interactions.columns[chosen]
    if match_name(chosen, "status") == 1 and not any(kind.meaning == "owned" for kind in kinds):
        _leave_out_kinds(draft, column, kinds)
        return None, ()
    return column.values, _weigh_kinds(draft, column, kinds, decisions)


def _leave_out_kinds(draft: Draft, column: Column, kinds: list[Kind]) -> None:
    """Leave out the rows of statuses such as refunded; the other statuses of orders are alike."""
    negative = [kind.name for kind in kinds if kind.meaning == "negative"]
    _leave_out_values(draft, column, negative)


def _leave_out_values(draft: Draft, column: Column, names: list[str]) -> None:
    """Leave out the rows with values that take an event back or say the opposite of interest."""
    share = int(column.known.is_in(names).sum()) / max(len(column.known), 1)
    why = f"{share:.0%} of the sampled rows are {', '.join(names)}, which is no sign of interest"
    _add_filters(draft, [f"{column.name} != {name}" for name in names], why)


def _add_filters(draft: Draft, filters: list[str], why: str) -> None:
    if filters:
        path = _PUT + "keep_rows"
        earlier = draft.evidence.get(tuple(path.split(" ")), "")
        draft.put(path, [*(draft.get(path) or []), *filters], "; ".join(filter(None, [earlier, why])))


def _weigh_kinds(draft: Draft, column: Column, kinds: list[Kind], decisions: Decisions) -> tuple[str, ...]:
    counts = dict(column.known.value_counts().iter_rows())
    shares = ", ".join(f"{kind.name} {counts.get(kind.name, 0) / max(len(column.known), 1):.0%}" for kind in kinds[:8])
    draft.put(_PUT + "columns event", column.name, shares)
    draft.note(_PUT + "columns event", decisions.is_open("event"))
    used = [kind for kind in kinds if kind.meaning != "negative"] or kinds
    _leave_out_values(draft, column, [kind.name for kind in kinds if kind not in used])
    unknown = [kind.name for kind in used if not kind.known]
    check = f"The weights of {', '.join(unknown)} are a guess; what do these kinds mean?" if unknown else None
    draft.put(_PUT + "event_weights", {kind.name: kind.weight for kind in used}, check=check)
    owned = [kind.name for kind in used if kind.meaning == "owned"]
    positive = [kind.name for kind in used if kind.meaning == "positive"]
    if owned and positive:
        answer = decisions.decide("wishes", ["owned", "positive"], "owned", clear=True)
        if answer == "owned":
            draft.put(_PUT + "owned_events", owned, "users already have these; lists do not predict them")
        else:
            positive += owned
    shown = [kind.name for kind in used if kind.meaning == "shown"]
    if shown and positive:
        draft.put(_PUT + "positive_events", positive, f"{', '.join(shown)} only means that the item was shown")
    return tuple(positive)


def _propose_value(draft: Draft, roles: Roles, decisions: Decisions, taken: set[str], *, has_kinds: bool) -> str:
    found = find_value(roles, taken)
    best = found[0].column.name if found else _NONE
    numbers = [column.name for column in list_columns(roles) if column.is_number]
    chosen = decisions.decide("value", [best, _NONE, *numbers], best, clear=True)
    value = next((value for value in found if value.column.name == chosen), None)
    if value is None and chosen != _NONE:
        value = Value(roles.interactions.columns[chosen], "count", False)
    if value is None:
        return _name_events(draft, roles, "", has_kinds)
    counts = value.column.numbers.value_counts(sort=True).head(5).iter_rows()
    shown = ", ".join(f"{number:g}" for number, _ in counts if number is not None)
    meaning = decisions.decide(
        "value_meaning",
        ["rating", "quantity", "count", _NONE],
        value.meaning if value.clear else _NONE,
        clear=value.clear,
        text=f"What does the number in '{value.column.name}' mean?",
        evidence=f"most frequent: {shown}; {value.meaning} is likely",
    )
    if meaning == _NONE:
        draft.note(_PUT + "columns user_id", decisions.is_open("value_meaning"))
        return _name_events(draft, roles, "", has_kinds)
    draft.put(_PUT + "columns value", value.column.name, f"a {meaning}: most frequent are {shown}")
    if value.column.has_decimal_comma:
        draft.put(_PUT + "decimal", ",")
    if meaning == "rating":
        _propose_rating(draft, value.column, decisions)
    else:
        draft.put(_PUT + "value_weight", "log1p", "log scale: larger values count more, but not in proportion")
        negative = (value.column.numbers < 0).sum()
        if negative:
            draft.put(
                _PUT + "negative_values",
                "take_back",
                f"{format_count(int(negative), 'sampled row')} with a negative value: returns",
            )
    return _name_events(draft, roles, meaning, has_kinds)


def _propose_rating(draft: Draft, column: Column, decisions: Decisions) -> None:
    numbers = column.numbers.drop_nulls()
    absent = []
    if (numbers == -1).any():
        absent.append("-1")
        numbers = numbers.filter(numbers != -1)
    zeros, ones = (numbers == 0).sum(), ((numbers > 0) & (numbers <= 1)).sum()
    if zeros >= max(0.02 * numbers.len(), 1) and not ((numbers > 0) & (numbers < 1)).any():
        missing = decisions.decide(
            "zero",
            ["missing", "number"],
            "missing",
            clear=zeros > 2 * ones,
            text="Does a rating of 0 mean that the item was not rated?",
            evidence=f"0 occurs {format_count(int(zeros), 'time')} in the sample, 1 {format_count(int(ones), 'time')}",
        )
        if missing == "missing":
            absent.append("0")
            numbers = numbers.filter(numbers != 0)
    if absent:
        share = 1 - numbers.len() / column.numbers.drop_nulls().len()
        draft.put(
            _PUT + "missing",
            {"value": absent},
            f"{share:.0%} are {' or '.join(absent)}, which means that the item was not rated",
        )
        draft.note(_PUT + "missing", decisions.is_open("zero"))
    if not len(numbers):
        return
    top = float(numbers.max())  # type: ignore[arg-type]
    scale = 5.0 if top <= 5 else 10.0 if top <= 10 else 100.0
    limit = next((g for g in (0.8 * scale, 0.7 * scale, 0.6 * scale) if (numbers >= g).mean() >= 0.4), 0.5 * scale)  # type: ignore[operator]
    share = float((numbers >= limit).mean() or 0.0)  # type: ignore[arg-type]
    whole = int(limit) if limit == int(limit) else limit
    draft.put(
        _PUT + "positive_value",
        whole,
        f"{share:.0%} of the ratings reach it; lower ones are not predicted",
    )


def _name_events(draft: Draft, roles: Roles, meaning: str, has_kinds: bool) -> str:
    """Name the one kind of event of a table without a column of kinds."""
    if not has_kinds:
        kinds = {"rating": "rating", "quantity": "purchase", "count": "use"}
        kind = kinds.get(meaning) or name_kind([roles.interactions.table.path, *roles.interactions.columns])
        draft.put(_PUT + "event_weights", {kind: 1.0}, "every row is an event of this kind")
    return meaning


def _leave_out_blanks(draft: Draft, roles: Roles) -> None:
    """Leave out rows without an item, and rows without a user where they are many: events that are of no use."""
    item, user = roles.interactions.columns[roles.item], roles.interactions.columns[roles.user]
    if item.filled < 0.97:
        _add_filters(draft, [f"{item.name} != "], f"{1 - item.filled:.0%} of the sampled rows have no item")
    if user.filled < 0.6:
        _add_filters(draft, [f"{user.name} != "], f"{1 - user.filled:.0%} of the sampled rows have no user")
