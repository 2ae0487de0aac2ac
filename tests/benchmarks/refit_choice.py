"""What the refit gains or loses by continuing from the evaluation model, beside one that is trained from scratch.

    RECSYS_DATA=… python tests/benchmarks/refit_choice.py --config configs/demo.yaml
    RECSYS_DATA=… python tests/benchmarks/refit_choice.py --config configs/demo.yaml --trees 110 200

A refit has no label window after it, so this one is as of the start of the config's test window: an evaluation model is
fitted on the windows one test window earlier, then models that could serve: one trained from scratch on the moved
windows, which fine-tunes the encoder again and chooses its own ranker; the same with the evaluation model's choices;
and one that continues from the evaluation model, as `recsys train` does. All make lists for the test window;
differences to the last one are paired by user, with 95 % bootstrap intervals. `--trees` compares refits with these
numbers of trees and otherwise the evaluation model's choices.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import polars as pl
from ablations import describe, read_values

from recsys.config import Config, load_config
from recsys.config.plugins import order_sources
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import Fold, resolve_end, split_windows
from recsys.evaluation.comparison import OURS
from recsys.ranking.ranker import Ranker
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle, refit_bundle
from recsys.training.measurement import measure


def main() -> None:
    """Train three times and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--trees", type=int, nargs="+", metavar="N", help="compare refits with these numbers of trees")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config(given.config)
    found = ingest(config.dataset, now=datetime.now(UTC))
    items, repeats = found.items, config.dataset.repeats
    end = resolve_end(found.interactions, None)
    test = split_windows(found.interactions, config.windows, repeats=repeats, end=end, seed=config.seed).test
    earlier = split_windows(test.history, config.windows, repeats=repeats, end=test.cutoff, seed=config.seed)
    encoder_inputs = prepare_encoder_inputs(config, items, earlier.measurement_fold.labels[-1].cutoff)
    evaluated = fit_bundle(config, items, encoder_inputs, earlier.measurement_fold)
    # From here on with the measured values of `auto` settings, as a training does.
    config = evaluated.bundle.config
    metric, n, fold = config.evaluation.metric, config.evaluation.n, earlier.refit_fold
    fits: dict[str, Callable[[], Fitted]]
    if given.trees:
        fits = {f"{n} trees": partial(refit_bundle, items, fold, _with_trees(evaluated, n)) for n in given.trees}
    else:
        scratch = cache(partial(_train_from_scratch, config, items, fold))
        fits = {
            "trained from scratch": scratch,
            "from scratch, choices kept": lambda: _keep_choice(scratch(), evaluated),
            "continued": partial(refit_bundle, items, fold, evaluated),
        }
    values = {}
    for name, fit in fits.items():
        start = perf_counter()
        fitted = fit()
        seconds = perf_counter() - start
        measured = measure(fitted.bundle, test, items, baselines=False)
        values[name] = read_values(measured, OURS, metric, n)
        print(f"{name}: {seconds:.1f} s; {fitted.bundle.ranker.describe()}", flush=True)
    print(f"{config.name}, {len(values[name]):,} users, {metric}@{n}")
    for other in values:
        print(describe(other, values[other], None if other == name else values[name]))


def _train_from_scratch(config: Config, items: pl.DataFrame, fold: Fold) -> Fitted:
    return fit_bundle(config, items, prepare_encoder_inputs(config, items, fold.labels[-1].cutoff), fold)


def _keep_choice(fitted: Fitted, evaluated: Fitted) -> Fitted:
    """Return a model whose ranker is fitted again with the choices of another."""
    config, ranker = fitted.bundle.config, fitted.bundle.ranker
    again = Ranker.fit(
        fitted.rows,
        ranker.features,
        order_sources(config.candidates.depths),
        config.ranking,
        n=config.evaluation.n,
        seed=config.seed,
        threads=config.threads,
        choice=evaluated.bundle.ranker.choice,
    )
    return replace(fitted, bundle=replace(fitted.bundle, ranker=again))


def _with_trees(evaluated: Fitted, trees: int) -> Fitted:
    ranker = evaluated.bundle.ranker
    ranker = replace(ranker, choice=replace(ranker.choice, trees=trees))
    return replace(evaluated, bundle=replace(evaluated.bundle, ranker=ranker))


if __name__ == "__main__":
    main()
