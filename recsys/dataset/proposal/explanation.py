"""What is missing where no items and interactions are found."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.dataset.proposal.ids import is_key
from recsys.dataset.proposal.names import match_name
from recsys.dataset.proposal.titles import best_title
from recsys.dataset.proposal.views import View


def explain_nothing(views: Sequence[View]) -> str:
    """Return why no items and interactions are found: what is there, and what is missing."""
    tables = {view.table.name: view for view in reversed(views)}
    shown = "; ".join(f"{name} ({', '.join(list(view.columns)[:8])})" for name, view in tables.items())
    with_users = [view for view in views if any(match_name(name, "user") >= 0.7 for name in view.columns)]
    with_items = [view for view in views if any(match_name(name, "item") >= 0.7 for name in view.columns)]
    both = [view for view in with_users if view in with_items]
    texts = [
        view
        for view in views
        if any(is_key(key) and best_title(view, key) is not None for key in view.columns.values())
    ]
    if with_users and with_items and not both:
        through = _name_link(with_users[0], with_items[0], list(tables.values()))
        step = (
            f"the users are in {with_users[0].table.name} and the items in {with_items[0].table.name}: "
            f"join the two{through} into one table of interactions"
        )
    elif both and not texts:
        step = f"{both[0].table.name} may contain interactions, but no table contains item texts; add one with titles"
    elif alone := next((view for view in views if _is_of_one_person(view)), None):
        step = (
            f"no column looks like users: {alone.table.name} looks like the history of one person; a recommender "
            "needs many users: put one file per person, named after them, into a folder, or add a user column"
        )
    elif not with_users:
        step = "no column looks like users: give a table with a row per event, its user and its item"
    else:
        step = "give a table with a row per event, its user and its item, and one with a row per item and its title"
    return (
        f"no items and interactions found in {shown}; {step}; or name the columns with --answer user=COLUMN and so on"
    )


def _name_link(users: View, items: View, tables: Sequence[View]) -> str:
    """Return the column that two tables share, or the table that links them, for the advice to join them."""
    shared = [name for name in users.columns if name in items.columns]
    if shared:
        return f" by '{shared[0]}'"
    for table in tables:
        first = [name for name in users.columns if name in table.columns]
        second = [name for name in items.columns if name in table.columns]
        if table not in (users, items) and first and second:
            return f" through {table.table.name}, by '{first[0]}' and '{second[0]}',"
    return ""


def _is_of_one_person(view: View) -> bool:
    """Return whether a table has titles and times, as the history that a service gives to each of its users."""
    columns = view.columns.values()
    has_titles = any(match_name(column.name, "title") >= 0.7 and column.is_text for column in columns)
    return has_titles and any(column.time is not None and match_name(column.name, "time") > 0 for column in columns)
