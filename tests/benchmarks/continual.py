"""Successive trainings: from scratch each time, continued from the one before, and the first one for ever.

    RECSYS_DATA=… python tests/benchmarks/continual.py --config configs/online_retail.yaml
    RECSYS_DATA=… python tests/benchmarks/continual.py --config configs/ml1m.yaml --windows 6 --share 0.04

The last events of the data are cut into windows of the same number of events. Before each window, an evaluation model
is trained from scratch, and another one continues from the one before (`recsys train --from champion`); the first one
is also kept as it is, with fresh histories, like a champion that is never retrained. All make lists for the window.
Differences to training from scratch are paired by user, with 95 % bootstrap intervals, window by window and over all.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from ablations import describe, read_values
from numpy.typing import NDArray

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import Windows, resolve_end, split_windows
from recsys.evaluation.comparison import OURS
from recsys.serving.bundle import Bundle
from recsys.training.continuation import check_continuation
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import complete_bundle, fit_bundle
from recsys.training.measurement import measure
from recsys.training.text_models import continue_text

SCRATCH, CONTINUED, NEVER = "from scratch", "continued", "never retrained"


def main() -> None:
    """Train for each window and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=6, metavar="N", help="number of successive windows")
    parser.add_argument("--share", type=float, default=0.04, help="of all events in each of them")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = load_config(given.config)
    found = ingest(config.dataset, now=datetime.now(UTC))
    metric, n = config.evaluation.metric, config.evaluation.n
    values: dict[str, list[NDArray[np.float64]]] = {SCRATCH: [], CONTINUED: [], NEVER: []}
    seconds: dict[str, float] = dict.fromkeys((SCRATCH, CONTINUED), 0.0)
    first = before = None
    for number, windows in enumerate(split_successive(config, found.interactions, given.windows, given.share), 1):
        test, trained = windows.test, {}
        trained[SCRATCH], spent = take_time(partial(train_from_scratch, config, found.items, windows))
        trained[CONTINUED] = trained[SCRATCH]
        if before is not None:
            # The first window's training is a full one in any case.
            seconds[SCRATCH] += spent
            trained[CONTINUED], spent = take_time(partial(train_on, config, found.items, windows, before))
            seconds[CONTINUED] += spent
        before = trained[CONTINUED]
        first = trained[NEVER] = first or trained[SCRATCH]
        print(f"window {number}, {test.cutoff} to {test.end}, {metric}@{n}")
        for name, bundle in trained.items():
            measured = measure(bundle, test, found.items, baselines=False)
            values[name].append(read_values(measured, OURS, metric, n))
            reference = None if name == SCRATCH else values[SCRATCH][-1]
            print("   ", describe(name, values[name][-1], reference), flush=True)
    # The first window is the same for all.
    pooled = {name: np.concatenate(each[1:]) for name, each in values.items()}
    print(f"{config.name}, windows 2 to {given.windows} together, {len(pooled[SCRATCH]):,} users and windows")
    for name, each in pooled.items():
        print("   ", describe(name, each, None if name == SCRATCH else pooled[SCRATCH]))
    trainings = given.windows - 1
    print(", ".join(f"{name} {spent / trainings:.1f} s a training" for name, spent in seconds.items()))
    print(f"continued / from scratch {seconds[CONTINUED] / seconds[SCRATCH]:.2f}")


def split_successive(config: Config, interactions: pl.DataFrame, count: int, share: float) -> list[Windows]:
    """Return the windows of trainings whose test windows follow each other, each with the share of all events."""
    times, size = interactions["time"].sort(), round(share * interactions.height)
    last = resolve_end(interactions, None)
    ends = [times[len(times) - size * number] for number in range(count - 1, 0, -1)]
    found = []
    for end in [*ends, last]:
        known = int((times < end).sum())
        changed = apply_settings(
            config, {"windows": {**config.windows.model_dump(), "test_share": size / known, "test_days": None}}
        )
        repeats = config.dataset.repeats
        found.append(split_windows(interactions, changed.windows, repeats=repeats, end=end, seed=config.seed))
    return found


def train_from_scratch(config: Config, items: pl.DataFrame, windows: Windows) -> Bundle:
    """Return an evaluation model that starts from the checkpoint."""
    fold = windows.measurement_fold
    inputs = prepare_encoder_inputs(config, items, fold.labels[-1].cutoff)
    return fit_bundle(config, items, inputs, fold).bundle


def train_on(config: Config, items: pl.DataFrame, windows: Windows, before: Bundle) -> Bundle:
    """Return an evaluation model that continues from an earlier one."""
    check_continuation(config, items, windows.measurement_fold, before, "the training before")
    text = continue_text(config, items, windows.measurement_fold, before)
    return complete_bundle(config, items, text, windows.measurement_fold).bundle


def take_time(train: Callable[[], Bundle]) -> tuple[Bundle, float]:
    """Return what a training returns, and its seconds."""
    start = perf_counter()
    return train(), perf_counter() - start


if __name__ == "__main__":
    main()
