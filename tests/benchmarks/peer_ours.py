"""Our part of `peers.py`: the evaluation model of a config, and its lists for the users of the test window."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recsys.candidates.merge import map_blocks
from recsys.config import Config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import Window, resolve_end, split_windows
from recsys.serving.bundle import Bundle
from recsys.serving.list_maker import ListMaker, UserLimits
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import fit_bundle


def make_our_lists(config: Config, folder: Path) -> None:
    """Fit, recommend, and write lists and costs as a peer's program does."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(config.threads)
    found = ingest(config.dataset, now=datetime.now(UTC))
    end = resolve_end(found.interactions, None)
    windows = split_windows(
        found.interactions, config.windows, repeats=config.dataset.repeats, end=end, seed=config.seed
    )
    started = time.process_time()
    fold = windows.measurement_fold
    encoder_inputs = prepare_encoder_inputs(config, found.items, fold.labels[-1].cutoff)
    bundle = fit_bundle(config, found.items, encoder_inputs, fold).bundle
    training = time.process_time() - started
    started = time.process_time()
    lists = recommend(bundle, windows.test, found.items)
    recommending = time.process_time() - started
    peak = measure_peak()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lists.parquet"
    lists.write_parquet(path)
    costs = {"train": training, "recommend": recommending, "peak": peak, "lists": str(path.absolute())}
    chosen = {"settings": {}, "chosen": bundle.ranker.describe()}
    (folder / "done.json").write_text(json.dumps(costs | chosen), encoding="utf-8")


def measure_peak() -> float:
    """Return the largest memory so far in GB, as the peers' programs do."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def recommend(bundle: Bundle, window: Window, items: pl.DataFrame) -> pl.DataFrame:
    """Return `user_id`, `rank`, `item_id` of the users who have a history and took something in the window."""
    histories = build_histories(window.history, items, window.cutoff)
    known = histories.number_pairs(window.positives.select("user_id", "item_id"))
    users = histories.take(histories.user_ids.gather(known["user_index"].unique()))
    config = bundle.config
    recommender = bundle.prepare(bundle.block_lists.withhold(items), histories)
    maker = ListMaker(recommender, bundle.ranker, config.generation, histories.ages_until)
    limits = UserLimits.of(users, bundle.block_lists.pairs)
    n = config.evaluation.n

    def make(first_user: int, block: Histories) -> np.ndarray:
        own = limits.select(first_user, block.n_users)
        return maker.make_lists(block, own, max(n, config.generation.n), with_reasons=False).items[:, :n]

    found = np.vstack(map_blocks(make, users))
    user, rank = np.nonzero(found >= 0)
    return pl.DataFrame(
        {
            "user_id": users.user_ids.gather(user),
            "rank": rank + 1,
            "item_id": users.item_ids.gather(found[user, rank]),
        }
    )
