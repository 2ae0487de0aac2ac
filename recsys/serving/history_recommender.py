"""Lists for histories that no snapshot holds, with the catalogue as of the bundle's training: the served model."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from recsys.candidates.merge import map_blocks
from recsys.config import Config, InteractionFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.id_map import IdMap
from recsys.dataset.ingestion.meaning import mark_consumed, weigh_events, weigh_values
from recsys.dataset.user_items import warn_of_unknown_ids
from recsys.errors import DataError
from recsys.serving.bundle import Bundle
from recsys.serving.list_maker import ListMaker, UserLimits
from recsys.serving.recommender import Recommender

# No cleaned id is empty, so this is in no catalogue.
_NO_ITEM = ""


def recommend_for(bundle: Bundle, history: pl.DataFrame) -> pl.DataFrame:
    """Return lists for histories that no snapshot holds, through the same chain as the nightly batch.

    Block lists and rules are those of the bundle's training. A history that holds everything that a snapshot held of
    the user at the bundle's cutoff gives the list of that night.

    Args:
        bundle: fitted parts.
        history: `user_id` and `item_id`, one row per interaction, a user's rows oldest first; unknown items and rows
            without an item are skipped, and a user without a known item gets the fallback chain's items. Optional
            columns: `time` (aware or UTC instants before the bundle's cutoff), `event` (a kind of
            `dataset.interactions.event_weights`) and `value` (a number that weighs as
            `dataset.interactions.value_weight` says; a missing one counts as 1); without them every interaction has
            weight 1 and no age.

    Returns:
        `user_id`, `rank` (Int32), `item_id`, `score` (Float32), sorted by user, then rank.

    Raises:
        DataError: a column is missing, a time is not before the bundle's cutoff, or an event kind is unknown.
    """
    config = bundle.config
    items = bundle.block_lists.withhold(bundle.items)
    events = _interpret(history, config, bundle.cutoff)
    warn_of_unknown_ids(events["item_id"].drop_nulls(), IdMap(items["item_id"]), "histories")
    histories = build_histories(events.with_columns(pl.col("item_id").fill_null(_NO_ITEM)), items, bundle.cutoff)
    recommender = Recommender.prepare(
        config,
        bundle.candidate_models,
        items,
        bundle.item_texts,
        bundle.embeddings,
        bundle.statistics,
        bundle.cutoff,
        bundle.attributes,
    )
    maker = ListMaker(recommender, bundle.ranker, config.generation, histories.ages_until)
    limits = UserLimits.of(histories, bundle.block_lists.pairs)

    def make(first_user: int, block: Histories) -> pl.DataFrame:
        own = limits.select(first_user, block.n_users)
        lists = maker.make_lists(block, own, config.generation.n, with_reasons=False)
        user, rank = np.nonzero(lists.items >= 0)
        return pl.DataFrame(
            {
                "user_id": block.user_ids.gather(user),
                "rank": (rank + 1).astype(np.int32),
                "item_id": histories.item_ids.gather(lists.items[user, rank]),
                "score": lists.item_scores[user, rank],
            }
        )

    return pl.concat(map_blocks(make, histories))


def _interpret(history: pl.DataFrame, config: Config, cutoff: datetime | None) -> pl.DataFrame:
    """Return `Interactions` columns that histories are built from."""
    columns = config.dataset.interactions.columns
    if lacking := [name for name in ("user_id", "item_id") if name not in history.columns]:
        raise DataError(
            f"history: no column {', '.join(lacking)}; found {', '.join(history.columns) or 'none'}; "
            "pass one row per interaction with user_id and item_id"
        )
    step = pl.int_range(pl.len(), dtype=pl.UInt32).over("user_id")
    history = _fill_events(history, config.dataset.interactions)
    weights, consumed = _weigh(history, config.dataset.interactions)
    return history.select(
        *(clean_ids(history[name]).alias(name) for name in ("user_id", "item_id")),
        step=step if columns.time or columns.order else pl.lit(0, dtype=pl.UInt32),
        time=_read_times(history, cutoff),
        weight=weights,
        consumed=consumed,
    ).drop_nulls("user_id")


def _fill_events(history: pl.DataFrame, files: InteractionFiles) -> pl.DataFrame:
    """Give rows without an item some kind of event: they only ask for the user's list."""
    if "event" not in history.columns or not files.event_weights:
        return history
    asks = pl.col("item_id").is_null() & pl.col("event").is_null()
    return history.with_columns(event=pl.when(asks).then(pl.lit(next(iter(files.event_weights)))).otherwise("event"))


def _weigh(history: pl.DataFrame, files: InteractionFiles) -> tuple[pl.Series, pl.Series]:
    """Return the weight of each interaction, and whether the user has the item after it."""
    if "value" in history.columns:
        values = history["value"].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    else:
        values = np.full(history.height, np.nan)
    if "event" not in history.columns:
        weights = weigh_values(files, values).astype(np.float32)
        return pl.Series(weights), pl.repeat(True, history.height, dtype=pl.Boolean, eager=True)
    kinds, texts = list(files.event_weights), history["event"].cast(pl.String)
    events = texts.replace_strict(kinds, list(range(len(kinds))), default=None, return_dtype=pl.Int32)
    if events.null_count():
        unknown = texts.filter(events.is_null()).unique().sort().to_list()
        raise DataError(
            f"history: unknown event kind {', '.join(map(repr, unknown[:3]))}; expected one of {', '.join(kinds)}"
        )
    numbers = events.to_numpy()
    return pl.Series(weigh_events(files, numbers, values)), pl.Series(mark_consumed(files, numbers))


def _read_times(history: pl.DataFrame, cutoff: datetime | None) -> pl.Series:
    """Return the times as UTC microseconds; all null if there are none."""
    kind = pl.Datetime("us", "UTC")
    if "time" not in history.columns:
        return pl.repeat(None, history.height, dtype=kind, eager=True)
    times = history["time"]
    if not isinstance(times.dtype, pl.Datetime):
        raise DataError(f"history: column time is {times.dtype}, expected datetimes; convert it to datetimes in UTC")
    times = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times.dt.convert_time_zone("UTC")
    times = times.cast(kind)
    if cutoff is not None and (late := int((times >= cutoff).sum())):
        raise DataError(
            f"history: {late:,} interaction{'s are' if late != 1 else ' is'} not before {cutoff.isoformat()}, the "
            "cutoff of the model's training data; remove newer rows, or train and promote with a later --run-date"
        )
    return times
