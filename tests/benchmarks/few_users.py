"""What the ranker gains over the blend where there are few users: subsamples of 300 to 1,000 users of real sets.

    RECSYS_DATA=… python tests/benchmarks/few_users.py --rows FOLDER
    RECSYS_DATA=… python tests/benchmarks/few_users.py --rows FOLDER --most-rows 30000 --set ranking.max_trees=100

Each subsample keeps the catalogue and the events of users drawn at random, and the config's windows. The texts are
embedded once per set, by the untouched checkpoint. The candidates of its label windows and of its test window are
written to FOLDER with their features, so another ranker is tried on the same rows without fitting the models again.
Differences are paired by user, with 95 % bootstrap intervals; `better` and `worse` are subsamples whose interval is
above or below zero. Beside the lists of the share of the blend that the folds chose stand those of every other share.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.dataset.histories import build_histories
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import Windows, resolve_end, split_windows
from recsys.evaluation.intervals import Estimate, compare_paired
from recsys.ranking.groups import Groups
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import find_starts, mark_positives, read_column, share_negatives, thin_negatives
from recsys.training.encoder_inputs import EncoderInputs, prepare_encoder_inputs
from recsys.training.fitting import complete_bundle
from recsys.training.text_models import fit_text

_SETS = ("ml100k", "ml1m", "ifdb", "online_retail")
_FEWEST, _MOST = 300, 1_000
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)
_KEYS = ("user_index", "item_index", "label")
# The ranker of the bundle that proposes the candidates is not used.
_CHEAP = {
    "text.fine_tune.epochs": 0,
    "ranking.min_users_for_folds": 1_000_000,
    "ranking.fixed_trees": 1,
    "threads": 1,
}


@dataclass(frozen=True)
class Shop:
    """The candidates of a subsample.

    Attributes:
        name: the set and the seed of the subsample.
        training: `TrainingRows` of the label windows.
        test: keys, `label`, `positives` (of the user, proposed or not) and features of the test window's candidates.
        features: columns that the ranker may learn from.
        sources: whose z-scores the blend weighs.
    """

    name: str
    training: pl.DataFrame
    test: pl.DataFrame
    features: list[str]
    sources: list[str]

    def measure(self, scores: NDArray[np.float32], n: int) -> NDArray[np.float64]:
        """Return (n_users) nDCG@n of the test window by (n_rows) scores; positives that nothing proposed are missed."""
        totals = self.test["positives"].to_numpy()[find_starts(self.test)[:-1]]
        return Groups(self.test).measure(scores, n, totals)

    def score(self, ranker: Ranker) -> NDArray[np.float32]:
        """Return (n_rows) float32: the ranker's scores of the test window."""
        names = [*ranker.features, *(f"{source}_z" for source in ranker.blend.weights)]
        return ranker.score({name: read_column(self.test, name) for name in names}, find_starts(self.test))


class Shops:
    """Subsamples of one set, over the same catalogue."""

    def __init__(self, config: Config) -> None:
        found = ingest(config.dataset, now=datetime.now(UTC))
        self.config, self.items, self._interactions = config, found.items, found.interactions
        self._end = resolve_end(found.interactions, None)
        self._inputs: EncoderInputs | None = None

    def make(self, seed: int) -> Shop:
        """Draw users, fit the models that propose on their events, and describe the candidates."""
        windows = self._split(seed)
        fold, test = windows.measurement_fold, windows.test
        if self._inputs is None:
            self._inputs = prepare_encoder_inputs(self.config, self.items, fold.labels[-1].cutoff)
        text = fit_text(self.config, self.items, self._inputs, fold)
        fitted = complete_bundle(self.config, self.items, text, fold)
        histories = build_histories(test.history, self.items, test.cutoff)
        users = histories.take(histories.user_ids.gather(histories.number_pairs(test.positives)["user_index"].unique()))
        recommender = fitted.bundle.prepare(self.items, histories)
        positives = users.number_pairs(test.positives.drop("events"))
        rows = mark_positives(recommender.describe_candidates(users), positives)
        totals = positives.group_by("user_index").agg(positives=pl.len())
        return Shop(
            f"{self.config.name} {seed}",
            fitted.rows,
            rows.join(totals, on="user_index", how="left", maintain_order="left"),
            recommender.features,
            recommender.source_names,
        )

    def _split(self, seed: int) -> Windows:
        draws = np.random.default_rng(seed)
        users = self._interactions["user_id"].unique().sort()
        drawn = users.gather(np.sort(draws.permutation(len(users))[: draws.integers(_FEWEST, _MOST + 1)]))
        kept = self._interactions.filter(pl.col("user_id").is_in(drawn.implode()))
        config = self.config
        return split_windows(kept, config.windows, repeats=config.dataset.repeats, end=self._end, seed=config.seed)


def read_shops(name: str, seeds: list[int], folder: Path) -> Iterator[Shop]:
    """Yield the subsamples of a set, read from the folder or made and written there."""
    shops: Shops | None = None
    for seed in seeds:
        paths = {part: folder / f"{name}_{seed}_{part}.parquet" for part in ("training", "test")}
        if not all(path.exists() for path in paths.values()):
            if shops is None:
                shops = Shops(apply_settings(load_config(Path("configs") / f"{name}.yaml"), _CHEAP))
            made = shops.make(seed)
            made.training.write_parquet(paths["training"])
            made.test.write_parquet(paths["test"])
        training, test = (pl.read_parquet(path) for path in paths.values())
        features = [column for column in training.columns if column in test.columns and column not in _KEYS]
        ranked = [column.removesuffix("_rank") for column in features if column.endswith("_rank")]
        sources = [source for source in ranked if f"{source}_z" in features]
        yield Shop(f"{name} {seed}", training, test, features, sources)


def try_shop(shop: Shop, config: Config, most_rows: int) -> dict[str, Estimate]:
    """Fit a ranker to a subsample and print what it reaches; return the gain over the blend of each share."""
    started, n = time.perf_counter(), config.evaluation.n
    rows = thin_negatives(shop.training, share_negatives(shop.training, most_rows), config.seed)
    ranker = Ranker.fit(rows, shop.features, shop.sources, config.ranking, n=n, seed=config.seed, threads=1)
    seconds = time.perf_counter() - started
    blend = shop.measure(ranker.blend.score_rows(shop.test), n)

    def compare(share: float | None) -> Estimate:
        mixed = replace(ranker, choice=replace(ranker.choice, blend_share=share))
        return compare_paired(shop.measure(shop.score(mixed), n), blend, 1000, 0.95, 0)

    gap = compare(ranker.blend_share)
    print(
        f"{shop.name:15s} {len(blend):4d} users, {len(find_starts(rows)) - 1:4d} groups | blend {blend.mean():.4f} "
        f"ours {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] | {seconds:.0f} s, {ranker.describe()}",
        flush=True,
    )
    return {"chosen": gap, **{f"trees + {share:g} x blend": compare(share) for share in _SHARES}}


def print_gains(name: str, gains: list[dict[str, Estimate]]) -> None:
    """Print the mean over subsamples of what each share of the blend gains over the blend alone."""
    for share in gains[0]:
        means, lows, highs = np.array([(each[share].mean, each[share].low, each[share].high) for each in gains]).T
        print(
            f"{name:13s} {share:20s} {means.mean():+.4f}, lowest {means.min():+.4f}; better {(lows > 0).sum()}, worse "
            f"{(highs < 0).sum()} of {len(means)}",
            flush=True,
        )


def main() -> None:
    """Print a line for each subsample, and how often ours is better or worse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="folder that keeps the candidates")
    parser.add_argument("--sets", nargs="+", choices=_SETS, default=list(_SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="of the subsamples")
    parser.add_argument("--most-rows", type=int, default=400_000, help="that a ranker learns from")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the ranker")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    given.rows.mkdir(parents=True, exist_ok=True)
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    every = []
    for name in given.sets:
        config = apply_settings(load_config(Path("configs") / f"{name}.yaml"), changes)
        gains = [try_shop(shop, config, given.most_rows) for shop in read_shops(name, given.seeds, given.rows)]
        print_gains(name, gains)
        every += gains
    print_gains("all", every)


if __name__ == "__main__":
    main()
