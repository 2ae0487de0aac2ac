"""Some items and a user's history as the proposal would read them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys.dataset.proposal.draft import Draft
from recsys.dataset.proposal.event_settings import EventFacts
from recsys.dataset.proposal.roles import Roles

_ITEMS = 5
_EVENTS = 8
_LONGEST = 60


@dataclass(frozen=True)
class Preview:
    """What the proposal makes of the first rows.

    Attributes:
        items: field -> text of some items.
        user: id of the user shown.
        history: time, event, value and title of the user's events, in their order.
        span: first and last time of the sample as ISO dates; None without times.
    """

    items: list[dict[str, str]]
    user: str
    history: list[dict[str, str]]
    span: tuple[str, str] | None


def make_preview(draft: Draft, roles: Roles, events: EventFacts) -> Preview:
    """Return five items that have interactions, and the history of a user with a few of them."""
    titles = _read_titles(roles)
    frame = _read_events(draft, roles, events)
    users = frame.group_by("user", maintain_order=True).len()
    usual = users.filter(pl.col("len").is_between(3, _EVENTS))
    chosen = str((usual if usual.height else users.sort("len", descending=True))["user"][0]) if users.height else ""
    history = frame.filter(pl.col("user") == chosen)
    if events.times is not None:
        history = history.sort("time", maintain_order=True)
    shown = [
        {name: _short(str(value)) for name, value in row.items() if value is not None and name not in ("user", "item")}
        | {"item": str(row["item"]), "title": _short(titles.get(str(row["item"]), "?"))}
        for row in history.head(_EVENTS).iter_rows(named=True)
    ]
    known = events.times.drop_nulls().sort() if events.times is not None else pl.Series([], dtype=pl.Datetime)
    written = known.dt.to_string("%Y-%m-%d %H:%M")
    span = (str(written[0]), str(written[-1])) if len(written) else None
    return Preview(_read_items(draft, roles), chosen, shown, span)


def _read_items(draft: Draft, roles: Roles) -> list[dict[str, str]]:
    view = roles.items
    fields = {
        path[-1]: str(value)
        for path, value in draft.values.items()
        if path[:3] == ("dataset", "items", "columns") or path[:3] == ("dataset", "items", "attributes")
    }
    frame = pl.DataFrame({name: view.columns[column].values for name, column in fields.items()})
    if (created := fields.get("created_at")) and (guess := view.columns[created].time) is not None:
        frame = frame.with_columns(created_at=guess.times.dt.to_string("%Y-%m-%d %H:%M"))
    frame = frame.filter(pl.col("item_id").is_not_null()).unique("item_id", keep="first", maintain_order=True)
    step = max(frame.height // _ITEMS, 1)
    return [
        {name: _short(str(value)) for name, value in row.items() if value is not None}
        for row in frame.gather_every(step).head(_ITEMS).iter_rows(named=True)
    ]


def _read_titles(roles: Roles) -> dict[str, str]:
    view = roles.items
    pairs = pl.DataFrame({"id": view.columns[roles.item_id].values, "title": view.columns[roles.title].values})
    return dict(pairs.drop_nulls().unique("id", keep="first").iter_rows())


def _read_events(draft: Draft, roles: Roles, events: EventFacts) -> pl.DataFrame:
    view = roles.interactions
    frame = {"user": view.columns[roles.user].values, "item": view.columns[roles.item].values}
    if events.times is not None and len(events.times) == view.frame.height:
        frame["time"] = events.times.dt.to_string("%Y-%m-%d %H:%M")
    for field in ("order", "event", "value"):
        name = draft.get(f"dataset interactions columns {field}")
        if name:
            frame[field] = view.columns[name].values
    return pl.DataFrame(frame).drop_nulls(["user", "item"])


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"
