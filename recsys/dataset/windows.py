"""Windows: which interactions a part may learn from, and which it must predict.

A window has a history (events before its cutoff) and positives (items that users consumed inside it). Windows are
numbered from the newest. The evaluation model is tested on window 0, and its ranker's labels come from windows 1, 2, …;
the refit moves all of them to the end: labels come from windows 0, 1, …, and the final parts learn from everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import polars as pl

from recsys.config import WindowsConfig
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.row_splits import split_rows
from recsys.dataset.user_blocks import is_before
from recsys.errors import DataError
from recsys.progress import format_count

_PAIR = ["user_id", "item_id"]
# What positives are found by.
_COLUMNS = ("user_id", "item_id", "time", "event", "position", "positive", "consumed")
_SHOWN = {"user_id": pl.String(), "item_id": pl.String(), "position": pl.UInt16()}


@dataclass(frozen=True)
class Window:
    """A period to predict.

    Attributes:
        name: such as `test` or `label 1`.
        cutoff: the instant its history is as of; None for protocols without a common clock.
        end: the first instant after it; None likewise.
        known: `Interactions` that may be known.
        positives: `user_id`, `item_id`, distinct: what the lists should have held; `events` lists the kinds of those
            events.
        shown: `user_id`, `item_id`, `position`: the smallest position at which the user was shown the item inside the
            window, for pairs that have a position.
    """

    name: str
    cutoff: datetime | None
    end: datetime | None
    known: KnownEvents
    positives: pl.DataFrame
    shown: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_SHOWN))

    @property
    def history(self) -> pl.DataFrame:
        """The known `Interactions`, in memory."""
        return self.known.read()


@dataclass(frozen=True)
class Fold:
    """All that a training may learn from.

    Attributes:
        labels: the windows that the ranker's labels come from, newest first.
        known: `Interactions` that the final parts learn from, all before the cutoff.
        cutoff: the instant the history is as of; None for protocols without a common clock.
    """

    labels: tuple[Window, ...]
    known: KnownEvents
    cutoff: datetime | None


@dataclass(frozen=True)
class Windows:
    """All windows of a run, newest first, and every interaction known at the end."""

    windows: tuple[Window, ...]
    known: KnownEvents
    end: datetime | None

    @property
    def everything(self) -> pl.DataFrame:
        """Every known `Interactions` row, in memory."""
        return self.known.read()

    @property
    def test(self) -> Window:
        """The newest window."""
        return self.windows[0]

    @property
    def measurement_fold(self) -> Fold:
        """The fold of the evaluation model: nothing of the test window, on which it is measured."""
        return Fold(self.windows[1:], self.test.known, self.test.cutoff)

    @property
    def refit_fold(self) -> Fold:
        """The fold of the model that serves: all windows moved to the end, and every known interaction."""
        return Fold(self.windows[:-1], self.known, self.end)


def resolve_end(interactions: pl.DataFrame | pl.LazyFrame, run_date: str | None) -> datetime | None:
    """Return the instant a run is as of: 00:00 UTC of its run date.

    Without a run date it is 00:00 UTC of the day after the snapshot's last event, so it depends on the data and never
    on a clock. None if the data has no times: a run date is then only a name.

    Raises:
        DataError: the run date is not YYYY-MM-DD.
    """
    start = parse_run_date(run_date) if run_date is not None else None
    last = interactions.lazy().select(pl.col("time").max()).collect(engine="streaming").item()
    if not isinstance(last, datetime):
        return None
    if start is not None:
        return start
    return datetime.combine(last.date() + timedelta(days=1), time(), tzinfo=UTC)


def parse_run_date(run_date: str) -> datetime:
    """Return 00:00 UTC of a run date.

    Raises:
        DataError: it is not YYYY-MM-DD.
    """
    invalid = DataError(f"run date '{run_date}': expected YYYY-MM-DD, such as 2025-01-31")
    try:
        start = datetime.strptime(run_date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise invalid from error
    # strptime also accepts 2025-1-5; a day must have a single spelling, since folders are named by it.
    if start.date().isoformat() != run_date:
        raise invalid
    return start


def cut(interactions: pl.DataFrame, end: datetime | None) -> pl.DataFrame:
    """Return the interactions before an instant; rows without a time are always kept."""
    return interactions if end is None else interactions.filter(is_before(end))


def split_windows(
    interactions: pl.DataFrame | pl.LazyFrame,
    config: WindowsConfig,
    *,
    repeats: bool,
    end: datetime | None,
    seed: int,
    holdout: pl.DataFrame | None = None,
) -> Windows:
    """Split interactions into a test window, label windows and their histories.

    Args:
        interactions: `Interactions`; a `LazyFrame` is sorted by user. With the protocol `global_time` its rows are read
            by blocks of users; the other protocols need all of them in memory.
        config: protocol and lengths.
        repeats: True keeps positives on items that the user already has.
        end: interactions at or after this instant are ignored; None for data without times.
        seed: draws pairs or items for `random` and `cold_items`.
        holdout: `user_id`, `item_id` of the test pairs, for `holdout_file`.

    Raises:
        DataError: a window has no history or nothing to predict.
    """
    known = KnownEvents(interactions, end)
    if config.protocol != "global_time":
        known = KnownEvents(known.read())
    if not known.count():
        before = f" before {end.isoformat()}" if end else ""
        raise DataError(f"windows: no interaction{before}; ingest newer data or choose a later --run-date")
    if config.protocol == "global_time":
        windows = _split_by_time(known, config, end, repeats)
    else:
        windows = list(_split_by_rows(known.read(), config, repeats, seed, holdout))
    for window in windows:
        if not (known_rows := window.known.count()) or window.positives.is_empty():
            missing = "positives" if known_rows else "history"
            raise DataError(
                f"windows: the {window.name} window{_span(window.cutoff, window.end)} has no {missing}; "
                f"choose {_REMEDIES[missing if window.cutoff else 'no clock']}"
            )
    return Windows(tuple(windows), known, end)


_REMEDIES = {
    "history": "a shorter test window, fewer label_windows or a later --run-date",
    "positives": "a longer test window or an earlier --run-date",
    "no clock": "fewer label_windows or another windows.protocol, or ingest more data",
}


def find_positives(inside: pl.DataFrame, history: pl.DataFrame, repeats: bool) -> pl.DataFrame:
    """Return `user_id`, `item_id`, `events`, sorted by the pair: what a list made from the history should have held.

    Without repeats a list cannot hold an item that the user already has, so such pairs are not positives.
    """
    kinds = pl.col("event").drop_nulls().unique().sort().alias("events")
    positives = inside.filter("positive").group_by(_PAIR).agg(kinds)
    if not repeats:
        positives = positives.join(history.filter("consumed").select(_PAIR).unique(), on=_PAIR, how="anti")
    return positives.sort(_PAIR)


def _find_shown(inside: pl.DataFrame) -> pl.DataFrame:
    """Return `Window.shown`, sorted by the pair."""
    shown = inside.filter(pl.col("position").is_not_null())
    return shown.group_by(_PAIR).agg(pl.col("position").min()).sort(_PAIR)


def _name_window(number: int) -> str:
    return "test" if number == 0 else f"label {number}"


def _span(cutoff: datetime | None, end: datetime | None) -> str:
    return "" if cutoff is None or end is None else f" from {cutoff.isoformat()} to {end.isoformat()}"


def _split_by_time(known: KnownEvents, config: WindowsConfig, end: datetime | None, repeats: bool) -> list[Window]:
    if end is None or known.count_without_time():
        raise DataError("windows: global_time needs a time on every interaction; choose another windows.protocol")
    return make_time_windows(
        known, [(start, stop) for stop, start in pairwise(_time_edges(known, config, end))], repeats
    )


def make_time_windows(known: KnownEvents, spans: Sequence[tuple[datetime, datetime]], repeats: bool) -> list[Window]:
    """Return the window of each span of time, the newest first, in one pass over the events.

    Args:
        known: every row has a time.
        spans: the first instant of each window, and the first after it.
        repeats: True keeps positives on items that the user already has.
    """
    parts: list[list[tuple[pl.DataFrame, pl.DataFrame]]] = [[] for _ in spans]
    # What is positive depends on the user's own rows alone.
    for block in known.read_blocks(_COLUMNS):
        for (start, stop), found in zip(spans, parts, strict=True):
            inside = block.filter((pl.col("time") >= start) & (pl.col("time") < stop))
            positives = find_positives(inside, block.filter(pl.col("time") < start), repeats)
            found.append((positives, _find_shown(inside)))
    return [
        Window(
            _name_window(number),
            start,
            stop,
            known.cut(start),
            *(pl.concat(tables) for tables in zip(*found, strict=True)),
        )
        for number, ((start, stop), found) in enumerate(zip(spans, parts, strict=True))
    ]


def _split_by_rows(
    everything: pl.DataFrame, config: WindowsConfig, repeats: bool, seed: int, holdout: pl.DataFrame | None
) -> Iterator[Window]:
    """Yield the windows of the protocols without a common clock."""
    for number, (history, inside) in enumerate(split_rows(everything, config, repeats, seed, holdout)):
        positives = find_positives(inside, history, repeats)
        yield Window(_name_window(number), None, None, KnownEvents(history), positives, _find_shown(inside))


def _time_edges(known: KnownEvents, config: WindowsConfig, end: datetime) -> list[datetime]:
    numbers = range(1, config.label_windows + 2)
    if config.test_days is not None:
        return [end, *(end - timedelta(days=config.test_days) * number for number in numbers)]
    share = config.test_share or 0.0
    if share * (config.label_windows + 1) >= 1.0:
        raise DataError(
            f"windows: {format_count(config.label_windows + 1, 'window')} of test_share {share} leave no history; "
            "choose a smaller test_share"
        )
    ordered = known.read_times().sort()
    size = max(1, round(len(ordered) * share))
    edges: list[datetime] = [ordered[max(0, len(ordered) - size * number)] for number in numbers]
    return [end, *edges]
