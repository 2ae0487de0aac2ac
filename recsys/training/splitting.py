"""The windows of a training or a search, split from a snapshot."""

from __future__ import annotations

from datetime import datetime

from recsys.artifacts.snapshots import OpenSnapshot, Snapshot
from recsys.config import Config
from recsys.config.raw_files import RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.id_map import IdMap
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.raw.reading import read_all
from recsys.dataset.raw.setting_names import HOLDOUT
from recsys.dataset.user_items import warn_of_unknown_ids
from recsys.dataset.windows import Windows, split_windows
from recsys.progress import format_count, log_stage

# Settings of the interactions that a hold-out file shares.
_FORM = ("separator", "header", "names", "encoding", "quote", "escape")


def split_snapshot(config: Config, snapshot: Snapshot | OpenSnapshot, end: datetime | None) -> Windows:
    """Return the windows of a training as of `end`; None for data without times.

    Raises:
        DataError: a window has no history or nothing to predict, or the hold-out file cannot be read.
    """
    with log_stage("windows") as done:
        holdout = None
        if config.windows.holdout_path:
            files = config.dataset.interactions
            wanted = {"user_id": files.columns.user_id, "item_id": files.columns.item_id}
            # Written as the interactions are, but in a file, not in a database or a workbook's sheet.
            form = {name: getattr(files, name) for name in _FORM}
            pairs = read_all(HOLDOUT, RawFiles(path=config.windows.holdout_path, **form), wanted)
            holdout = pairs.select(clean_ids(pairs[name], files.missing.get(name, ())).alias(name) for name in wanted)
            holdout = holdout.with_columns(name_users(config.dataset, holdout["user_id"]))
            what = f"{HOLDOUT} {config.windows.holdout_path}"
            warn_of_unknown_ids(holdout["item_id"].drop_nulls(), IdMap(snapshot.items["item_id"]), what)
        windows = split_windows(
            snapshot.interactions,
            config.windows,
            repeats=config.dataset.repeats,
            end=end,
            seed=config.seed,
            holdout=holdout,
        )
        sizes = [f"{window.name} {format_count(window.positives.height, 'positive')}" for window in windows.windows]
        done(f"{format_count(windows.known.count(), 'interaction')} before {end or 'the end'}; " + ", ".join(sizes))
    return windows
