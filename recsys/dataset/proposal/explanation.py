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
        shared = sorted(set(with_users[0].columns) & set(with_items[0].columns))
        through = f" by '{shared[0]}'" if shared else ""
        step = (
            f"the users are in {with_users[0].table.name} and the items in {with_items[0].table.name}: "
            f"join the two{through} into one table of interactions"
        )
    elif both and not texts:
        step = f"{both[0].table.name} may hold interactions, but no table has texts of items: add one with titles"
    elif not with_users:
        step = "no column looks like users: give a table with a row per event, its user and its item"
    else:
        step = "give a table with a row per event, its user and its item, and one with a row per item and its title"
    return (
        f"no items and interactions found in {shown}; {step}, or name the columns with --answer user=COLUMN and so on"
    )
