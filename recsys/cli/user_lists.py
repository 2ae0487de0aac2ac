"""A user's history and list for the terminal, the list below the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from recsys.cli.tables import add_row, start_table
from recsys.evaluation.formatting import write_number
from recsys.progress import format_count

if TYPE_CHECKING:
    from recsys.pipelines.explain import Explanation
    from recsys.pipelines.show import ListRow, UserLists

# Contributions that are printed of each item; `--full` and `--json` have all.
_CONTRIBUTIONS = 3


def name_user(user: UserLists) -> str:
    """Return who the user is, and whose list it is."""
    canary = f", list of challenger version {user.canary}" if user.canary else ""
    return f"user {user.shown_id}: {format_count(len(user.history), 'item')} in the history{canary}"


def write_history(user: UserLists, length: int | None) -> str:
    """Return the titles of the history as one paragraph, newest first, at most `length` of them."""
    shown = user.history if length is None else user.history[:length]
    more = len(user.history) - len(shown)
    order = "newest first: " if user.ordered else ""
    return f"had, {order}{' · '.join(item.title for item in shown)}" + (f" · and {more:,} more" if more else "")


def list_table(rows: Sequence[ListRow], *, scores: bool = False) -> Table:
    """Lay out a list with its reasons; with `scores`, the score and the sources too."""
    heads = ("rank", "item", "reason", *(("score", "sources") if scores else ()))
    table = start_table("", *heads, words=("item", "reason", "sources"))
    for row in rows:
        extra = (write_number(row.score, 3), ", ".join(row.sources)) if scores else ()
        add_row(table, (str(row.rank), row.title, row.reason, *extra))
    return table


def history_table(user: UserLists, length: int | None) -> Table:
    """Lay out the history, an item per row."""
    shown = user.history if length is None else user.history[:length]
    table = start_table("", "when", "what", "item id", "title", words=("when", "what", "item id", "title"))
    for item in shown:
        add_row(table, (item.time or "", item.events, item.shown_id, item.title))
    return table


def source_table(explanation: Explanation) -> Table:
    """Lay out the z-score and the rank that each source gives an item."""
    table = start_table("Scores by source", "source", "rank", "z-score", "weight in the blend")
    for source in explanation.sources:
        rank = "–" if source.rank is None else str(source.rank)
        add_row(table, (source.name, rank, write_number(source.z, 2), write_number(source.weight, 2)))
    return table


def rank_table(rows: Sequence[ListRow], explained: Sequence[Explanation]) -> Table:
    """Lay out the features that add most to the score of each item, with their values."""
    words = ("item", "feature = value: contribution")
    table = start_table("Largest contributions to the score", "rank", *words, words=words)
    for row, explanation in zip(rows, explained, strict=True):
        most = [
            f"{part.feature} = {write_number(part.value, 2)}: {write_number(part.added, 2, signed=True)}"
            for part in explanation.contributions[:_CONTRIBUTIONS]
        ]
        add_row(table, (str(row.rank), row.title, "\n".join(most) or describe_ranking(explanation)))
    return table


def contribution_table(explanation: Explanation) -> Table:
    """Lay out what each feature adds to an item's score, the largest first."""
    table = start_table("Contributions to the score", "feature", "value", "adds")
    for row in explanation.contributions:
        add_row(table, (row.feature, write_number(row.value, 3), write_number(row.added, 3, signed=True)))
    return table


def describe_ranking(explanation: Explanation) -> str:
    """Return what decided an item's rank."""
    return {
        "trees": "ranked by the trees",
        "blend": "ranked by the weighted blend only",
        "fallback": "not a candidate; added by the fallback chain to fill the list",
    }[explanation.ranked_by]
