"""What users did, from a file: events as the config describes them, plain events, or a table of one value per user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.config import DatasetConfig, InteractionColumns, InteractionFiles
from recsys.config.raw_files import DATABASE_SCHEMES, RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.ingestion import ingest_events
from recsys.dataset.ingestion.column_forms import NumberColumn
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.raw.places import find_sources
from recsys.dataset.raw.reading import read_all
from recsys.dataset.raw.sampling import read_sample
from recsys.errors import DataError
from recsys.progress import format_count

_USER_COLUMNS = ("user_id", "value")
_EVENT_COLUMNS = ("user_id", "item_id", "time")
_SAMPLE_ROWS = 10


@dataclass(frozen=True)
class OutcomeFile:
    """The content of an outcome file; one of the two tables is None.

    Attributes:
        events: `Interactions`.
        users: `user_id`, distinct, `value`, and `value_before` where the file has it.
        form: what the file was read as, for people.
    """

    events: pl.DataFrame | None
    users: pl.DataFrame | None
    form: str


def read_outcomes(path: str, config: DatasetConfig, item_ids: pl.Series, now: datetime, scratch: Path) -> OutcomeFile:
    """Read an outcome file; its columns decide which form it has.

    1. `user_id` and `value` without `item_id`: a table of one value per user, with `value_before` for a value from
       before the test.
    2. The columns of `dataset.interactions`: events as the config describes them.
    3. `user_id`, `item_id`, `time`, and optionally `event` and `value`: plain events. Without `event` every row is a
       positive event; with it, the config's kinds decide.

    Args:
        path: file, folder, pattern or address, as in a config; a relative one starts from the working directory.
        config: what events mean, and how many bad rows are tolerated.
        item_ids: distinct, sorted; events with other items are rejected.
        now: aware instant; events later than a day after it are rejected.
        scratch: an empty folder.

    Raises:
        DataError: the file is missing, empty or unreadable, has none of these forms, has no times, names a user twice
            or holds too many bad rows.
    """
    place = path if "://" in path else str(Path(path).expanduser().resolve())
    own = _move(config.interactions, place)
    columns = _list_columns(place, own)
    if columns is not None and set(_USER_COLUMNS) <= columns and "item_id" not in columns:
        return OutcomeFile(None, _read_users(place, config), "one value per user")
    if columns is None or _needed(own) <= columns:
        return OutcomeFile(_read_events(config, own, item_ids, now, scratch), None, "events as in the config")
    if set(_EVENT_COLUMNS) <= columns:
        plain = _as_plain(config.interactions, place, columns)
        return OutcomeFile(_read_events(config, plain, item_ids, now, scratch), None, "plain events")
    raise DataError(
        f"outcomes {path}: found the columns {', '.join(sorted(columns)) or 'none'}; expected "
        f"{', '.join(_USER_COLUMNS)} (one value per user), {', '.join(_EVENT_COLUMNS)} (events), or those of "
        f"dataset.interactions ({', '.join(sorted(_needed(own)))}); rename the columns"
    )


def _move(files: InteractionFiles, place: str) -> InteractionFiles:
    """Return the config's settings of the interactions for another place."""
    query = files.query if place.startswith(DATABASE_SCHEMES) else None
    return files.model_copy(update={"path": place, "query": query})


def _list_columns(place: str, own: InteractionFiles) -> set[str] | None:
    """Return the raw columns of a place; None where only the config's settings can tell."""
    shaped = own.unfold is not None or own.file_name is not None or own.header is False or own.names is not None
    source = find_sources("outcomes", own)[0]
    if source.size == 0:
        raise DataError(f"outcomes {place}: the file is empty; export the events again")
    try:
        columns = set(read_sample(source, RawFiles(path=place, query=own.query), _SAMPLE_ROWS).frame.columns)
    except DataError:
        if shaped:
            return None
        raise
    plain = {*_USER_COLUMNS} <= columns or {*_EVENT_COLUMNS} <= columns
    return None if shaped and not plain else columns


def _needed(files: InteractionFiles) -> set[str]:
    """Return the raw columns that events of the config need: users, items and times."""
    names: set[str] = set()
    for field in (files.columns.user_id, files.columns.item_id, files.columns.time, files.columns.event):
        if field is not None:
            names |= {field} if isinstance(field, str) else set(field)
    return names


def _as_plain(files: InteractionFiles, place: str, columns: set[str]) -> InteractionFiles:
    """Return settings of plain events whose kinds mean what they mean in the config."""
    given = {name: name for name in (*_EVENT_COLUMNS, "event", "value") if name in columns}
    meaning = {
        "event_weights": files.event_weights,
        "positive_events": files.positive_events,
        "owned_events": files.owned_events,
        "positive_value": files.positive_value,
        "negative_values": files.negative_values,
    }
    return InteractionFiles(
        path=place,
        columns=InteractionColumns(**given),
        time_zone=files.time_zone,
        max_rejected=files.max_rejected,
        **(meaning if "event" in columns else {}),
    )


def _read_events(
    config: DatasetConfig, files: InteractionFiles, item_ids: pl.Series, now: datetime, scratch: Path
) -> pl.DataFrame:
    if files.columns.time is None:
        raise DataError(
            f"outcomes {files.path}: dataset.interactions has no column for the time of an event, so the list that a "
            f"user saw is unknown; pass a table with {', '.join(_USER_COLUMNS)}"
        )
    return ingest_events(config.model_copy(update={"interactions": files}), item_ids, now=now, scratch=scratch)


def _read_users(place: str, config: DatasetConfig) -> pl.DataFrame:
    files = RawFiles(path=place)
    fields = [*_USER_COLUMNS, *_optional(place, files, ("value_before",))]
    raw = read_all("outcomes", files, {name: name for name in fields})
    users = clean_ids(raw["user_id"]).alias("user_id")
    if users.null_count():
        raise DataError(
            f"outcomes {place}: {format_count(users.null_count(), 'row')} without a user_id; remove these rows"
        )
    if repeated := users.filter(users.is_duplicated()).unique(maintain_order=True).to_list():
        example = "" if config.pseudonyms else f", such as '{repeated[0]}'"
        raise DataError(
            f"outcomes {place}: {format_count(len(repeated), 'user')} in several rows{example}; "
            "expected one row per user; sum the values of each user"
        )
    columns = [name_users(config, users)]
    for name in fields[1:]:
        numbers, missing = NumberColumn("outcomes", name, files).read(raw[name])
        # A user without a value did nothing; other cells that are no numbers are errors.
        unreadable = raw[name].filter(numbers.is_null() & ~missing)
        infinite = numbers.len() - numbers.null_count() - int(numbers.is_finite().sum())
        if len(unreadable) or infinite:
            example = f", such as '{unreadable[0]}'" if len(unreadable) else ""
            raise DataError(
                f"outcomes {place}: {format_count(len(unreadable) + infinite, 'cell')} of {name} "
                f"without a finite number{example}; fix these rows"
            )
        columns.append(numbers.fill_null(0.0).alias(name))
    return pl.DataFrame(columns)


def _optional(place: str, files: RawFiles, names: Sequence[str]) -> list[str]:
    columns = read_sample(find_sources("outcomes", files)[0], files, _SAMPLE_ROWS).frame.columns
    return [name for name in names if name in columns]
