"""From a night's data and lists to its figures and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from recsys.config.monitoring import MonitoringConfig
from recsys.monitoring.abuse import watch_abuse
from recsys.monitoring.arrival import watch_arrival
from recsys.monitoring.data import watch_data
from recsys.monitoring.events import EventCounts, count_events
from recsys.monitoring.feature_drift import stack_features, watch_features
from recsys.monitoring.figures import Figures, Observed
from recsys.monitoring.identity import watch_identity
from recsys.monitoring.lists import sample_lists, watch_lists
from recsys.monitoring.model import watch_model
from recsys.monitoring.monitored_nights import LastNight, Night
from recsys.monitoring.shown_lists import watch_outcomes
from recsys.monitoring.sketches import Sketches, is_sampled, shorten_texts
from recsys.monitoring.vectors import watch_vectors
from recsys.tables import ItemVectors, empty


@dataclass(frozen=True)
class Observation:
    """What was observed in a night.

    Attributes:
        figures: of all areas.
        sketches: samples for the next nights.
    """

    figures: Figures
    sketches: Sketches


def observe(
    observed: Observed, last: LastNight | None, config: MonitoringConfig, nights: Sequence[Night] = ()
) -> Observation:
    """Compute the figures of a night; nothing is judged yet.

    Args:
        observed: the night.
        last: the last good night; None: there is none.
        config: sizes of the samples.
        nights: all earlier nights, oldest first, for what is watched over a week.
    """
    before = None if last is None else last.sketches
    counts = count_events(
        observed.interactions,
        observed.end,
        _read_end(last),
        before.histories["user_id"].unique() if before else pl.Series([], dtype=pl.String),
        config.sample_users,
    )
    lists = sample_lists(observed.lists, config.sample_users)
    texts, features = _sample_texts(observed, config), stack_features(observed.features)
    vectors = empty(ItemVectors) if observed.vectors is None else observed.vectors
    figures = Figures()
    watch_arrival(figures, observed, counts)
    watch_data(figures, observed, counts, last.night.figures if last else {}, before, config.sample_items)
    watch_identity(figures, observed, counts.pairs, before)
    watch_abuse(figures, observed, counts)
    if observed.lists is not None:
        comparable = before is not None and _same_model(observed, last)
        watch_model(figures, observed.list_facts, lists, before.lists if before and comparable else None)
        figures.add("model.nights", _count_nights(observed, nights))
        watch_lists(figures, observed, counts, lists, before.lists if before else None)
        if before is not None and comparable:
            watch_features(figures, features, before.features)
            unchanged = texts.join(before.texts, on=texts.columns, how="semi")["item_id"]
            watch_vectors(figures, vectors, before.vectors, unchanged, observed.items, observed.item_columns)
    watch_outcomes(figures, observed, nights)
    return Observation(figures, Sketches(_sample_histories(counts), texts, lists, features, vectors))


def _read_end(last: LastNight | None) -> datetime | None:
    return datetime.fromisoformat(last.night.end) if last is not None and last.night.end else None


def _name_model(observed: Observed) -> tuple[str, str]:
    facts = observed.list_facts
    return str(facts.get("model_version", "")), str(facts.get("config", ""))


def _same_model(observed: Observed, last: LastNight | None) -> bool:
    return last is not None and (last.night.model_version, last.night.settings) == _name_model(observed)


def _count_nights(observed: Observed, nights: Sequence[Night]) -> int:
    """Return for how many monitored nights in a row the same version with the same settings has served."""
    count = 1
    for night in reversed(nights):
        if (night.model_version, night.settings) != _name_model(observed):
            break
        count += 1
    return count


def _sample_histories(counts: EventCounts) -> pl.DataFrame:
    return counts.pairs.filter("sampled").select("user_id", "item_id")


def _sample_texts(observed: Observed, config: MonitoringConfig) -> pl.DataFrame:
    items = observed.items
    return shorten_texts(items.filter(is_sampled("item_id", config.sample_items, items.height)))
