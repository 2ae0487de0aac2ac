"""Data: how many users, items and events there are, what became of last night's, and what the texts are like."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.dataset.item_vectors import PREFIX
from recsys.dataset.languages import count_languages
from recsys.monitoring.events import EventCounts
from recsys.monitoring.figures import Figures, Observed, average_by_item_column, divide
from recsys.monitoring.sketches import Sketches, is_sampled, shorten_texts

# What exports write where a text is missing.
_PLACEHOLDERS = ("", "n/a", "na", "none", "null", "nan", "-", "--", "?", "unknown", "untitled", "undefined", "tbd")
# An attribute is numeric if this share of its values are numbers.
_NUMERIC = 0.9


def watch_data(
    figures: Figures,
    observed: Observed,
    counts: EventCounts,
    last: Mapping[str, float],
    last_sketches: Sketches | None,
    sample_items: int,
) -> None:
    """Add the figures of the area `data`.

    Args:
        figures: to add to.
        observed: the night.
        counts: of its events.
        last: figures of the last good night; empty if there is none.
        last_sketches: its samples.
        sample_items: number of items that samples of texts hold.
    """
    _watch_events(figures, counts, last)
    _watch_users(figures, observed, counts, last_sketches)
    _watch_items(figures, observed, last_sketches)
    _watch_texts(figures, observed)
    _watch_new_texts(figures, observed, last, last_sketches, sample_items)
    _watch_attributes(figures, observed.items)
    watch_item_vectors(figures, observed.items)
    _watch_rows(figures, observed)


def _watch_events(figures: Figures, counts: EventCounts, last: Mapping[str, float]) -> None:
    """Add the events, and which share of those that the last good night had are still there."""
    kinds, old = counts.count_kinds(), counts.count_kinds("old")
    figures.add("data.events", counts.events, {f"event kind: {kind}": events for kind, events in kinds.items()})
    before = {name.removeprefix("data.events."): value for name, value in last.items() if _is_kind(name)}
    for kind, events in kinds.items():
        figures.add(f"data.events.{kind}", events)
    if not before:
        return
    kept = {kind: divide(old.get(kind, 0), events) for kind, events in before.items()}
    segments = {f"event kind: {kind}": share for kind, share in kept.items()}
    figures.add("data.history_kept", divide(sum(old.values()), sum(before.values())), segments)
    for kind, share in kept.items():
        figures.add(f"data.history_kept.{kind}", share)
    new = {kind: events for kind, events in kinds.items() if kind not in before}
    figures.add(
        "data.new_kinds",
        divide(sum(new.values()), counts.events),
        {f"event kind: {kind}": divide(events, counts.events) for kind, events in new.items()},
    )


def _is_kind(name: str) -> bool:
    return name.startswith("data.events.")


def _watch_users(figures: Figures, observed: Observed, counts: EventCounts, last: Sketches | None) -> None:
    figures.add("data.users", counts.users)
    if counts.users:
        median = counts.lengths.filter(pl.col("users") * 2 >= counts.users)["events"].max()
        figures.add("data.median_history", float(median or 0))  # type: ignore[arg-type]
    if observed.end is not None:
        figures.add("data.active_users", counts.active_users)
        figures.add("data.new_users", counts.new_users)
        figures.add("data.events_per_user", divide(int(counts.hours["events"].sum()), counts.active_users))
    if last is not None and last.histories.height:
        users = last.histories.group_by("user_id").agg(items=pl.len())
        here = counts.pairs.select(pl.col("user_id").unique(), here=pl.lit(True))
        kept = users.join(here, on="user_id", how="left").with_columns(pl.col("here").fill_null(value=False))
        by_length = (
            kept.group_by(pl.when(pl.col("items") < 5).then(pl.lit("new")).otherwise(pl.lit("known")).alias("users"))
            .agg(pl.col("here").mean())
            .sort("users")
        )
        figures.add(
            "data.users_kept",
            kept.select(pl.col("here").mean()).item(),
            {f"users: {users}": share for users, share in by_length.iter_rows()},
        )


def _watch_items(figures: Figures, observed: Observed, last: Sketches | None) -> None:
    items, columns = observed.items, observed.item_columns
    sizes = average_by_item_column(items, items, columns, pl.len())
    figures.add("data.items", items.height, sizes)
    if items.height:
        available = average_by_item_column(items.select("item_id"), items, columns, pl.len())
        on_sale = items.filter("available")
        shares = average_by_item_column(on_sale.select("item_id"), items, columns, pl.len())
        parts = {key: divide(shares.get(key) or 0, size or 0) for key, size in available.items()}
        figures.add("data.available", on_sale.height / items.height, parts)
    if last is not None and last.texts.height:
        kept = last.texts.join(items, on="item_id", how="semi").height
        figures.add("data.items_kept", kept / last.texts.height)


def _watch_texts(figures: Figures, observed: Observed) -> None:
    items = observed.items
    if not items.height:
        return
    plain = {name: pl.col(name).str.strip_chars().str.to_lowercase() for name in ("title", "description")}
    empty = {name: text.is_in(_PLACEHOLDERS) for name, text in plain.items()}
    marked = items.select("item_id", **empty)
    for name in plain:
        segments = average_by_item_column(marked, items, observed.item_columns, pl.col(name).mean())
        figures.add(f"data.{name}_missing", marked.select(pl.col(name).mean()).item(), segments)
        lengths = items.select(pl.col(name).str.len_chars().median()).item()
        figures.add(f"data.{name}_length", lengths)
    titles = items.select("item_id", repeated=plain["title"].is_duplicated())
    figures.add(
        "data.title_repeated",
        titles.select(pl.col("repeated").mean()).item(),
        average_by_item_column(titles, items, observed.item_columns, pl.col("repeated").mean()),
    )
    for language, share in count_languages(items["title"]).items():
        figures.add(f"data.language.{language}", share)


def _watch_new_texts(
    figures: Figures, observed: Observed, last: Mapping[str, float], sketches: Sketches | None, sample_items: int
) -> None:
    """Add the share of the items that are new, or have another text, since the last good night."""
    if sketches is None or not sketches.texts.height or not last.get("data.items"):
        return
    # The rule that chose the last sample: an item that it would have chosen and that is not in it is new.
    chosen = observed.items.filter(is_sampled("item_id", sample_items, int(last["data.items"])))
    if chosen.height:
        known = shorten_texts(chosen).join(sketches.texts, on=["item_id", "title", "description"], how="semi")
        figures.add("data.new_texts", 1.0 - known.height / chosen.height)


def _watch_attributes(figures: Figures, items: pl.DataFrame) -> None:
    """Add the median of each numeric attribute, such as a price, and the share of items without each attribute."""
    fixed = {"item_id", "title", "description", "tags", "available", "created_at"}
    for name in sorted(set(items.columns) - fixed):
        if items.schema[name] != pl.String or not items.height:
            continue
        given = items.filter(pl.col(name).is_not_null() & (pl.col(name) != ""))
        figures.add(f"data.attribute_missing.{name}", 1.0 - given.height / items.height)
        numbers = given[name].cast(pl.Float64, strict=False).drop_nulls()
        if given.height and len(numbers) >= _NUMERIC * given.height:
            figures.add(f"data.attribute_median.{name}", float(numbers.median() or 0.0))  # type: ignore[arg-type]


def watch_item_vectors(figures: Figures, items: pl.DataFrame) -> None:
    """Add the share of items without a vector, for each of the items' vectors from elsewhere."""
    for column in items.columns:
        if column.startswith(PREFIX):
            figures.add(
                f"data.vectors_missing.{column.removeprefix(PREFIX)}", divide(items[column].null_count(), items.height)
            )


def _watch_rows(figures: Figures, observed: Observed) -> None:
    """Add the shares of the raw rows that ingest rejected or folded into others."""
    if observed.summary is None:
        return
    for table, rows in observed.summary.rows.items():
        rejected = {f"rule: {rule}": divide(count, rows.read) for rule, count in rows.rejected.items()}
        figures.add(f"data.rejected.{table}", divide(sum(rows.rejected.values()), rows.read), rejected)
        for rule, count in rows.rejected.items():
            figures.add(f"data.rejected.{table}.{rule}", divide(count, rows.read))
        figures.add(f"data.repeats.{table}", divide(rows.repeats + rows.differing, rows.read))
        if table == "interactions" and observed.max_events_per_user_day is not None:
            figures.add("abuse.left_out", rows.excess)
            figures.add("abuse.crowded_days", rows.crowded_days)
