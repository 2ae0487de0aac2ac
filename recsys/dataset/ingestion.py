"""Raw files -> Items, Interactions and the rejected rows, each with the rule it broke.

The rules of a table are checked in this order, and the first that a row breaks is recorded.
Items: missing_item_id, unprintable_item_id (control characters), rounded_item_id (a float that lost digits),
empty_text, bad_available, bad_created_at, duplicate_item_id (the first good row stays).
Interactions: missing_user_id, missing_item_id, unprintable_user_id, unprintable_item_id, rounded_user_id,
rounded_item_id, bad_time, early_time, future_time, unknown_item, unknown_event, bad_value, bad_position, bad_order,
duplicate_interaction (the first good row stays).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config import DatasetConfig, InteractionFiles, data_path
from recsys.dataset.cleaning import (
    clean_ids,
    has_control_characters,
    is_blank,
    is_rounded,
    join_lists,
    parse_flags,
    parse_numbers,
    parse_times,
    split_tags,
    to_plain_text,
)
from recsys.dataset.reading import RawTable, read_table
from recsys.errors import ConfigError, DataError
from recsys.tables import Interactions, Items, Rejected, check

logger = logging.getLogger(__name__)

_Rules = Mapping[str, pl.Expr]
# Rows that are parsed, or checked, at a time.
_BLOCK_ROWS = 1_000_000


@dataclass(frozen=True)
class TableCounts:
    """Rows read and kept, and rejected rows per rule (only rules that were broken), most frequent first."""

    read: int
    kept: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class Ingested:
    """The tables of a snapshot; `rejected` is sorted by table (items first), file and row."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    rejected: pl.DataFrame
    counts: dict[str, TableCounts]


def ingest(config: DatasetConfig, *, now: datetime) -> Ingested:
    """Read and clean all raw rows, and reject those that break a rule.

    Items have the columns of `Items`, then the attributes in the order of the config, as text, empty where missing.
    Ties keep the order of the files; without times and an order every row has step 0, so that the order of the files
    is never taken for the order of the users' events. Times without a zone, also `created_at`, are in the zone of
    the interactions.

    Args:
        config: raw files and the meaning of their columns.
        now: aware instant; events later than a day after it are rejected.

    Raises:
        DataError: files cannot be read, a column is missing, or too many rows break a rule.
        ConfigError: the time zone does not exist.
    """
    if now.tzinfo is None:
        raise DataError(f"ingest: now is {now.isoformat()} without a zone; expected an aware instant such as UTC")
    _check_time_zone(config.interactions.time_zone)
    items, bad_items, item_counts = _ingest_items(config)
    interactions, bad_interactions, counts = _ingest_interactions(config, items["item_id"], now)
    next_step = "internal error in ingest: report it"
    return Ingested(
        items=check(Items, items, "ingested items", next_step),
        interactions=check(Interactions, interactions, "ingested interactions", next_step),
        rejected=check(Rejected, pl.concat([bad_items, bad_interactions]), "rejected rows", next_step),
        counts={"items": item_counts, "interactions": counts},
    )


def _check_time_zone(time_zone: str) -> None:
    try:
        pl.Series([0], dtype=pl.Datetime("us")).dt.replace_time_zone(time_zone)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"dataset.interactions.time_zone: no zone '{time_zone}'; expected a name such as UTC or Europe/Berlin"
        ) from error


def _check_single(table: str, values: pl.DataFrame, columns: Mapping[str, str], lists: tuple[str, ...] = ()) -> None:
    """Raise if a column holds lists, except for the fields that may."""
    for field, name in columns.items():
        if field not in lists and isinstance(values.schema[field], pl.List):
            raise DataError(
                f"{table}: column '{name}' holds lists, expected a single value per row for {field}; "
                f"name another column in dataset.{table}.columns"
            )


def _ingest_items(config: DatasetConfig) -> tuple[pl.DataFrame, pl.DataFrame, TableCounts]:
    files = config.items
    columns = {field: name for field, name in files.columns.model_dump().items() if name is not None}
    raw = read_table("items", data_path(files.path), columns | files.attributes)
    _check_single("items", raw.values, columns, lists=("title", "description", "tags"))
    values, rows = raw.values, raw.values.height
    texts = {field: to_plain_text(join_lists(values[field])) for field in ("title", "description") if field in columns}
    nothing = pl.repeat(None, rows, dtype=pl.String, eager=True)
    created = values["created_at"] if "created_at" in columns else nothing
    parsed = pl.DataFrame(
        {
            "item_id": clean_ids(values["item_id"]),
            "title": texts["title"],
            "description": texts.get("description", to_plain_text(nothing)),
            "tags": split_tags(values["tags"] if "tags" in columns else nothing, files.tags_separator),
            "available": parse_flags(values["available"] if "available" in columns else nothing),
            "created_at": parse_times(created, "any", config.interactions.time_zone),
            "created_blank": is_blank(created),
        }
    )
    rules: _Rules = {
        "missing_item_id": pl.col("item_id").is_null(),
        "unprintable_item_id": has_control_characters(pl.col("item_id")),
        "rounded_item_id": is_rounded(pl.col("item_id")),
        "empty_text": (pl.col("title") == "") & (pl.col("description") == ""),
        "bad_available": pl.col("available").is_null(),
        "bad_created_at": pl.col("created_at").is_null() & ~pl.col("created_blank"),
    }
    broken = _find_broken_rules(parsed, rules, "duplicate_item_id", ["item_id"])
    rejected, counts = _reject("items", raw, broken, config.max_rejected_share)
    kept = parsed.select(Items.column_names()).with_columns(
        # A whole number that pandas wrote as a float (a year with gaps) loses its decimals, as ids do.
        to_plain_text(join_lists(clean_ids(values[name]) if values[name].dtype == pl.String else values[name])).alias(
            name
        )
        for name in files.attributes
    )
    return kept.filter(broken.is_null()).sort("item_id"), rejected, counts


def _clean_attribute(values: pl.Series) -> pl.Series:
    # A whole number that pandas wrote as a float (a year with gaps) loses its decimals, as ids do.
    return to_plain_text(join_lists(clean_ids(values) if values.dtype == pl.String else values))


def _ingest_interactions(
    config: DatasetConfig, item_ids: pl.Series, now: datetime
) -> tuple[pl.DataFrame, pl.DataFrame, TableCounts]:
    files = config.interactions
    columns = {field: name for field, name in files.columns.model_dump().items() if name is not None}
    raw = read_table("interactions", data_path(files.path), columns)
    _check_single("interactions", raw.values, columns)
    parsed = _parse_interactions(files, raw.values)
    earliest = (files.earliest_time or datetime.min.replace(tzinfo=UTC)).astimezone(UTC)
    latest = now.astimezone(UTC) + timedelta(days=1)
    rules = {
        "missing_user_id": pl.col("user_id").is_null(),
        "missing_item_id": pl.col("item_id").is_null(),
        "unprintable_user_id": has_control_characters(pl.col("user_id")),
        "unprintable_item_id": has_control_characters(pl.col("item_id")),
        "rounded_user_id": is_rounded(pl.col("user_id")),
        "rounded_item_id": is_rounded(pl.col("item_id")),
        "bad_time": pl.col("time").is_null() & pl.lit("time" in columns),
        "early_time": pl.col("time") < earliest,
        "future_time": pl.col("time") > latest,
        "unknown_item": ~pl.col("item_id").is_in(item_ids.implode()),
        "unknown_event": pl.col("weight").is_null(),
        "bad_value": pl.col("value").is_null() & ~pl.col("value_blank"),
        "bad_position": pl.col("position").is_null() & ~pl.col("position_blank"),
        "bad_order": pl.col("order").is_null() & pl.lit("order" in columns),
    }
    ordered = "time" in columns or "order" in columns
    key = ["user_id", "item_id", "event", *(["time", "order", "order_exact", "value"] if ordered else [])]
    # Without an order a repeat looks like a duplicate; where repeats are real, both stay.
    broken = _find_broken_rules(parsed, rules, "duplicate_interaction", key if ordered or not config.repeats else [])
    rejected, counts = _reject("interactions", raw, broken, config.max_rejected_share)
    consumed = pl.col("event").is_in(list(files.positive_events or files.event_weights))
    positive = consumed
    if files.positive_value is not None:
        positive &= pl.col("value").is_null() | (pl.col("value") >= files.positive_value)
    # The raw rows take most of the memory and are no longer needed.
    del raw
    kept = (
        parsed.lazy()
        .filter(broken.is_null())
        .sort("user_id", "time", "order", "order_exact", maintain_order=True)
        .with_columns(
            step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id") if ordered else pl.lit(0, pl.UInt32),
            positive=positive,
            consumed=consumed,
            value=pl.col("value").cast(pl.Float32),
        )
    )
    return kept.select(Interactions.column_names()).collect(), rejected, counts


def _parse_interactions(files: InteractionFiles, values: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that the rules look at; parsed block by block, since parsing texts takes much memory."""
    starts = range(0, values.height, _BLOCK_ROWS)
    return pl.concat([_parse_block(files, values[start : start + _BLOCK_ROWS]) for start in starts])


def _parse_block(files: InteractionFiles, values: pl.DataFrame) -> pl.DataFrame:
    rows = values.height
    missing = pl.repeat(None, rows, dtype=pl.String, eager=True)

    def column(field: str) -> pl.Series:
        return values[field] if field in values.columns else missing

    if "event" in values.columns:
        events = values["event"].cast(pl.String).str.strip_chars()
    else:
        events = pl.repeat(next(iter(files.event_weights)), rows, eager=True)
    return pl.DataFrame(
        {
            "user_id": clean_ids(values["user_id"]),
            "item_id": clean_ids(values["item_id"]),
            "time": parse_times(column("time"), files.time_format, files.time_zone),
            "event": events,
            "weight": events.replace_strict(files.event_weights, default=None, return_dtype=pl.Float32),
            # A number beyond the range of Float32 counts as unreadable.
            "value": _within_float32(parse_numbers(column("value"))),
            "value_blank": is_blank(column("value")),
            "position": _parse_positions(parse_numbers(column("position"))),
            "position_blank": is_blank(column("position")),
            "order": parse_numbers(column("order")),
            # Counters above 2^53 (snowflake ids) are equal as floats and differ only here.
            "order_exact": column("order").cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False),
        }
    )


def _within_float32(numbers: pl.Series) -> pl.Series:
    return numbers.set(numbers.cast(pl.Float32).is_infinite(), None)


def _parse_positions(numbers: pl.Series) -> pl.Series:
    """Return whole numbers from 1 to 65,535 as UInt16, null for others."""
    return numbers.set(numbers != numbers.floor(), None).cast(pl.UInt16, strict=False).replace(0, None)


def _find_broken_rules(parsed: pl.DataFrame, rules: _Rules, duplicate: str, key: list[str]) -> pl.Series:
    """Return the first rule that each row breaks, null for a good row; duplicates count among good rows only.

    Without a key no row is a duplicate.
    """
    kinds = pl.Enum([*rules, duplicate])
    first = pl.coalesce(pl.when(broken).then(pl.lit(rule, dtype=kinds)) for rule, broken in rules.items())
    # Block by block: evaluated as a whole, columns with different chunks would be copied first.
    starts = range(0, parsed.height, _BLOCK_ROWS)
    blocks = [parsed[start : start + _BLOCK_ROWS] for start in starts]
    broken = pl.concat([block.select(rule=first)["rule"] for block in blocks])
    if not key:
        return broken
    # Few rows share their hash with another row: only those are compared. Once sorted, equal hashes are adjacent.
    hashes = pl.concat([block.select(key).hash_rows(seed=0) for block in blocks])
    ordered = hashes.sort()
    suspect = hashes.is_in(ordered.filter(ordered == ordered.shift()).implode()) & broken.is_null()
    suspects = pl.concat(
        block.select(key).filter(suspect[start : start + _BLOCK_ROWS])
        for block, start in zip(blocks, starts, strict=True)
    )
    suspects = suspects.with_columns(row=suspect.arg_true())
    repeated = suspects.filter(~pl.struct(key).is_first_distinct())["row"]
    return broken.scatter(repeated, pl.repeat(duplicate, len(repeated), dtype=kinds, eager=True))


def _reject(table: str, raw: RawTable, broken: pl.Series, max_share: float) -> tuple[pl.DataFrame, TableCounts]:
    """Return the rejected rows and the counts.

    Raises:
        DataError: more than `max_share` of the rows, or all of them, are rejected.
    """
    rows = broken.is_not_null().arg_true()
    rejected = raw.locations[rows].with_columns(broken.gather(rows).cast(pl.String).alias("rule"))
    tally = (
        rejected.group_by("rule")
        .agg(pl.len(), pl.col("file", "row").first())
        .sort("len", "rule", descending=[True, False])
    )
    read, bad = broken.len(), len(rows)
    counts = TableCounts(read, read - bad, dict(tally.select("rule", "len").iter_rows()))
    if bad > max_share * read or bad == read:
        reasons = ", ".join(f"{rule} {n:,} (as in {file}:{row})" for rule, n, file, row in tally.iter_rows())
        raise DataError(
            f"{table}: {bad:,} of {read:,} rows rejected ({bad / read:.1%}), expected at most {max_share:.1%}: "
            f"{reasons}; fix the rows or dataset.{table} in the config, or raise dataset.max_rejected_share"
        )
    detail = ", ".join(f"{rule} {n:,}" for rule, n in counts.rejected.items())
    logger.info("%s: %d rows read, %d kept, %d rejected%s", table, read, read - bad, bad, detail and f": {detail}")
    return rejected.select(
        pl.lit(table).alias("table"), "file", "row", "rule", pl.Series("content", raw.content(rows), dtype=pl.String)
    ), counts
