"""What it costs or gains that the refit keeps the evaluation model's choices about the ranker, such as its trees.

    RECSYS_DATA=… python tests/benchmarks/refit_choice.py --config configs/demo.yaml
    RECSYS_DATA=… python tests/benchmarks/refit_choice.py --config configs/demo.yaml --trees 110 200

A refit has no label window after it, so this one is as of the start of the config's test window: an evaluation model is
fitted on the windows one test window earlier, then two refits on the same texts and windows, one with its choices and
one that chooses again. Both make lists for the test window; differences are paired by user, with 95 % bootstrap
intervals. `--trees` compares two refits with these numbers of trees and otherwise the evaluation model's choices.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ablations import describe, read_values

from recsys.config import load_config
from recsys.dataset.ingestion import ingest
from recsys.dataset.windows import resolve_end, split_windows
from recsys.evaluation.comparison import OURS
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import Fitted, fit_bundle, fit_text
from recsys.training.measurement import measure


def main() -> None:
    """Train three times and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--trees", type=int, nargs=2, metavar="N", help="compare refits with these numbers of trees")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config(given.config)
    found = ingest(config.dataset, now=datetime.now(UTC))
    items, repeats = found.items, config.dataset.repeats
    end = resolve_end(found.interactions, None)
    test = split_windows(found.interactions, config.windows, repeats=repeats, end=end, seed=config.seed).test
    earlier = split_windows(found.interactions, config.windows, repeats=repeats, end=test.cutoff, seed=config.seed)
    encoder_inputs = prepare_encoder_inputs(config, items, earlier.measurement_fold.labels[-1].cutoff)
    evaluated = fit_bundle(config, items, encoder_inputs, earlier.measurement_fold)
    # From here on with the measured values of `auto` settings, as a training does.
    config = evaluated.bundle.config
    text = fit_text(config, items, encoder_inputs, earlier.refit_fold)
    metric, n = config.evaluation.metric, config.evaluation.n
    refits: dict[str, Fitted | None] = {"chooses again": None, "keeps the choice": evaluated}
    if given.trees:
        refits = {f"{trees} trees": _with_trees(evaluated, trees) for trees in given.trees}
    values = {}
    for name, choice in refits.items():
        fitted = fit_bundle(config, items, encoder_inputs, earlier.refit_fold, text=text, evaluated=choice)
        measured = measure(fitted.bundle, test, items, baselines=False)
        values[name] = read_values(measured, OURS, metric, n)
        print(f"{name}: {fitted.bundle.ranker.describe()}", flush=True)
    (first, a), (second, b) = values.items()
    print(f"{config.name}, {len(a):,} users, {metric}@{n}")
    print(describe(first, a, None))
    print(describe(second, b, a))
    print(f"ratio {b.mean() / a.mean():.3f}")


def _with_trees(evaluated: Fitted, trees: int) -> Fitted:
    ranker = evaluated.bundle.ranker
    ranker = replace(ranker, choice=replace(ranker.choice, trees=trees))
    return replace(evaluated, bundle=replace(evaluated.bundle, ranker=ranker))


if __name__ == "__main__":
    main()
