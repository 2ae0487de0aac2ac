"""Whether the encoder of a continued training gains from newer events: lists of the interest model alone.

    RECSYS_DATA=… python tests/benchmarks/encoder_refresh.py --config configs/online_retail.yaml

The last events are cut into windows as in `continual.py`. A model is trained from scratch before the first; for each
of the chosen later windows its text models continue with the encoder as it is, and with steps of fine-tuning on what is
new before the oldest label window (`continuation.encoder_steps`). Lists are made by the interest model alone;
differences to the encoder that stays are paired by user, with 95 % bootstrap intervals, over all windows.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from continual import split_successive, train_from_scratch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.index import ItemIndex
from recsys.candidates.products import score_items
from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import find_recommendable
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import Window, Windows
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.metrics import METRICS, find_hits
from recsys.serving.bundle import Bundle
from recsys.training.text_models import TextModels, continue_text

_METRICS = {"ndcg@10": ("ndcg", 10), "recall@50": ("recall", 50)}
_STEPS = 30
_RATES = (2e-5, 1e-4)


def go_on(config: Config, items: pl.DataFrame, windows: Windows, earlier: Bundle, rate: float | None) -> TextModels:
    """Return text models as of the test window; the encoder stays if there is no learning rate."""
    steps = {"encoder_steps": _STEPS, "encoder_learning_rate": rate} if rate else {"encoder_steps": 0}
    changed = apply_settings(config, {"continuation": {**config.continuation.model_dump(), **steps}})
    fold = windows.measurement_fold
    # The label windows between the oldest and the test window would only take time.
    return continue_text(changed, items, replace(fold, labels=fold.labels[-1:]), earlier)


def measure(config: Config, items: pl.DataFrame, test: Window, text: TextModels) -> NDArray[np.float64]:
    """Return (n_metrics, n_users) values of lists by the interest model alone."""
    users = text.serving.histories.take(test.positives["user_id"].unique().sort())
    pairs = users.number_pairs(test.positives.drop("events")).select("user_index", "item_index").to_numpy()
    matrix = csr_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=(users.n_users, users.n_items))
    vectors = text.serving.interest.item_vectors(text.embeddings, text.vectors)
    index = ItemIndex(vectors, np.arange(users.n_items, dtype=np.int32))
    recommendable, found = find_recommendable(items, test.cutoff), []
    for first, shard in users.split(250):
        own = text.serving.interest.user_vectors(shard, vectors)
        scores = score_items(own, np.asarray(~own.any(axis=1)), index, users.n_items, approximate=False)
        excluded = Exclusions.of(shard, recommendable, repeats=config.dataset.repeats)
        positives = matrix[first : first + shard.n_users]
        hits = find_hits(scores.find_top(50, excluded), positives)
        found.append([METRICS[metric](hits, np.diff(positives.indptr), n) for metric, n in _METRICS.values()])
    return np.concatenate(found, axis=1)


def main() -> None:
    """Continue, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[2, 4, 6], metavar="N", help="numbers, the first is 1"
    )
    parser.add_argument("--share", type=float, default=0.04, help="of all events in each window")
    parser.add_argument("--bundle", type=Path, help="the first training, such as of continual.py --keep")
    given = parser.parse_args()
    config = apply_settings(load_config(given.config), {"threads": 1})
    found = ingest(config.dataset, now=datetime.now(UTC))
    successive = split_successive(config, found.interactions, 6, given.share)
    earlier = Bundle.load(given.bundle) if given.bundle else train_from_scratch(config, found.items, successive[0])
    rates: tuple[float | None, ...] = (None, *_RATES)
    values: dict[float | None, list[NDArray[np.float64]]] = {rate: [] for rate in rates}
    for windows in (successive[number - 1] for number in given.windows):
        for rate in rates:
            text = go_on(config, found.items, windows, earlier, rate)
            values[rate].append(measure(config, found.items, windows.test, text))
    reference = np.concatenate(values[None], axis=1)
    print(f"{config.name}: windows {given.windows}, {reference.shape[1]:,} users")
    for rate, each in values.items():
        name = f"{_STEPS} steps, learning rate {rate:g}" if rate else "the encoder stays"
        for metric, own, stays in zip(_METRICS, np.concatenate(each, axis=1), reference, strict=True):
            gain = compare_paired(own, stays, 1000, 0.95, 0)
            print(f"  {name:30} {metric} {own.mean():.4f} {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


if __name__ == "__main__":
    main()
