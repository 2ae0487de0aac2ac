"""A night's inputs on disk, and the task that makes one shard, on this machine or on another."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts.night_samples import BASELINES, FEATURES, VECTORS
from recsys.artifacts.shards import ShardFolder
from recsys.candidates.statistics import ItemStatistics
from recsys.config import parse_config
from recsys.dataset.histories import Histories
from recsys.ranking.evidence import Evidence
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.serving.night_sample import sample_vectors
from recsys.storage.files import read_json, read_parquet, scan_parquet, write_json
from recsys.tables import FALLBACK

# The arrays of `Histories` that are read shard by shard.
_ENTRIES = ("items", "weights", "counts", "consumed", "ages", "first_ages", "strongest")
# The night that this process makes shards for.
_LOADED: dict[Path, tuple[BatchRecommender, Histories | None]] = {}


@dataclass(frozen=True)
class ShardTask:
    """Makes shards and writes them to the folder of the night; small enough to be sent to another process.

    Attributes:
        inputs: folder from `save_inputs`; every machine must see it under the same path.
        shards: folder of the finished shards.
        size: users in a shard.
        run_date: for messages.
        first: number of the shard that holds the first of the users.
    """

    inputs: Path
    shards: Path
    size: int
    run_date: str
    first: int = 0

    def __call__(self, number: int) -> dict[str, int]:
        """Make a shard, write it, and return its counts."""
        if self.inputs not in _LOADED:
            _LOADED.clear()
            _LOADED[self.inputs] = (_load_night(self.inputs), None)
        night, everyone = _LOADED[self.inputs]
        start = (number - self.first) * self.size
        run = slice(start, start + self.size)
        item_ids = night.recommender.items["item_id"]
        users = _load_users(self.inputs, run, item_ids) if everyone is None else everyone.select(run)
        lists, sample = night.recommend_and_sample(users)
        counts = count_lists(lists, users.n_users, night.config.generation.n)
        if night.recommender.factor_cache:
            night.recommender.factor_cache.write(number)
        samples = {} if sample is None else {BASELINES: sample.baselines, FEATURES: sample.features}
        # The catalogue is the same in every shard.
        if night.sample_share and number == self.first:
            samples[VECTORS] = sample_vectors(night.recommender)
        what = f"recommendations for {self.run_date}, shard {number}"
        ShardFolder(self.shards).write(number, lists, counts, what, samples)
        return counts

    def keep_here(self, night: BatchRecommender, users: Histories) -> None:
        """Let this process use what it has in memory instead of reading the inputs."""
        _LOADED.clear()
        _LOADED[self.inputs] = (night, users)

    def forget(self) -> None:
        """Release what `keep_here` keeps."""
        _LOADED.clear()


def count_lists(lists: pl.DataFrame, users: int, n: int) -> dict[str, int]:
    """Return the counts of a manifest: users, rows, fallback rows, users with a short list and with an empty list."""
    lengths = lists.group_by("user_id").len()["len"]
    return {
        "users": users,
        "rows": lists.height,
        "fallback_rows": lists.filter(pl.col("sources").list.first() == FALLBACK).height,
        "short_lists": users - int((lengths >= n).sum()),
        "empty_lists": users - len(lengths),
    }


def add_counts(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Return the sums."""
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}


def save_inputs(folder: Path, night: BatchRecommender, users: Histories) -> None:
    """Write what other processes need to make shards of this night.

    Args:
        folder: replaced if it exists.
        night: whose shards they are.
        users: of the active users.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bundle").mkdir(parents=True)
    night.bundle.save(folder / "bundle")
    recommender, cache = night.recommender, night.recommender.factor_cache
    recommender.items.write_parquet(folder / "items.parquet")
    night.blocked.write_parquet(folder / "blocked.parquet")
    pl.DataFrame({"user_id": users.user_ids}).write_parquet(folder / "users.parquet")
    for name in ("starts", *_ENTRIES):
        np.save(folder / f"{name}.npy", getattr(users, name), allow_pickle=False)
    arrays = {"embeddings": recommender.embeddings, **recommender.statistics.to_arrays(), **night.evidence.to_arrays()}
    np.savez(folder / "catalogue.npz", allow_pickle=False, **arrays)
    write_json(
        folder / "night.json",
        {
            "config": night.config.resolved(),
            "model_version": night.model_version,
            "variant": night.variant,
            "sample_share": night.sample_share,
            "shown": [[str(path.resolve()) for path in files] for files in night.shown],
            "factors": [str(cache.folder.resolve()), cache.run] if cache else None,
            "cutoff": users.cutoff.isoformat() if users.cutoff else None,
            "ages_until": users.ages_until.isoformat() if users.ages_until else None,
            "ordered": users.ordered,
        },
    )


def _read_facts(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(folder / "night.json")
    return content


def _read_instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _load_night(folder: Path) -> BatchRecommender:
    facts = _read_facts(folder)
    config = parse_config(facts["config"], str(folder / "night.json"))
    bundle = Bundle.load(folder / "bundle")
    cache = None
    if facts["factors"]:
        cache_folder, run = facts["factors"]
        cache = bundle.candidate_models["als"].open_cache(Path(cache_folder), run)
    with np.load(folder / "catalogue.npz", allow_pickle=False) as parts:
        arrays: dict[str, NDArray[Any]] = dict(parts)
    items = read_parquet(folder / "items.parquet")
    recommender = bundle.assemble(
        items,
        bundle.make_item_texts(items),
        arrays["embeddings"],
        ItemStatistics.from_arrays(arrays),
        _read_instant(facts["cutoff"]),
        cache,
    )
    return BatchRecommender(
        config,
        bundle,
        recommender,
        facts["model_version"],
        Evidence.from_arrays(arrays),
        _read_instant(facts["ages_until"]),
        read_parquet(folder / "blocked.parquet"),
        [[Path(path) for path in files] for files in facts["shown"]],
        facts["variant"],
        facts["sample_share"],
    )


def _load_users(folder: Path, run: slice, item_ids: pl.Series) -> Histories:
    """Read only the entries of consecutive users: memory grows with the shard, not with the number of users."""
    facts = _read_facts(folder)
    starts = np.array(np.load(folder / "starts.npy", mmap_mode="r")[run.start : run.stop + 1])
    entries = {
        name: np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[starts[0] : starts[-1]]) for name in _ENTRIES
    }
    users = scan_parquet(folder / "users.parquet").slice(run.start, len(starts) - 1).collect()["user_id"]
    return Histories(
        user_ids=users,
        item_ids=item_ids,
        starts=starts - starts[0],
        cutoff=_read_instant(facts["cutoff"]),
        ages_until=_read_instant(facts["ages_until"]),
        ordered=facts["ordered"],
        **entries,
    )
