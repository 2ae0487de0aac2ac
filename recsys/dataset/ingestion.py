"""Raw files -> Items, Interactions and the rows kept aside, each with the rule it broke.

A row is judged by the rules of its table in the order they stand here; the first it breaks is the one recorded.
Items: missing_item_id, empty_text, bad_available, bad_created_at, duplicate_item_id (the first good row stays).
Interactions: missing_user_id, missing_item_id, bad_time, early_time, future_time, unknown_item, unknown_event,
bad_value, bad_position, bad_order, duplicate_interaction (the first good row stays).
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
    clean_text,
    is_blank,
    join_lists,
    parse_flags,
    parse_numbers,
    parse_times,
    split_tags,
)
from recsys.dataset.reading import RawTable, read_table
from recsys.errors import ConfigError, DataError
from recsys.tables import Interactions, Items, Rejected, check

logger = logging.getLogger(__name__)

_Rules = Mapping[str, pl.Expr]
# Rows that are parsed, or judged, at a time.
_RUN = 1_000_000


@dataclass(frozen=True)
class TableCounts:
    """Rows read and kept, and rejected rows per rule (only rules that were broken), most frequent first."""

    read: int
    kept: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class Ingested:
    """The tables of one snapshot; `rejected` is in order of table (items first), file and row."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    rejected: pl.DataFrame
    counts: dict[str, TableCounts]


def ingest(config: DatasetConfig, *, now: datetime) -> Ingested:
    """Read, clean and judge all raw rows.

    Items have the columns of `Items`, then the attributes in the order of the config, text where there is any and
    empty where not. Ties keep the order of the files; without times and an order every row has position 0, so that
    nothing can take the files' order for the users'. Times without a zone, `created_at` too, are in the zone of the
    interactions.

    Args:
        config: raw files and what their columns mean.
        now: aware instant; events later than one day after it are rejected.

    Raises:
        DataError: files cannot be read, a column is missing, or too many rows break a rule.
        ConfigError: no such time zone.
    """
    if now.tzinfo is None:
        raise DataError(f"ingest: now is {now.isoformat()} without a zone; expected an aware instant such as UTC")
    _check_time_zone(config.interactions.time_zone)
    items, bad_items, item_counts = _ingest_items(config)
    interactions, bad_interactions, counts = _ingest_interactions(config, items["item_id"], now)
    mend = "report this: ingest wrote a table that is not as promised"
    return Ingested(
        items=check(Items, items, "ingested items", mend),
        interactions=check(Interactions, interactions, "ingested interactions", mend),
        rejected=check(Rejected, pl.concat([bad_items, bad_interactions]), "rejected rows", mend),
        counts={"items": item_counts, "interactions": counts},
    )


def _check_time_zone(time_zone: str) -> None:
    try:
        pl.Series([0], dtype=pl.Datetime("us")).dt.replace_time_zone(time_zone)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"dataset.interactions.time_zone: no zone '{time_zone}'; expected a name such as UTC or Europe/Berlin"
        ) from error


def _check_single(table: str, values: pl.DataFrame, columns: Mapping[str, str], but: tuple[str, ...] = ()) -> None:
    for field, name in columns.items():
        if field not in but and isinstance(values.schema[field], pl.List):
            raise DataError(
                f"{table}: column '{name}' holds lists, expected one value a row for {field}; "
                f"name another column in dataset.{table}.columns"
            )


def _ingest_items(config: DatasetConfig) -> tuple[pl.DataFrame, pl.DataFrame, TableCounts]:
    files = config.items
    columns = {field: name for field, name in files.columns.model_dump().items() if name is not None}
    raw = read_table("items", data_path(files.path), columns | files.attributes)
    _check_single("items", raw.values, columns, but=("title", "description", "tags"))
    values, rows = raw.values, raw.values.height
    texts = {field: clean_text(join_lists(values[field])) for field in ("title", "description") if field in columns}
    nothing = pl.repeat(None, rows, dtype=pl.String, eager=True)
    created = values["created_at"] if "created_at" in columns else nothing
    parsed = pl.DataFrame(
        {
            "item_id": clean_ids(values["item_id"]),
            "title": texts["title"],
            "description": texts.get("description", clean_text(nothing)),
            "tags": split_tags(values["tags"] if "tags" in columns else nothing, files.tags_separator),
            "available": parse_flags(values["available"] if "available" in columns else nothing),
            "created_at": parse_times(created, "any", config.interactions.time_zone),
            "created_blank": is_blank(created),
        }
    )
    rules: _Rules = {
        "missing_item_id": pl.col("item_id").is_null(),
        "empty_text": (pl.col("title") == "") & (pl.col("description") == ""),
        "bad_available": pl.col("available").is_null(),
        "bad_created_at": pl.col("created_at").is_null() & ~pl.col("created_blank"),
    }
    broken = _judge(parsed, rules, "duplicate_item_id", ["item_id"])
    rejected, counts = _set_aside("items", raw, broken, config.max_rejected_share)
    kept = parsed.select(Items.column_names()).with_columns(
        # An attribute that pandas wrote as a float (a year with gaps) is a whole number again, as ids are.
        clean_text(join_lists(clean_ids(values[name]) if values[name].dtype == pl.String else values[name])).alias(name)
        for name in files.attributes
    )
    return kept.filter(broken.is_null()).sort("item_id"), rejected, counts


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
    # Without an order nothing tells a repeat from a duplicate; where repeats are real, both stay.
    broken = _judge(parsed, rules, "duplicate_interaction", key if ordered or not config.repeats else [])
    rejected, counts = _set_aside("interactions", raw, broken, config.max_rejected_share)
    taken = pl.col("event").is_in(list(files.positive_events or files.event_weights))
    wanted = taken
    if files.positive_value is not None:
        wanted &= pl.col("value").is_null() | (pl.col("value") >= files.positive_value)
    # The raw rows are the largest part of the memory, and nobody needs them any more.
    del raw
    kept = (
        parsed.lazy()
        .filter(broken.is_null())
        .sort("user_id", "time", "order", "order_exact", maintain_order=True)
        .with_columns(
            step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id") if ordered else pl.lit(0, pl.UInt32),
            positive=wanted,
            consumed=taken,
            value=pl.col("value").cast(pl.Float32),
        )
    )
    return kept.select(Interactions.column_names()).collect(), rejected, counts


def _parse_interactions(files: InteractionFiles, values: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that rows are judged by; read run by run, since what text leaves behind is large."""
    # Whether ids are whole numbers shows only in all of them.
    ids = {field: clean_ids(values[field]) for field in ("user_id", "item_id")}
    rest = values.select(pl.exclude(ids))
    starts = range(0, values.height, _RUN)
    runs = [_parse_run(files, rest[start : start + _RUN], min(_RUN, values.height - start)) for start in starts]
    return pl.DataFrame(ids).hstack(pl.concat(runs))


def _parse_run(files: InteractionFiles, values: pl.DataFrame, rows: int) -> pl.DataFrame:
    nothing = pl.repeat(None, rows, dtype=pl.String, eager=True)

    def given(field: str) -> pl.Series:
        return values[field] if field in values.columns else nothing

    if "event" in values.columns:
        events = values["event"].cast(pl.String).str.strip_chars()
    else:
        events = pl.repeat(next(iter(files.event_weights)), rows, eager=True)
    return pl.DataFrame(
        {
            "time": parse_times(given("time"), files.time_format, files.time_zone),
            "event": events,
            "weight": events.replace_strict(files.event_weights, default=None, return_dtype=pl.Float32),
            # Beyond the range of Float32 is no number either.
            "value": _within_float32(parse_numbers(given("value"))),
            "value_blank": is_blank(given("value")),
            "position": _read_places(parse_numbers(given("position"))),
            "position_blank": is_blank(given("position")),
            "order": parse_numbers(given("order")),
            # Counters above 2^53 (snowflake ids) differ only here.
            "order_exact": given("order").cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False),
        }
    )


def _within_float32(numbers: pl.Series) -> pl.Series:
    return numbers.set(numbers.cast(pl.Float32).is_infinite(), None)


def _read_places(numbers: pl.Series) -> pl.Series:
    """Return whole numbers from 1 to 65,535 as UInt16; anything else is no place."""
    return numbers.set(numbers != numbers.floor(), None).cast(pl.UInt16, strict=False).replace(0, None)


def _judge(parsed: pl.DataFrame, rules: _Rules, duplicate: str, key: list[str]) -> pl.Series:
    """Return the first rule each row breaks, null for a good row; duplicates count among good rows only.

    Without a key no row is the duplicate of another.
    """
    kinds = pl.Enum([*rules, duplicate])
    first = pl.coalesce(pl.when(broken).then(pl.lit(rule, dtype=kinds)) for rule, broken in rules.items())
    # Run by run: looked at as a whole, columns in unlike pieces would be copied first.
    starts = range(0, parsed.height, _RUN)
    runs = [parsed[start : start + _RUN] for start in starts]
    broken = pl.concat([run.select(rule=first)["rule"] for run in runs])
    if not key:
        return broken
    # Most rows are alone with their hash: only the others are compared. Sorted, equal ones stand together.
    hashes = pl.concat([run.select(key).hash_rows(seed=0) for run in runs])
    together = hashes.sort()
    alike = hashes.is_in(together.filter(together == together.shift()).implode()) & broken.is_null()
    some = pl.concat(
        run.select(key).filter(alike[start : start + _RUN]) for run, start in zip(runs, starts, strict=True)
    )
    some = some.with_columns(place=alike.arg_true())
    repeated = some.filter(~pl.struct(key).is_first_distinct())["place"]
    return broken.scatter(repeated, pl.repeat(duplicate, len(repeated), dtype=kinds, eager=True))


def _set_aside(table: str, raw: RawTable, broken: pl.Series, max_share: float) -> tuple[pl.DataFrame, TableCounts]:
    """Return the rejected rows and the counts, or stop when there are too many of them."""
    places = broken.is_not_null().arg_true()
    rejected = raw.places[places].with_columns(broken.gather(places).cast(pl.String).alias("rule"))
    tally = (
        rejected.group_by("rule")
        .agg(pl.len(), pl.col("file", "row").first())
        .sort("len", "rule", descending=[True, False])
    )
    read, bad = broken.len(), len(places)
    counts = TableCounts(read, read - bad, dict(tally.select("rule", "len").iter_rows()))
    if bad > max_share * read or bad == read:
        reasons = ", ".join(f"{rule} {n:,} (as in {file}:{row})" for rule, n, file, row in tally.iter_rows())
        raise DataError(
            f"{table}: {bad:,} of {read:,} rows rejected ({bad / read:.1%}), expected at most {max_share:.1%}: "
            f"{reasons}; mend the rows or dataset.{table} in the config, or raise dataset.max_rejected_share"
        )
    detail = ", ".join(f"{rule} {n:,}" for rule, n in counts.rejected.items())
    logger.info("%s: %d rows read, %d kept, %d rejected%s", table, read, read - bad, bad, detail and f": {detail}")
    return rejected.select(
        pl.lit(table).alias("table"), "file", "row", "rule", pl.Series("content", raw.content(places), dtype=pl.String)
    ), counts
