"""Successive trainings: from scratch each time, continued from the one before, and the first one for ever.

    RECSYS_DATA=… python tests/benchmarks/continual.py --config configs/online_retail.yaml
    RECSYS_DATA=… python tests/benchmarks/continual.py --config configs/ml1m.yaml --windows 4 --keep ml1m --trainings 2

The last events of the data are cut into windows of the same number of events. Before each window, an evaluation model
is trained from scratch, and another one continues from the one before (`recsys train --from champion`); the first one
is also kept as it is, with fresh histories, like a champion that is never retrained. All make lists for the window.
Differences to training from scratch are paired by user, with 95 % bootstrap intervals, window by window and over all.

Seconds are CPU time on one thread, which other work on the machine changes little. `--keep` names a folder that every
training is kept in, so a run that was stopped goes on where it was; `--trainings` stops it on purpose.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import process_time

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
from recsys.storage.folders import write_folder
from recsys.training.continuation import check_continuation
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import continue_bundle, fit_bundle
from recsys.training.measurement import measure

SCRATCH, CONTINUED, NEVER = "from scratch", "continued", "never retrained"


class EnoughTrainingsError(Exception):
    """As many trainings were done as this run may do."""


@dataclass
class Successive:
    """The trainings of one set, each done once and kept in a folder.

    Attributes:
        config: settings, on one thread.
        folder: of the trainings.
        items: `Items`.
        windows: of each training, oldest first.
        scratch: number of the last window that is also trained for from scratch.
        left: how many trainings this run may still do; None: all.
    """

    config: Config
    folder: Path
    items: pl.DataFrame
    windows: list[Windows]
    scratch: int
    left: int | None

    def train(self, number: int, name: str) -> tuple[Path, float]:
        """Return the folder of a bundle, and the seconds that its training took."""
        folder = self.folder / f"{number}-{name.replace(' ', '-')}"
        seconds = folder / "seconds.txt"
        if not seconds.is_file():
            if self.left == 0:
                raise EnoughTrainingsError
            bundle, spent = take_time(self._choose_training(number, name))
            write_folder(folder, partial(self._write, bundle, spent), {"kind": "benchmark"})
            self.left = None if self.left is None else self.left - 1
        return folder, float(seconds.read_text())

    @staticmethod
    def _write(bundle: Bundle, seconds: float, folder: Path) -> None:
        bundle.save(folder)
        (folder / "seconds.txt").write_text(str(seconds))

    def _choose_training(self, number: int, name: str) -> Callable[[], Bundle]:
        if name == SCRATCH:
            return partial(train_from_scratch, self.config, self.items, self.windows[number - 1])
        before, _ = self.train(number - 1, CONTINUED if number > 2 else SCRATCH)
        return partial(train_on, self.config, self.items, self.windows[number - 1], Bundle.load(before))

    def measure(self, number: int) -> Iterator[tuple[str, NDArray[np.float64], float]]:
        """Yield each model's name, metric by user and seconds of training; the first training is the same for all."""
        names = [*([SCRATCH] if number <= max(1, self.scratch) else []), *([CONTINUED, NEVER] if number > 1 else [])]
        for name in names:
            folder, spent = self.train(1, SCRATCH) if name == NEVER else self.train(number, name)
            file = self.folder / f"{number}-{name.replace(' ', '-')}.npy"
            if not file.is_file():
                measured = measure(Bundle.load(folder), self.windows[number - 1].test, self.items, baselines=False)
                np.save(file, read_values(measured, OURS, self.config.evaluation.metric, self.config.evaluation.n))
            yield name, np.load(file), spent


def main() -> None:
    """Train for each window and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=6, metavar="N", help="number of successive windows")
    parser.add_argument("--share", type=float, default=0.04, help="of all events in each of them")
    parser.add_argument("--scratch", type=int, metavar="N", help="last window trained for from scratch; default: all")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the trainings; default: none is kept")
    parser.add_argument("--trainings", type=int, metavar="N", help="stop after as many; run it again to go on")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = apply_settings(load_config(given.config), {"threads": 1})
    found = ingest(config.dataset, now=datetime.now(UTC))
    windows = split_successive(config, found.interactions, given.windows, given.share)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        scratch = given.windows if given.scratch is None else given.scratch
        compare(Successive(config, folder, found.items, windows, scratch, given.trainings))


def compare(successive: Successive) -> None:
    """Print the metric of each window, of those that were trained for together, and what the trainings took."""
    metric, n = successive.config.evaluation.metric, successive.config.evaluation.n
    measured: list[dict[str, NDArray[np.float64]]] = []
    seconds: dict[str, list[float]] = {SCRATCH: [], CONTINUED: []}
    for number, windows in enumerate(successive.windows, 1):
        test = windows.test
        try:
            found = list(successive.measure(number))
        except EnoughTrainingsError:
            print("stopped; run it again to go on")
            break
        print(f"window {number}, {test.cutoff} to {test.end}, {metric}@{n}")
        values = {name: own for name, own, _ in found}
        print_values(values, {name: spent for name, _, spent in found if name != NEVER})
        # The first window's training is a full one in any case.
        if number > 1:
            measured.append(values)
            for name in seconds.keys() & values.keys():
                seconds[name] += [spent for own, _, spent in found if own == name]
    for reference in (SCRATCH, CONTINUED):
        if windows_with := [values for values in measured if reference in values]:
            names = [*windows_with[0]][[*windows_with[0]].index(reference) :]
            pooled = {name: np.concatenate([values[name] for values in windows_with]) for name in names}
            print(f"windows 2 to {len(windows_with) + 1} together, {len(pooled[reference]):,} users and windows")
            print_values(pooled, {})
    if seconds[SCRATCH] and seconds[CONTINUED]:
        print(", ".join(f"{name} {np.mean(spent):.1f} s a training" for name, spent in seconds.items()))
        print(f"continued / from scratch {np.mean(seconds[CONTINUED]) / np.mean(seconds[SCRATCH]):.2f}")


def print_values(values: dict[str, NDArray[np.float64]], seconds: dict[str, float]) -> None:
    """Print a line per model, with its difference to the first one."""
    reference = None
    for name, own in values.items():
        note = f"   {seconds[name]:.0f} s" if name in seconds else ""
        print("   ", describe(name, own, reference) + note, flush=True)
        reference = own if reference is None else reference


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
    return continue_bundle(config, items, windows.measurement_fold, before).bundle


def take_time(train: Callable[[], Bundle]) -> tuple[Bundle, float]:
    """Return what a training returns, and its CPU seconds."""
    start = process_time()
    return train(), process_time() - start


if __name__ == "__main__":
    main()
