"""The users of a test with what they did, night by night and in the weeks before: one number per user and metric."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import SegmentsConfig
from recsys.errors import DataError
from recsys.evaluation.two_samples import Sample
from recsys.monitoring.nights import ServedNight, VariantNight
from recsys.monitoring.outcomes import count_events, measure_night, select_events
from recsys.progress import format_count, track

MetricName = Literal["hit", "hits", "ndcg", "conversion", "events", "value"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
SEGMENTS = ("new", "light", "heavy")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Experiment:
    """The users that were shown one variant, from their first list on, whatever they did.

    Attributes:
        nights: in order; those after the last event are left out.
        users: `user_id`, `treated` and `first_night`, the index of the night of the user's first list; sorted by user.
        outcomes: per user and night with a positive event: `user`, the row in `users`, `night`, `events`, `value`,
            `hits`, `ndcg`; None for a table of one value per user.
        totals: (n_users) float64, the value of each user; None for events.
        before: per row of `users`, `events` and `value` of the weeks before the test, and `items`, distinct ones of
            the whole history; None where there is no history.
        changed: users that were shown both variants, which are left out.
        strangers: users with outcomes but without a list of either variant, which are left out.
        missing: users with a list that a table of values lacks; their value is 0.
        observed_until: first instant after the last event.
    """

    nights: tuple[ServedNight, ...]
    users: pl.DataFrame
    outcomes: pl.DataFrame | None
    totals: NDArray[np.float64] | None
    before: pl.DataFrame | None
    changed: int
    strangers: int
    missing: int
    observed_until: datetime

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The metrics that the outcomes allow."""
        if self.outcomes is None:
            return ("value",)
        has_values = bool((self.outcomes["value"] != 0).any())
        return METRICS if has_values else METRICS[:-1]

    def count_days(self, nights: int) -> float:
        """Return the days from the start until the end of the n-th night, or until the last event."""
        return (min(self.nights[nights - 1].end, self.observed_until) - self.nights[0].start) / _DAY

    def has_both(self, nights: int) -> bool:
        """Return whether each variant had two users or more after some nights."""
        known = self.users.filter(pl.col("first_night") < nights)["treated"]
        treated = int(known.sum())
        return min(treated, len(known) - treated) >= 2

    def sample(self, metric: MetricName, nights: int | None = None) -> Sample:
        """Return one number per user, as known after some nights.

        - `hit`: 1 where any positive event was with an item of the list the user saw, else 0;
        - `hits`: number of such items, added up over the nights;
        - `ndcg`: mean over the nights from the first list on; a night without an event counts 0;
        - `conversion`: 1 where there was any positive event, with an item of the list or not;
        - `events`: number of positive events, likewise;
        - `value`: sum of the values of the positive events, likewise, or the value of a table of users.

        Args:
            metric: one of `metrics`.
            nights: number of nights that count; None: all.

        Raises:
            DataError: the outcomes do not hold the metric, or a group has fewer than 2 users.
        """
        if metric not in self.metrics:
            raise DataError(
                f"outcomes: no metric '{metric}' in them; found {', '.join(self.metrics)}; choose one with --metric"
            )
        count = len(self.nights) if nights is None else nights
        first = self.users["first_night"].to_numpy()
        known = first < count
        values = self._measure(metric, count)
        if metric == "ndcg":
            values = values / np.maximum(count - first, 1)
        before = self._read_covariate(metric)
        return Sample(values[known], self.users["treated"].to_numpy()[known], None if before is None else before[known])

    def segment_users(self, config: SegmentsConfig) -> NDArray[np.str_] | None:
        """Return the segment of each user, (n_users) of `SEGMENTS`; None where there is no history."""
        if self.before is None:
            return None
        items = self.before["items"].to_numpy()
        index = (items > config.new_user_items).astype(np.int64) + (items > config.heavy_user_items)
        names: NDArray[np.str_] = np.array(SEGMENTS)[index]
        return names

    def _measure(self, metric: MetricName, nights: int) -> NDArray[np.float64]:
        if self.outcomes is None:
            return np.zeros(self.users.height) if self.totals is None else self.totals
        column = {"hit": "hits", "conversion": "events"}.get(metric, metric)
        # Sorted, so that sums never depend on how threads share the work.
        sums = self.outcomes.filter(pl.col("night") < nights).group_by("user").agg(pl.col(column).sort().sum())
        values = np.zeros(self.users.height)
        values[sums["user"].to_numpy()] = sums[column].to_numpy()
        return (values > 0).astype(np.float64) if metric in ("hit", "conversion") else values

    def _read_covariate(self, metric: MetricName) -> NDArray[np.float64] | None:
        """Return what each user did before the test that resembles the metric."""
        if self.before is None:
            return None
        if metric == "value":
            return self.before["value"].to_numpy()
        events = self.before["events"].to_numpy().astype(np.float64)
        # No list was measured then; most outcomes grow more slowly than the number of events.
        return events if metric == "events" else np.log1p(events)


def collect_events(
    nights: Sequence[VariantNight],
    variants: tuple[str, str],
    events: pl.DataFrame,
    history: pl.LazyFrame | None,
    history_days: float,
) -> Experiment:
    """Join events to the lists of a test.

    Args:
        nights: of `find_test`.
        variants: control and treatment.
        events: `Interactions` with times, of the test at least.
        history: `Interactions` from before the test; None: there is none.
        history_days: length of the period before the test that is compared with it.

    Raises:
        DataError: no event lies after the first list, no user has a list, or a variant has no users.
    """
    start = nights[0].served.start
    last = events["time"].max()
    if not isinstance(last, datetime) or last < start:
        state = f"the last is from {last:%Y-%m-%d %H:%M} UTC" if isinstance(last, datetime) else "no event has a time"
        raise DataError(
            f"outcomes: no event after the first list of {nights[0].served.run_date}; {state}; export the events of "
            "the days on which the lists were shown, or run 'recsys ingest' on newer files"
        )
    observed = [night for night in nights if night.served.start <= last]
    users, rows = _join(observed, variants, events)
    kept, changed = _drop_changed(users, variants)
    index = kept.select("user_id", "first_night", pl.int_range(pl.len(), dtype=pl.UInt32).alias("user"))
    outcomes = (
        pl.concat(rows)
        .join(index, on="user_id")
        .filter(pl.col("night") >= pl.col("first_night"))
        .select("user", "night", "events", "value", "hits", "ndcg")
        .sort("user", "night")
    )
    if outcomes.is_empty():
        raise DataError(
            f"outcomes: none of the {format_count(kept.height, 'user')} with a list has a positive event while the "
            "lists were shown; check that both use the same user ids, and dataset.interactions.positive_events"
        )
    before = None if history is None else summarize_history(history, kept["user_id"], start, history_days)
    served = tuple(night.served for night in observed)
    acting = pl.concat([row.select("user_id") for row in rows]).unique()
    strangers = acting.join(users, on="user_id", how="anti").height
    until = last + timedelta(microseconds=1)
    return Experiment(served, kept, outcomes, None, before, changed, strangers, 0, until)


def collect_totals(
    nights: Sequence[VariantNight],
    variants: tuple[str, str],
    table: pl.DataFrame,
    history: pl.LazyFrame | None,
    history_days: float,
) -> Experiment:
    """Join a table of one value per user to the lists of a test; users with a list but without a row have value 0.

    Args:
        nights: of `find_test`.
        variants: control and treatment.
        table: `user_id`, distinct, `value`, and `value_before` where the table has values from before the test.
        history: as for `collect_events`.
        history_days: as for `collect_events`.

    Raises:
        DataError: no user of the table has a list, or a variant has no users.
    """
    nothing = pl.DataFrame(
        schema={"user_id": pl.String, "item_id": pl.String, "time": pl.Datetime("us", "UTC"), "value": pl.Float32}
    ).with_columns(pl.lit(True).alias("positive"))
    users, _ = _join(nights, variants, nothing)
    kept, changed = _drop_changed(users, variants)
    joined = kept.join(table, on="user_id", how="left", maintain_order="left")
    if joined["value"].is_null().all():
        raise DataError(
            f"outcomes: none of the {format_count(table.height, 'user')} of the table, such as "
            f"'{table['user_id'][0]}', has a list; check that the table and the lists, such as that of "
            f"'{kept['user_id'][0]}', use the same user ids"
        )
    start = nights[0].served.start
    before = None if history is None else summarize_history(history, kept["user_id"], start, history_days)
    if "value_before" in table.columns:
        given = joined["value_before"].fill_null(0.0)
        items = pl.Series("items", np.zeros(kept.height), dtype=pl.UInt32) if before is None else before["items"]
        before = pl.DataFrame({"events": items, "value": given, "items": items})
    served = tuple(night.served for night in nights)
    totals = joined["value"].fill_null(0.0).to_numpy()
    strangers, missing = table.join(users, on="user_id", how="anti").height, joined["value"].null_count()
    return Experiment(served, kept, None, totals, before, changed, strangers, missing, served[-1].end)


def summarize_history(history: pl.LazyFrame, users: pl.Series, start: datetime, days: float) -> pl.DataFrame:
    """Return what users did before an instant, a row per user in their order.

    Args:
        history: `Interactions`.
        users: distinct ids.
        start: first instant of the test.
        days: length of the period that `events` and `value` count; `items` counts the whole history.

    Returns:
        `events` (UInt32), `value` (Float64), both of positive events, and `items` (UInt32), distinct ones; 0 for users
        without a history.
    """
    lately = pl.col("positive") & (pl.col("time") >= start - timedelta(days=days))
    sums = (
        history.filter(pl.col("time") < start)
        .group_by("user_id")
        .agg(
            lately.sum().cast(pl.UInt32).alias("events"),
            pl.col("value").filter(lately).cast(pl.Float64).sort().sum().alias("value"),
            pl.col("item_id").n_unique().cast(pl.UInt32).alias("items"),
        )
        .collect(engine="streaming")
    )
    joined = users.rename("user_id").to_frame().join(sums, on="user_id", how="left", maintain_order="left")
    return joined.select(pl.col("events").fill_null(0), pl.col("value").fill_null(0.0), pl.col("items").fill_null(0))


def _join(
    nights: Collection[VariantNight], variants: tuple[str, str], events: pl.DataFrame
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Return the users with a list of either variant, and per night the users with a positive event."""
    users, rows = pl.DataFrame(), []
    for number, night in enumerate(track(nights, "Nights")):
        happened = select_events(events, night.served)
        measured = measure_night(night.lists, happened).filter(pl.col("variant").is_in(variants))
        listed = measured.select(
            "user_id",
            (pl.col("variant") == variants[1]).alias("treated"),
            (pl.col("variant") == variants[1]).alias("always_treated"),
            pl.lit(number, dtype=pl.UInt16).alias("first_night"),
        )
        users = pl.concat([users, listed]) if number else listed
        users = users.group_by("user_id").agg(
            pl.col("treated").max(), pl.col("always_treated").min(), pl.col("first_night").min()
        )
        rows.append(
            count_events(happened)
            .join(measured.select("user_id", "hits", "ndcg"), on="user_id", how="left")
            .select(
                "user_id",
                pl.lit(number, dtype=pl.UInt16).alias("night"),
                "events",
                "value",
                pl.col("hits").fill_null(0),
                pl.col("ndcg").fill_null(0.0),
            )
        )
    return users.sort("user_id"), rows


def _drop_changed(users: pl.DataFrame, variants: tuple[str, str]) -> tuple[pl.DataFrame, int]:
    """Return the users that were always shown the same variant, and how many others there are."""
    constant = users.filter(pl.col("treated") == pl.col("always_treated")).drop("always_treated")
    counts: dict[Any, int] = dict(constant.group_by("treated").len().iter_rows())
    for name, treated in zip(variants, (False, True), strict=True):
        if counts.get(treated, 0) < 2:
            shown = format_count(users.height - constant.height, "user")
            raise DataError(
                f"lists: {format_count(counts.get(treated, 0), 'user')} saw only the variant '{name}', expected at "
                f"least 2; {shown} saw both; check which users get which variant"
            )
    return constant, users.height - constant.height
