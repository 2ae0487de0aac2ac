"""The windows of protocols without a common clock: by position, at random, by item, or by a hold-out file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys.config import WindowsConfig
from recsys.errors import DataError

_PAIR = ["user_id", "item_id"]
# The history of a window, and what happened inside it.
Part = tuple[pl.DataFrame, pl.DataFrame]


def split_rows(
    everything: pl.DataFrame, config: WindowsConfig, repeats: bool, seed: int, holdout: pl.DataFrame | None
) -> list[Part]:
    """Return the history of each window and the rows inside it, newest first.

    The arguments are those of `split_windows`; with `global_time` there are none.
    """
    match config.protocol:
        case "leave_last_out":
            return _split_by_position(everything, config.label_windows, repeats)
        case "random":
            return _split_by_keys(everything, _PAIR, config.holdout_share, seed)
        case "cold_items":
            return _split_by_keys(everything, ["item_id"], config.holdout_share, seed)
        case "holdout_file":
            return _split_by_file(everything, holdout, config.holdout_share, seed)
    return []


def _split_by_position(everything: pl.DataFrame, label_windows: int, repeats: bool) -> list[Part]:
    """Window w holds each user's w-th positive row from the end; its history is all rows before that row.

    Without repeats only the row in which the user first takes an item can be a positive.
    """
    first = pl.col("step") == pl.col("step").filter("consumed").min().over(_PAIR)
    from_end = pl.col("step").rank("ordinal", descending=True).over("user_id") - 1
    positive = everything.filter(pl.lit(True) if repeats else first).filter("positive")
    positive = positive.with_columns(from_end.alias("from_end"))
    parts: list[Part] = []
    history = everything
    for number in range(label_windows + 1):
        inside = positive.filter((pl.col("from_end") == number) & (pl.col("step") > 0)).drop("from_end")
        limits = inside.select("user_id", pl.col("step").alias("limit"))
        # Each history is cut from the newer window's, so a user without a label here keeps no newer rows either.
        history = (
            history.join(limits, on="user_id", how="left", maintain_order="left")
            .filter(pl.col("limit").is_null() | (pl.col("step") < pl.col("limit")))
            .drop("limit")
        )
        parts.append((history, inside))
    return parts


def _split_by_keys(everything: pl.DataFrame, keys: Sequence[str], share: float, seed: int) -> list[Part]:
    """Window 0 takes a share of the distinct keys at random, window 1 the same share of the rest."""
    distinct = everything.select(keys).unique().sort(keys)
    order = np.random.default_rng(seed).permutation(distinct.height)
    count = max(1, round(distinct.height * share))
    test, rerank = (
        distinct[order[:count]],
        distinct[order[count : count + max(1, round(count * (1 - share)))]],
    )
    return _hold_out(everything, keys, test, rerank)


def _split_by_file(everything: pl.DataFrame, holdout: pl.DataFrame | None, share: float, seed: int) -> list[Part]:
    if holdout is None:
        raise DataError("windows: the hold-out file has no test pairs; check windows.holdout_path")
    test = holdout.select(_PAIR).drop_nulls().unique().sort(_PAIR)
    rest = everything.join(test, on=_PAIR, how="anti").select(_PAIR).unique().sort(_PAIR)
    order = np.random.default_rng(seed).permutation(rest.height)
    newest, *older = _hold_out(everything, _PAIR, test, rest[order[: max(1, round(rest.height * share))]])
    # Test pairs are often in their own file only; those that are also interactions have a `positive` flag.
    history, inside = newest
    only_in_file = test.join(everything, on=_PAIR, how="anti").with_columns(
        pl.lit(True).alias("positive"),
        pl.lit(None, dtype=pl.String).alias("event"),
        pl.lit(None, dtype=pl.UInt16).alias("position"),
    )
    inside = pl.concat([inside.select(*_PAIR, "positive", "event", "position"), only_in_file])
    return [(history, inside), *older]


def _hold_out(everything: pl.DataFrame, keys: Sequence[str], test: pl.DataFrame, rerank: pl.DataFrame) -> list[Part]:
    on = list(keys)
    before_test = everything.join(test, on=on, how="anti", maintain_order="left")
    before_rerank = before_test.join(rerank, on=on, how="anti", maintain_order="left")
    return [
        (before_test, everything.join(test, on=on, how="semi")),
        (before_rerank, before_test.join(rerank, on=on, how="semi")),
    ]
