"""Which table holds the items and which the interactions, and which columns join them.

Each possible pair of tables gets points: for ids that both hold, for a column that looks like users, for titles, and
for what names say. The pair with most points is proposed; if another comes close, it is a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recsys.dataset.proposal.explanation import explain_nothing
from recsys.dataset.proposal.ids import is_key, may_be_id
from recsys.dataset.proposal.names import is_id_name, match_file, match_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.questions import Decisions
from recsys.dataset.proposal.titles import best_title, rate_title
from recsys.dataset.proposal.users import best_user, rate_user
from recsys.dataset.proposal.views import View
from recsys.errors import DataError

_CLOSE = 1.0
_FEWEST_ITEMS = 5


@dataclass(frozen=True, eq=False)
class Roles:
    """A way to read the files.

    Attributes:
        items: the table of the items.
        interactions: the table of the interactions; with one export for both the same table, perhaps unfolded.
        item_id: id column of the items.
        title: title column of the items.
        item: id column of the interactions.
        user: user column of the interactions.
        points: how well it fits.
        overlap: share of the interactions' ids that the sample of the items holds; None with one table.
    """

    items: View
    interactions: View
    item_id: str
    title: str
    item: str
    user: str
    points: float
    overlap: float | None = None

    @property
    def is_one_table(self) -> bool:
        """Whether one export gives both tables."""
        return self.items.table.name == self.interactions.table.name


def find_roles(views: Sequence[View], decisions: Decisions) -> Roles:
    """Return the best way to read the files as items and interactions.

    Raises:
        DataError: no table has users and items, or there are no texts of items.
    """
    found = list(_list_roles(views))
    found = _keep_answered(found, decisions)
    if not found:
        raise DataError(explain_nothing(views))
    found.sort(key=lambda roles: -roles.points)
    for key, table in (("interactions", "interactions"), ("items", "items")):
        found = _decide_table(found, decisions, key, table)
    return _decide_columns(found, decisions)


def _list_roles(views: Sequence[View]) -> Iterator[Roles]:
    for view in views:
        rated = _rate_table(view, views)
        for other in views:
            if other.table.name != view.table.name and other.unfolding is None:
                yield from _join(view, other, views, rated)
        yield from _share(view, views, rated - 1.0)


def _join(view: View, items: View, views: Sequence[View], rated: float) -> Iterator[Roles]:
    """Yield the ways in which the ids of a table are found among those of another."""
    keys = [column for column in items.columns.values() if is_key(column)]
    for key in keys:
        title = best_title(items, key)
        if title is None:
            continue
        ids = set(_spell(key))
        for column in _id_columns(view):
            link, share = _rate_link(column, key, ids, items)
            if link < 1.5 or _is_chance(view, column, key):
                continue
            user = best_user(view, column, views, items)
            if user is None:
                continue
            named = 1.5 * match_name(column.name, "item") + 0.5 * (column.name == key.name)
            points = rated + link + named + rate_title(items, key, title) + rate_user(view, user, column, views, items)
            points += 1.0 * match_file(items.table.path, "items") - 1.5 * match_file(items.table.path, "users")
            points += 0.5 * (key.index == 0) - 3.0 * (match_name(key.name, "user") == 1)
            yield Roles(items, view, key.name, title.name, column.name, user.name, points, share)


def _share(view: View, views: Sequence[View], rated: float) -> Iterator[Roles]:
    """Yield the ways in which one table gives items and interactions: rows of the same id have the same title."""
    columns = [column for column in _id_columns(view) if column.distinct >= _FEWEST_ITEMS]
    titles = [
        column
        for column in view.columns.values()
        if column.is_text and column.distinct >= _FEWEST_ITEMS and column.filled >= 0.7 and column.words <= 25
    ]
    for title in titles:
        if _is_of_user(title) or (match_name(title.name, "creator") == 1 and view.table.has_header and len(titles) > 1):
            continue
        for column in [*columns, title]:
            same = column.name == title.name
            if not same and (column.distinct < 0.8 * title.distinct or not view.determines(column.name, title.name)):
                continue
            if column.distinct > 0.9 * len(column.known) or _is_of_user(column):
                continue
            user = best_user(view, column, views, None)
            if user is None:
                continue
            named = 1.5 * match_name(column.name, "item") - 2.0 * (match_name(column.name, "transaction") == 1)
            points = rated + named + rate_title(view, column, title) + rate_user(view, user, column, views, None)
            points += 2.0 * (not same) + 0.5 * is_id_name(column.name) - 6.0 * (1 - column.filled)
            points -= 2.5 * (not same and column.is_text and column.words > 1.5)
            points += 0.5 * (column.is_code and not column.is_number) - 3.0 * _is_amount(column)
            points += min(column.distinct / 1000, 1.0)
            yield Roles(view, view, column.name, title.name, column.name, user.name, points)


def _is_of_user(column: Column) -> bool:
    return any(match_name(column.name, role) >= 0.5 for role in ("user", "private", "email")) and not (
        match_name(column.name, "item") >= 0.5
    )


def _is_amount(column: Column) -> bool:
    """Return whether the name speaks of a number, such as votes or a price, rather than of an item."""
    amount = max(match_name(column.name, role) for role in ("other_number", "quantity", "count", "rating", "year"))
    return column.is_number and amount > match_name(column.name, "item")


def _rate_table(view: View, views: Sequence[View]) -> float:
    """Return how much a table looks like one of events."""
    times = [column for column in view.columns.values() if column.time is not None]
    named = {role: max((match_name(name, role) for name in view.columns), default=0.0) for role in ("rating", "event")}
    rows = view.rows or view.frame.height
    others = [other.rows or other.frame.height for other in views if other.table.name != view.table.name]
    points = 1.5 * bool(times) + 0.7 * named["rating"] + 0.3 * named["event"]
    points += 1.0 * match_file(view.table.path, "interactions") - 1.5 * match_file(view.table.path, "part")
    points += 1.0 if not others or rows >= max(others) else 0.0
    # A column of several events is unfolded where nothing else holds the items.
    return points - 1.5 * (view.unfolding is not None)


def _id_columns(view: View) -> list[Column]:
    """Return the columns that may hold ids: short values, not times, not fractions."""
    return [column for column in view.columns.values() if may_be_id(column)]


def _spell(column: Column) -> list[str]:
    """Return the different ids, spelled as the id cleaner spells them."""
    return column.known.unique().str.replace(r"^(-?[0-9]+)\.0+$", "${1}").to_list()


def _rate_link(column: Column, key: Column, ids: set[str], items: View) -> tuple[float, float]:
    """Return from 0 to 5 how well the ids of two columns match, and the share of ids that are found."""
    own = set(_spell(column))
    common = own & ids
    if len(common) < 3:
        return 0.0, 0.0
    share = len(common) / len(own)
    seen = items.table.frame.height / items.table.rows if items.table.rows else 0.3
    expected = 1.0 if items.table.whole else min(max(seen, 0.02), 1.0)
    strength = min(share / expected, 1.0)
    if strength < 0.3:
        return 0.0, share
    if column.is_whole and key.is_whole and column.length < 7:
        # Short whole numbers are found among others by chance: a rating among the ids of movies.
        coverage = len(common) / len(ids)
        is_named = match_name(column.name, "item") >= 0.5 or column.name == key.name
        if coverage < 0.02 and len(common) < 100 and not is_named:
            return 0.0, share
        strength *= 0.3 + 0.7 * min(1.0, coverage) if _is_dense(key) else 0.6 + 0.4 * min(1.0, coverage)
    return 5.0 * strength, share


def _is_chance(view: View, column: Column, key: Column) -> bool:
    """Return whether short whole numbers that are also ids are named as something else, such as an hour or a count."""
    if not view.table.has_header or not column.is_whole or column.length >= 7 or column.name == key.name:
        return False
    others = ("transaction", "order", "other_number", "time", "quantity", "count", "rating", "event", "late_time")
    return max(match_name(column.name, role) for role in others) > match_name(column.name, "item")


def _is_dense(key: Column) -> bool:
    numbers = key.numbers.drop_nulls()
    if not len(numbers):
        return False
    width = float(numbers.max()) - float(numbers.min()) + 1  # type: ignore[arg-type]
    return len(numbers) / width > 0.1


def _keep_answered(found: list[Roles], decisions: Decisions) -> list[Roles]:
    """Return the ways that agree with the answers given about columns."""
    given = {key: decisions.answers[key] for key in ("user", "item", "item_id", "title") if key in decisions.answers}
    kept = [roles for roles in found if all(getattr(roles, key) == value for key, value in given.items())]
    if kept or not given or not found:
        return kept or found
    # The answer names a column that the evidence did not propose: it is taken in the best way.
    best = max(found, key=lambda roles: roles.points)
    for key, value in given.items():
        best = _with_column(best, key, value) if _has(best, key, value) else best
    return [best]


def _with_column(roles: Roles, key: str, column: str) -> Roles:
    """Return the roles with another column for `user`, `item`, `item_id` or `title`."""
    return Roles(
        roles.items,
        roles.interactions,
        column if key == "item_id" else roles.item_id,
        column if key == "title" else roles.title,
        column if key == "item" else roles.item,
        column if key == "user" else roles.user,
        roles.points,
        roles.overlap,
    )


def _has(roles: Roles, key: str, value: str) -> bool:
    view = roles.items if key in ("item_id", "title") else roles.interactions
    return value in view.columns


def _decide_table(found: list[Roles], decisions: Decisions, key: str, role: str) -> list[Roles]:
    best: dict[str, Roles] = {}
    for roles in found:
        best.setdefault(getattr(roles, role).table.name, roles)
    chosen = found[0]
    name = getattr(chosen, role).table.name
    close = [other for other, roles in best.items() if roles.points > chosen.points - _CLOSE]
    answer = decisions.decide(
        key,
        [name, *close, *best],
        name,
        clear=len(close) == 1,
        text=f"Which table contains the {role}?",
        evidence=f"{', '.join(close)} fit about equally well",
    )
    return [roles for roles in found if getattr(roles, role).table.name == answer]


def _decide_columns(found: list[Roles], decisions: Decisions) -> Roles:
    best = found[0]
    for key in ("user", "item", "item_id", "title"):
        view = best.items if key in ("item_id", "title") else best.interactions
        options: dict[str, Roles] = {}
        for roles in found:
            options.setdefault(getattr(roles, key), roles)
        close = [name for name, roles in options.items() if roles.points > best.points - _CLOSE / 2]
        chosen = getattr(best, key)
        answer = decisions.decide(
            key,
            [chosen, *close, *view.columns],
            chosen,
            clear=all(_is_same(view, chosen, name) for name in close),
            text=f"Which column of {view.table.name} is {_ROLE_WORDS[key]}?",
            evidence="; ".join(view.columns[name].shown for name in close if name in view.columns),
        )
        matching = [roles for roles in found if getattr(roles, key) == answer]
        found = matching or [_with_column(best, key, answer)]
        best = found[0]
    return best


def _is_same(view: View, column: str, other: str) -> bool:
    """Return whether two columns tell the same things apart, such as a number and a code of each product."""
    return column == other or (view.determines(column, other, 0.99) and view.determines(other, column, 0.99))


_ROLE_WORDS = {
    "user": "the user's id",
    "item": "the item's id",
    "item_id": "the item's id",
    "title": "the item's title",
}
