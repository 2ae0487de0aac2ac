"""The windows of a training or a search, split from a snapshot."""

from __future__ import annotations

from datetime import datetime

from recsys.artifacts.snapshots import Snapshot
from recsys.config import Config, data_path
from recsys.dataset.cleaning import clean_ids
from recsys.dataset.reading import read_table
from recsys.dataset.windows import Windows, split_windows
from recsys.progress import log_stage


def split_snapshot(config: Config, snapshot: Snapshot, end: datetime | None) -> Windows:
    """Return the windows of a training as of `end`; None for data without times.

    Raises:
        DataError: a window has no history or nothing to predict, or the hold-out file cannot be read.
    """
    with log_stage("windows") as done:
        holdout = None
        if config.windows.holdout_path:
            columns = config.dataset.interactions.columns
            wanted = {"user_id": columns.user_id, "item_id": columns.item_id}
            pairs = read_table("hold-out pairs", data_path(config.windows.holdout_path), wanted).values
            holdout = pairs.select(clean_ids(pairs[name]).alias(name) for name in wanted)
        windows = split_windows(
            snapshot.interactions,
            config.windows,
            repeats=config.dataset.repeats,
            end=end,
            seed=config.seed,
            holdout=holdout,
        )
        sizes = [f"{window.name} {window.positives.height:,} positives" for window in windows.windows]
        done(f"{windows.everything.height:,} interactions before {end or 'the end'}; " + ", ".join(sizes))
    return windows
