"""What is proposed for the items: texts, tags, attributes, availability and the time they joined the catalogue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys.config.dataset import ItemColumns
from recsys.dataset.proposal.draft import Draft
from recsys.dataset.proposal.names import match_name, split_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.roles import Roles
from recsys.progress import format_count

_TAG_MARKS = ("|", ";", ",", "/")
_MOST_ATTRIBUTES = 8
_MOST_SEGMENTS = 60
_LEAST_DETERMINED = 0.97
_EVENTS_PER_ITEM = 3


@dataclass(frozen=True)
class ItemFacts:
    """What later settings need to know about the items.

    Attributes:
        fields: parts of the item text, in order.
        segments: columns whose values are worth a row in the evaluation.
        texts: the texts of the sample, joined.
    """

    fields: list[str]
    segments: list[str]
    texts: pl.Series


def propose_items(draft: Draft, roles: Roles) -> ItemFacts:
    """Propose the columns of the items."""
    view = roles.items
    columns = [column for column in view.columns.values() if _is_of_item(roles, column)]
    title = view.columns[roles.title]
    put = "dataset items columns "
    draft.put(put + "item_id", roles.item_id, view.columns[roles.item_id].shown)
    draft.put(put + "title", roles.title, f"{title.shown}, such as {_example(title)}")
    taken = {roles.item_id, roles.title}
    description = _find_description(columns, title, taken, has_names=view.table.has_header)
    if description:
        taken.add(description.name)
        draft.put(
            put + "description",
            description.name,
            f"{description.shown}, {format_count(round(description.words), 'word')} on average",
        )
    tags, mark = _find_tags(columns, taken)
    if tags:
        taken.add(tags.name)
        draft.put(put + "tags", tags.name, f"such as {_example(tags)}")
    _propose_times_and_flags(draft, roles, columns, taken)
    attributes = _find_attributes(columns, taken, title)
    for name, column in attributes.items():
        draft.put(f"dataset items attributes {name}", column.name, f"{column.distinct:,} distinct, {_example(column)}")
    if mark and mark != ",":
        draft.put("dataset items tags_separator", mark)
    creators = [name for name, column in attributes.items() if match_name(column.name, "creator") >= 0.7][:1]
    groups = [name for name, column in attributes.items() if _is_group(column)]
    spoken = [name for name in groups if name not in creators and match_name(attributes[name].name, "language") < 0.5]
    named = [name for name, column in attributes.items() if match_name(column.name, "tags") >= 0.7]
    topics = [*(["tags"] if tags else []), *named] or spoken
    fields = ["title", *topics[:2], *creators, *(["description"] if description else [])]
    few_tags = tags is not None and _count_members(tags, mark) <= _MOST_SEGMENTS
    segments = ["tags"] if few_tags else groups[:1]
    texts = [part.values for part in (title, description) if part is not None]
    joined = pl.DataFrame(texts).select(pl.concat_str(pl.all().fill_null(""), separator=" ")).to_series()
    return ItemFacts(fields, segments, joined)


def _example(column: Column) -> str:
    text = str(column.probe[0]) if len(column.probe) else ""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 40 else flat[:37] + "...")


def _is_of_item(roles: Roles, column: Column) -> bool:
    """Return whether a column describes items; in a table of events the item must determine it."""
    if not roles.is_one_table:
        return True
    if column.name in (roles.item_id, roles.title):
        return True
    if column.name == roles.user:
        return False
    return roles.items.determines(roles.item_id, column.name, _LEAST_DETERMINED)


def _find_description(columns: Sequence[Column], title: Column, taken: set[str], *, has_names: bool) -> Column | None:
    rated = []
    for column in columns:
        readable = column.is_text or (column.is_list and not column.is_json and column.letters >= 0.5)
        if column.name in taken or not readable or column.filled < 0.02:
            continue
        named = match_name(column.name, "description")
        if column.words < (3 if named == 1 else 8) or column.distinct < 3:
            continue
        if match_name(column.name, "tags") == 1 or match_name(column.name, "creator") >= 0.7:
            continue
        points = 1.5 * named + min(column.words / 40, 1.0) + 0.5 * column.filled
        if points >= (1.0 if has_names else 0.4):
            rated.append((points, column))
    return max(rated, key=lambda pair: pair[0])[1] if rated else None


def _find_tags(columns: Sequence[Column], taken: set[str]) -> tuple[Column | None, str]:
    """Return the column of tags and their separator."""
    rated: list[tuple[float, Column, str]] = []
    for column in columns:
        if column.name in taken or column.is_number or column.is_json or column.is_link or column.filled < 0.1:
            continue
        named = match_name(column.name, "tags")
        mark, repeated = _find_mark(column)
        if match_name(column.name, "creator") > 0 or match_name(column.name, "description") == 1 or column.words > 60:
            continue
        if column.time is not None or column.is_flag or (mark and column.letters < 0.5):
            continue
        if (named < 0.5 and not (mark in ("|", ";") and repeated >= 3)) or (
            not (mark or column.is_list) and column.distinct > 400
        ):
            continue
        rated.append((2.0 * named + 1.5 * bool(mark or column.is_list) + 0.5 * column.filled, column, mark))
    if not rated:
        return None, ""
    _, best, mark = max(rated, key=lambda found: found[0])
    return best, mark


def _find_mark(column: Column) -> tuple[str, float]:
    """Return what separates the members of a column's cells, if something does, and how often a member repeats."""
    if column.is_list:
        return "", 0.0
    values = column.known.head(3000)
    for mark in _TAG_MARKS:
        share = float(values.str.contains(mark, literal=True).mean() or 0.0) if len(values) else 0.0  # type: ignore[arg-type]
        if share < 0.15:
            continue
        members = values.str.split(mark).explode().str.strip_chars()
        members = members.filter(members != "")
        repeated = len(members) / max(members.n_unique(), 1)
        words = float(members.head(1000).str.count_matches(r"\S+").mean() or 9)  # type: ignore[arg-type]
        if repeated >= 1.5 and words <= 4:
            return mark, repeated
    return "", 0.0


def _count_members(column: Column, mark: str) -> int:
    if column.is_list:
        return column.known.head(3000).str.strip_chars("[] ").str.split(",").explode().str.strip_chars(' "').n_unique()
    values = column.known.str.split(mark).explode() if mark else column.known
    return values.str.strip_chars().n_unique()


def _find_attributes(columns: Sequence[Column], taken: set[str], title: Column) -> dict[str, Column]:
    """Return further columns whose values repeat among the items, by the names that they get."""
    rated: list[tuple[float, Column]] = []
    for column in columns:
        if column.name in taken or column.filled < 0.1 or column.distinct < 2 or column.is_link or column.is_json:
            continue
        year = match_name(column.name, "year") >= 0.7 and column.is_whole
        named = max(match_name(column.name, role) for role in ("creator", "tags", "language"))
        text = column.is_text or column.is_list
        repeats = column.distinct <= 0.6 * len(column.known)
        if not (year or (text and (named >= 0.5 or repeats) and column.words <= 12)):
            continue
        if (
            match_name(column.name, "private") >= 0.7
            or match_name(column.name, "title") > max(named, 0.9)
            or column.time is not None
        ):
            continue
        if match_name(column.name, "user") == 1 or (match_name(column.name, "other_number") == 1 and not year):
            continue
        rated.append((2 * named + year + 0.5 * column.filled - (column.distinct > 0.9 * title.distinct), column))
    best = [column for _, column in sorted(rated, key=lambda pair: -pair[0])[:_MOST_ATTRIBUTES]]
    named_columns: dict[str, Column] = {}
    for column in sorted(best, key=lambda column: column.index):
        name = attribute_name(column.name)
        if name and name not in named_columns:
            named_columns[name] = column
    return named_columns


def attribute_name(column: str) -> str:
    """Return the name of an attribute: the words of a column's last part, joined by _."""
    last = column.rpartition(".")[2]
    name = "_".join(split_name(last)) if re.search(r"\D", last) else f"column_{last}"
    return f"{name}_" if name in ItemColumns.model_fields else name


def _is_group(column: Column) -> bool:
    return 2 <= column.distinct <= _MOST_SEGMENTS and column.is_text and column.distinct <= 0.3 * len(column.known)


def _propose_times_and_flags(draft: Draft, roles: Roles, columns: Sequence[Column], taken: set[str]) -> None:
    """Propose the flag of items that are available, and the time they joined, only where the names say so."""
    flags = [c for c in columns if c.is_flag and c.name not in taken and match_name(c.name, "available") >= 0.7]
    if flags:
        share = _share_true(flags[0])
        check = None if share >= 0.3 else f"Only {share:.0%} of the items are available; is this the right column?"
        draft.put("dataset items columns available", flags[0].name, f"true for {share:.0%}", check)
        taken.add(flags[0].name)
    created = [
        c for c in columns if c.time is not None and match_name(c.name, "created") >= 0.7 and c.name not in taken
    ]
    # Where most items have one event only, the time of the event would look like a time of the item.
    many = roles.items.frame.height >= _EVENTS_PER_ITEM * roles.items.columns[roles.item_id].distinct
    for column in created if many or not roles.is_one_table else ():
        if column.filled >= 0.5 and _is_before_events(roles, column):
            draft.put(
                "dataset items columns created_at", column.name, f"before the items' first events; {column.shown}"
            )
            if column.time and column.time.format != "iso":
                draft.put("dataset items time_format", column.time.format)
            taken.add(column.name)
            return


def _share_true(column: Column) -> float:
    return float(column.known.str.to_lowercase().is_in(["true", "yes", "t", "y", "1", "1.0"]).mean() or 0.0)  # type: ignore[arg-type]


def _is_before_events(roles: Roles, column: Column) -> bool:
    """Return whether nearly all items joined the catalogue before the first event that the sample has of them."""
    view = roles.interactions
    times = [c.time for c in view.columns.values() if c.time is not None and match_name(c.name, "time") >= 0.5]
    if not times or column.time is None or column.time.other is not None:
        return False
    events = pl.DataFrame({"id": view.columns[roles.item].values, "event": times[0].times}).drop_nulls()
    first = events.group_by("id").agg(pl.col("event").min())
    items = pl.DataFrame({"id": roles.items.columns[roles.item_id].values, "created": column.time.times}).drop_nulls()
    both = items.join(first, on="id", how="inner")
    day = pl.duration(days=1)
    return both.height >= 5 and float(both.select((pl.col("created") <= pl.col("event") + day).mean()).item()) >= 0.95
