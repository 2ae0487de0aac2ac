"""Simulated nights of the demo shop for the monitor: rhythm, growth, new items, a promotion, and faults.

Nothing is trained and nothing is read from raw files: a night's tables are made as ingest would write them, and its
lists by a simple stand-in (popularity plus fixed tastes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config.monitoring import MonitoringConfig
from recsys.dataset.demo.catalogue import draw_catalogue
from recsys.dataset.demo.chinese import CHINESE
from recsys.dataset.demo.english import ENGLISH
from recsys.dataset.demo.prose import tell_items
from recsys.dataset.demo.world import draw_interactions
from recsys.dataset.ingestion.judgement import TableCounts
from recsys.dataset.ingestion.summary import Summary
from recsys.monitoring.alerts import Alert, judge
from recsys.monitoring.figures import Observed, ShownLists
from recsys.monitoring.monitored_nights import LastNight, Night
from recsys.monitoring.nights import ServedNight
from recsys.monitoring.observation import observe
from recsys.monitoring.reference import select_reference

START = datetime(2025, 1, 1, tzinfo=UTC)
WEIGHTS = {"view": 1.0, "click": 2.0, "like": 3.0, "comment": 4.0, "share": 4.0, "purchase": 5.0}
# Share of the events that take place, Monday first.
_RHYTHM = np.array([0.85, 0.8, 0.8, 0.85, 0.95, 0.6, 0.55])
_DAY_NOISE = 0.08
_N = 10


@dataclass(frozen=True)
class Feed:
    """What a night gets: tables as ingest writes them, and lists.

    Attributes:
        run_date: YYYY-MM-DD.
        end: 00:00 UTC of the run date.
        items: `Items` with `category` and `price`.
        events: `Interactions` before the end.
        rejected: raw rows of the interactions per rule.
        repeats: raw rows of the interactions that repeat others.
        lists: `Recommendations`.
        facts: manifest of the lists.
        baselines: `BaselineLists`.
    """

    run_date: str
    end: datetime
    items: pl.DataFrame
    events: pl.DataFrame
    rejected: dict[str, int]
    repeats: int
    lists: pl.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    baselines: pl.DataFrame | None = None

    def observe(self, before: Feed | None = None) -> Observed:
        """Return the feed as the monitor sees it, with the lists of the night before."""
        shown = None
        if before is not None and before.end == self.end - timedelta(days=1):
            served = ServedNight(before.run_date, before.end, self.end)
            shown = ShownLists(served, before.lists.lazy(), before.baselines)
        return Observed(
            run_date=self.run_date,
            end=self.end,
            snapshot=self.run_date,
            items=self.items,
            interactions=self.events.lazy(),
            summary=self._summarize(),
            lists=self.lists.lazy(),
            list_facts=self.facts,
            item_columns=("category",),
            shown=shown,
        )

    def _summarize(self) -> Summary:
        read = self.events.height + sum(self.rejected.values()) + self.repeats
        rows = TableCounts(read, self.events.height, self.rejected, repeats=self.repeats)
        return Summary(0, 0, 0, 0, {}, 0, None, None, {}, {}, {"interactions": rows}, [])


@dataclass(frozen=True)
class World:
    """A shop with all its events; a night sees those before its end.

    Attributes:
        items: all items, with `listed`, when the catalogue lists them first.
        events: all events, `Interactions` with `day`.
        chinese: `item_id`, `title`, `description` in Chinese.
        users: user_id of all users, sorted.
        tastes: (n_users, n_items) float32, what users like apart from popularity.
        seed: of what differs from night to night.
    """

    items: pl.DataFrame
    events: pl.DataFrame
    chinese: pl.DataFrame
    users: pl.Series
    tastes: NDArray[np.float32]
    seed: int

    @classmethod
    def draw(cls, *, users: int, items: int, days: int, seed: int, promotion: int | None = None) -> World:
        """Draw a world.

        Args:
            users: of the demo.
            items: of the demo.
            days: of the demo, from 2025-01-01.
            seed: of everything.
            promotion: first of five days on which twenty items draw many more users; None: never.
        """
        rng = np.random.default_rng([seed, 99])
        catalogue = draw_catalogue(items, days, seed)
        raw = pl.concat(tell_items(catalogue, ENGLISH, seed))
        other = pl.concat(tell_items(catalogue, CHINESE, seed))
        prices = np.round(np.exp(rng.normal(2.5, 0.6, items)), 2)
        table = raw.select(
            pl.col("id").alias("item_id"),
            *("title", "description", "tags", "available"),
            pl.col("created_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us"),
            "category",
            price=pl.Series(prices).cast(pl.String),
        ).sort("item_id")
        events = _thin(pl.concat(draw_interactions(catalogue, users, days, seed)), days, rng)
        if promotion is not None:
            events = pl.concat([events, _promote(events, table, promotion, rng)])
        everyone = events["user_id"].unique().sort()
        tastes = rng.normal(size=(len(everyone), 8)) @ rng.normal(size=(8, items))
        return cls(
            table,
            _number(events),
            other.select(pl.col("id").alias("item_id"), "title", "description"),
            everyone,
            tastes.astype(np.float32),
            seed,
        )

    def night(self, day: int) -> Feed:
        """Return the feed of the run date that many days after 2025-01-01."""
        end = START + timedelta(days=day)
        items = self.items.filter(pl.col("created_at") <= end)
        events = self.events.filter(pl.col("day") < day).drop("day")
        rng = np.random.default_rng([self.seed, 7, day])
        rejected = {"unknown_item": int(rng.poisson(0.01 * events.height)), "bad_time": int(rng.poisson(20))}
        lists = self.recommend(items, events, end, rng)
        return replace(
            make_feed(end, items, events, rejected, lists),
            baselines=pl.concat(
                self.recommend(items, events, end, rng, taste=taste).select(
                    "user_id", "rank", "item_id", baseline=pl.lit(name)
                )
                for name, taste in (("blend", 0.2), ("popularity", 0.0))
            ),
        )

    def recommend(
        self,
        items: pl.DataFrame,
        events: pl.DataFrame,
        end: datetime,
        rng: np.random.Generator,
        taste: float = 0.5,
    ) -> pl.DataFrame:
        """Return `Recommendations` for the users of the last 28 days: popular items that suit their tastes."""
        recent = events.filter(pl.col("time") >= end - timedelta(days=28))
        users = recent["user_id"].unique().sort()
        known = self.items.select("item_id").with_row_index("index")
        popular = recent.group_by("item_id").agg(events=pl.len())
        shown = (
            items.filter("available")
            .select("item_id")
            .join(known, on="item_id")
            .join(popular, on="item_id", how="left")
        ).sort("item_id")
        rows = self.users.search_sorted(users).to_numpy()
        scores = self.tastes[np.ix_(rows, shown["index"].to_numpy())] * np.float32(taste)
        scores += np.log1p(shown["events"].fill_null(0).to_numpy()).astype(np.float32)
        top = np.argsort(-scores, axis=1)[:, :_N]
        fallback = rng.random(top.shape) < 0.02
        return pl.DataFrame(
            {
                "user_id": users.gather(np.repeat(np.arange(len(users)), _N)),
                "rank": np.tile(np.arange(1, _N + 1, dtype=np.uint16), len(users)),
                "item_id": shown["item_id"].gather(top.ravel()),
                "score": np.take_along_axis(scores, top, axis=1).ravel(),
                "fallback": fallback.ravel(),
            }
        ).select(
            *("user_id", "rank", "item_id", "score"),
            sources=pl.when("fallback").then(pl.lit(["fallback", "popular"])).otherwise(pl.lit(["popular"])),
            reason=pl.lit(""),
            variant=pl.lit("champion"),
            model_version=pl.lit("1"),
        )


def make_feed(
    end: datetime, items: pl.DataFrame, events: pl.DataFrame, rejected: dict[str, int], lists: pl.DataFrame
) -> Feed:
    """Return a feed with the manifest that generate would write."""
    run_date = end.date().isoformat()
    counts = {
        "rows": lists.height,
        "users": lists["user_id"].n_unique(),
        "fallback_rows": int((lists["sources"].list.first() == "fallback").sum()),
        "empty_lists": 0,
    }
    facts = {"run_date": run_date, "snapshot": run_date, "model_version": "1", "config": "c", "counts": counts}
    return Feed(run_date, end, items, events, rejected, 0, lists, facts)


def _thin(events: pl.DataFrame, days: int, rng: np.random.Generator) -> pl.DataFrame:
    """Leave out whole sessions' days: fewer events at weekends, and noise from day to day."""
    weekdays = (np.arange(days) + START.weekday()) % 7
    kept = _RHYTHM[weekdays] * np.exp(_DAY_NOISE * rng.standard_normal(days))
    shares = pl.DataFrame({"day": np.arange(days), "share": kept})
    # A user is there on a day or is not, so that an event does not lose the view before it.
    dated = events.with_columns(day=(pl.col("timestamp") - START).dt.total_days()).join(shares, on="day")
    luck = (pl.struct("user_id", "day").hash(seed=1) % 100_000) / 100_000
    return dated.filter(luck < pl.col("share")).select("user_id", "item_id", "event", "day", time="timestamp")


def _promote(events: pl.DataFrame, items: pl.DataFrame, first: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return further events of known users on twenty items, on five days, 40 % of what these days have."""
    listed = items.filter(pl.col("created_at") <= START + timedelta(days=first), pl.col("available"))["item_id"]
    promoted = listed.gather(rng.choice(len(listed), 20, replace=False))
    parts = []
    for day in range(first, first + 5):
        users = events.filter(pl.col("day") < day)["user_id"].unique().sort()
        size = int(0.4 * events.filter(pl.col("day") == day).height)
        # Visits of three events.
        visits = np.repeat(rng.integers(0, len(users), -(-size // 3)), 3)[:size]
        chosen = users.gather(visits)
        # A few of the promoted items draw most of the users.
        drawn = promoted.gather(np.minimum(rng.geometric(0.12, size), 20) - 1)
        kinds = pl.Series(rng.choice(["view", "click", "purchase"], size, p=[0.75, 0.2, 0.05]))
        start = np.repeat(rng.integers(0, 85_000, -(-size // 3)), 3)[:size]
        seconds = day * 86_400 + start + 60 * (np.arange(size) % 3)
        parts.append(
            pl.DataFrame({"user_id": chosen, "item_id": drawn, "event": kinds}).with_columns(
                day=pl.lit(day, dtype=pl.Int64), time=START + pl.duration(seconds=pl.Series(seconds))
            )
        )
    return pl.concat(parts).select(events.columns).cast(dict(events.schema))


def _number(events: pl.DataFrame) -> pl.DataFrame:
    """Return `Interactions` with the column `day`."""
    return finish(events)


def finish(events: pl.DataFrame) -> pl.DataFrame:
    """Sort events and fill the columns that follow from the others, as ingest does; other columns are kept."""
    return events.sort("user_id", "time", "event", "item_id").with_columns(
        step=pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id"),
        time=pl.col("time").cast(pl.Datetime("us", "UTC")),
        weight=pl.col("event").replace_strict(WEIGHTS, default=1.0, return_dtype=pl.Float32),
        value=pl.lit(None, dtype=pl.Float32),
        position=pl.lit(None, dtype=pl.UInt16),
        positive=pl.col("event").is_in(["like", "purchase"]),
        consumed=pl.col("event").is_in(["like", "purchase"]),
    )


class Watchman:
    """Monitors nights in memory, each compared with the good ones before it."""

    def __init__(self, config: MonitoringConfig | None = None) -> None:
        self.config = config or MonitoringConfig()
        self.nights: list[Night] = []
        self._last: LastNight | None = None
        self._before: Feed | None = None

    def judge(self, feed: Feed) -> tuple[Night, list[Alert], LastNight]:
        """Judge a night without remembering it."""
        reference = select_reference(self.nights, feed.run_date, self.config)
        observed = feed.observe(self._before)
        observation = observe(observed, self._last, self.config, self.nights)
        expected, alerts = judge(observation.figures, reference, self.nights)
        night = Night(
            run_date=feed.run_date,
            end=feed.end.isoformat(),
            snapshot=feed.run_date,
            model_version="1",
            settings="c",
            verdict="alert" if alerts else "calm",
            figures=observation.figures.values,
            segments=observation.figures.segments,
            expected={
                name: {"value": normal.value, "low": normal.low, "high": normal.high}
                for name, normal in expected.items()
            },
            alerts=[alert.to_dict() for alert in alerts],
            intervals=observation.figures.intervals,
            retrain=any(alert.retrain for alert in alerts),
        )
        return night, alerts, LastNight(night, observation.sketches)

    def watch(self, feed: Feed) -> list[Alert]:
        """Judge a night and remember it."""
        night, alerts, last = self.judge(feed)
        self.nights.append(night)
        self._before = feed
        if night.good:
            self._last = last
        return alerts


@dataclass(frozen=True)
class Fault:
    """A fault of a night's feed or lists.

    Attributes:
        name: in words.
        causes: names of the causes that are right.
        apply: changes the feed.
        ours: not one of the faults that the field reported.
    """

    name: str
    causes: tuple[str, ...]
    apply: Callable[[Feed, World], Feed]
    ours: bool = False


def _keep(condition: Callable[[Feed], pl.Expr]) -> Callable[[Feed, World], Feed]:
    return lambda feed, world: replace(feed, events=finish(feed.events.filter(condition(feed))))


def _freeze(days: int) -> Callable[[Feed, World], Feed]:
    """The feed stopped at the end of the last good night, and this is the night so many days later."""

    def apply(feed: Feed, world: World) -> Feed:
        last = feed.end - timedelta(days=1)
        end = last + timedelta(days=days)
        events = feed.events.filter(pl.col("time") < last)
        return make_feed(end, feed.items, finish(events), feed.rejected, feed.lists)

    return apply


def _permute_catalogue(feed: Feed, world: World) -> Feed:
    order = np.random.default_rng(5).permutation(feed.items.height)
    return replace(feed, items=feed.items.with_columns(item_id=feed.items["item_id"].gather(order)).sort("item_id"))


def _rename_users(feed: Feed, names: pl.Series) -> Feed:
    users = feed.events["user_id"].unique().sort()
    mapping = pl.DataFrame({"user_id": users, "new": names})
    events = feed.events.join(mapping, on="user_id").drop("user_id").rename({"new": "user_id"})
    return replace(feed, events=finish(events.select(feed.events.columns)))


def _permute_users(feed: Feed, world: World) -> Feed:
    users = feed.events["user_id"].unique().sort()
    return _rename_users(feed, users.gather(np.random.default_rng(6).permutation(len(users))))


def _new_users(feed: Feed, world: World) -> Feed:
    users = feed.events["user_id"].unique().sort()
    return _rename_users(feed, "x" + users.hash(seed=3).cast(pl.String) + users)


def _renumber_items(feed: Feed, world: World) -> Feed:
    items = feed.items["item_id"]
    order = np.random.default_rng(7).permutation(len(items))
    mapping = pl.DataFrame({"item_id": items, "new": items.gather(order)})
    renamed = {
        name: getattr(feed, name).join(mapping, on="item_id").drop("item_id").rename({"new": "item_id"})
        for name in ("items", "events")
    }
    return replace(
        feed, items=renamed["items"].sort("item_id"), events=finish(renamed["events"]).select(feed.events.columns)
    )


def _lose_texts(feed: Feed, world: World) -> Feed:
    return replace(feed, items=feed.items.with_columns(title=pl.lit("n/a"), description=pl.lit("n/a")))


def _add_robot(feed: Feed, world: World) -> Feed:
    rng = np.random.default_rng(8)
    items = feed.items["item_id"].gather(rng.integers(0, feed.items.height, 14_400))
    seconds = pl.Series(np.arange(14_400) * 6)
    return _add(feed, pl.Series(["robot"] * 14_400), items, "view", feed.end - timedelta(days=1), seconds)


def _add_buyers(feed: Feed, world: World) -> Feed:
    rng = np.random.default_rng(9)
    item = feed.items.filter("available")["item_id"][3]
    users = pl.Series([f"fake{number:03d}" for number in range(300)])
    seconds = pl.Series(rng.integers(0, 86_400, 300))
    return _add(feed, users, pl.Series([item] * 300), "purchase", feed.end - timedelta(days=1), seconds)


def _add(feed: Feed, users: pl.Series, items: pl.Series, kind: str, start: datetime, seconds: pl.Series) -> Feed:
    rows = pl.DataFrame({"user_id": users, "item_id": items, "event": [kind] * len(users)}).with_columns(
        time=(start + pl.duration(seconds=seconds)).cast(pl.Datetime("us", "UTC"))
    )
    columns = ["user_id", "item_id", "event", "time"]
    together = pl.concat([feed.events.select(columns), rows.select(columns)])
    return replace(feed, events=finish(together).select(feed.events.columns))


def _rename_kind(feed: Feed, world: World) -> Feed:
    """Ingest rejects the renamed events, because their kind has no weight in the config."""
    left = feed.events.filter(pl.col("event") != "purchase")
    rejected = {**feed.rejected, "unknown_event": feed.events.height - left.height}
    return replace(feed, events=finish(left), rejected=rejected)


def _halve_catalogue(feed: Feed, world: World) -> Feed:
    items = feed.items.filter(pl.col("item_id").hash(seed=4) % 2 == 0)
    left = feed.events.join(items, on="item_id", how="semi")
    lost = feed.events.height - left.height
    rejected = {**feed.rejected, "unknown_item": feed.rejected["unknown_item"] + lost}
    return replace(feed, items=items, events=finish(left), rejected=rejected)


def _translate(feed: Feed, world: World) -> Feed:
    items = feed.items.drop("title", "description").join(world.chinese, on="item_id")
    return replace(feed, items=items.select(feed.items.columns).sort("item_id"))


def _shift_times(feed: Feed, world: World) -> Feed:
    """Local times, nine hours ahead, as if they were UTC: what comes after the end is not there yet."""
    shifted = feed.events.with_columns(pl.col("time") + timedelta(hours=9)).filter(pl.col("time") < feed.end)
    return replace(feed, events=finish(shifted))


def _raise_prices(feed: Feed, world: World) -> Feed:
    return replace(
        feed, items=feed.items.with_columns((pl.col("price").cast(pl.Float64) * 100).round(0).cast(pl.String))
    )


def _publish_late(feed: Feed, world: World) -> Feed:
    day = (feed.end - timedelta(days=2)).date().isoformat()
    return replace(feed, facts={**feed.facts, "run_date": day, "snapshot": day})


def _fall_back(feed: Feed, world: World) -> Feed:
    many = pl.struct("user_id", "rank").hash(seed=5) % 10 < 3
    sources = pl.when(many).then(pl.lit(["fallback", "popular"])).otherwise("sources")
    lists = feed.lists.with_columns(sources=sources)
    return make_feed(feed.end, feed.items, feed.events, feed.rejected, lists)


def _shift_scores(feed: Feed, world: World) -> Feed:
    return replace(feed, lists=feed.lists.with_columns((pl.col("score") * 0.6).cast(pl.Float32)))


FAULTS = (
    Fault("feed frozen for 5 days", ("feed_frozen",), _freeze(5)),
    Fault("feed frozen for 17 days", ("feed_frozen",), _freeze(17)),
    Fault("purchases gone", ("kind_gone",), _keep(lambda feed: pl.col("event") != "purchase")),
    Fault("views gone", ("kind_gone",), _keep(lambda feed: pl.col("event") != "view")),
    Fault("only views left", ("only_one_kind_left",), _keep(lambda feed: pl.col("event") == "view")),
    Fault("ids of the catalogue permuted", ("texts_permuted",), _permute_catalogue),
    Fault("user ids permuted", ("users_permuted",), _permute_users),
    Fault("user ids all new", ("users_renumbered",), _new_users),
    Fault('every text "n/a"', ("texts_lost",), _lose_texts),
    Fault("a robot with 14,400 events", ("robot",), _add_robot),
    Fault("300 fake buyers of one item", ("new_accounts_on_one_item",), _add_buyers),
    Fault(
        "only the last day in the feed", ("history_truncated",), _keep(lambda f: pl.col("time") >= f.end - timedelta(1))
    ),
    Fault("half the users gone", ("users_lost",), _keep(lambda feed: pl.col("user_id").hash(seed=2) % 2 == 0)),
    Fault("an event kind renamed", ("kind_renamed",), _rename_kind),
    Fault("item ids renumbered", ("items_renumbered",), _renumber_items),
    Fault(
        "feed stops at 10:00",
        ("feed_partial",),
        _keep(lambda f: pl.col("time") < f.end - timedelta(hours=14)),
        ours=True,
    ),
    Fault("times nine hours ahead", ("times_shifted", "events_removed", "feed_partial"), _shift_times, ours=True),
    Fault("half the catalogue gone", ("items_lost",), _halve_catalogue, ours=True),
    Fault("texts in another language", ("language_changed", "texts_rewritten"), _translate, ours=True),
    Fault("prices in cents", ("attribute_changed",), _raise_prices, ours=True),
    Fault("lists two days old", ("lists_old",), _publish_late, ours=True),
    Fault("fallback in 30 % of the rows", ("fallback",), _fall_back, ours=True),
    Fault("scores shifted, same model", ("scores_shifted",), _shift_scores, ours=True),
)
