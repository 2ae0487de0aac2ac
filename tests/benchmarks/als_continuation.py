"""ALS alone, from scratch with fewer and more epochs, and continued from window to window, on the config's test window.

    RECSYS_DATA=… python tests/benchmarks/als_continuation.py --config configs/ml1m.yaml
    RECSYS_DATA=… python tests/benchmarks/als_continuation.py --config configs/online_retail.yaml

A training fits ALS as of each label window and of the test window. Continued, the oldest is fitted from scratch, and
each later one takes a few epochs from the one before. Lists are made by the last one alone; differences to the config's
number of epochs from scratch are paired by user, with 95 % bootstrap intervals. Seconds are CPU time of one thread for
one fit.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.sources.als import AlsSource
from recsys.collab.als import AlsModel
from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import Histories, find_recommendable
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.metrics import METRICS, find_hits

_METRICS = {"ndcg@10": ("ndcg", 10), "recall@50": ("recall", 50)}


class Trial:
    """The histories of a training and the users of its test window."""

    def __init__(self, config: Config, share: float) -> None:
        found = ingest(config.dataset, now=datetime.now(UTC))
        changed = apply_settings(config, {"windows.test_share": share, "windows.test_days": None})
        windows = split_windows(
            found.interactions,
            changed.windows,
            repeats=config.dataset.repeats,
            end=resolve_end(found.interactions, None),
            seed=config.seed,
        )
        fold, test = windows.measurement_fold, windows.test
        cutoffs = [*((window.known, window.cutoff) for window in reversed(fold.labels)), (fold.known, fold.cutoff)]
        self.config = config
        # Oldest first; lists are made from the last one.
        self.histories = [known.gather(found.items, cutoff) for known, cutoff in cutoffs]
        self.users = self.histories[-1].take(test.positives["user_id"].unique().sort())
        pairs = self.users.number_pairs(test.positives.drop("events")).select("user_index", "item_index").to_numpy()
        shape = (self.users.n_users, self.users.n_items)
        self.positives = csr_array((np.ones(len(pairs), dtype=bool), pairs.T), shape=shape)
        self.recommendable = find_recommendable(found.items, test.cutoff)

    def fit(self, histories: Histories, epochs: int, start: AlsModel | None = None) -> tuple[AlsModel, float]:
        """Return a model and the CPU seconds that it took."""
        settings = self.config.collab.als.model_copy(update={"epochs": epochs, "refresh_epochs": epochs})
        begun = process_time()
        return AlsModel.fit(histories, settings, self.config.seed, 1, start=start), process_time() - begun

    def fit_chain(self, epochs: int) -> tuple[AlsModel, float]:
        """Return the last model of a chain, and the mean CPU seconds of those that continue."""
        model, seconds = self.fit(self.histories[0], self.config.collab.als.epochs)[0], []
        for histories in self.histories[1:]:
            model, spent = self.fit(histories, epochs, model)
            seconds.append(spent)
        return model, float(np.mean(seconds))

    def measure(self, model: AlsModel) -> dict[str, NDArray[np.float64]]:
        """Return (n_users) values of each metric."""
        source, found = AlsSource(model), []
        for first, shard in self.users.split(250):
            excluded = Exclusions.of(shard, self.recommendable, repeats=self.config.dataset.repeats)
            positives = self.positives[first : first + shard.n_users]
            hits = find_hits(source.score(shard).find_top(50, excluded), positives)
            counts = np.diff(positives.indptr)
            found.append([METRICS[metric](hits, counts, n) for metric, n in _METRICS.values()])
        return dict(zip(_METRICS, np.concatenate(found, axis=1), strict=True))


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.04, help="of all events in each window")
    given = parser.parse_args()
    trial = Trial(load_config(given.config), given.share)
    newest, full = trial.histories[-1], trial.config.collab.als.epochs
    print(f"{trial.config.name}: {trial.users.n_users:,} users, {len(newest.items):,} pairs")
    reference = None
    lines = [(f"from scratch, {epochs} epochs", trial.fit(newest, epochs)) for epochs in (full, 3, 5, 2 * full)]
    lines += [(f"continued, {epochs} epochs each", trial.fit_chain(epochs)) for epochs in (1, 2, 3, 5)]
    for name, (model, seconds) in lines:
        values = trial.measure(model)
        reference = reference or values
        texts = []
        for metric, own in values.items():
            found = compare_paired(own, reference[metric], 1000, 0.95, 0)
            texts.append(f"{metric} {own.mean():.4f} {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]")
        print(f"  {name:26} {'   '.join(texts)}   {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
