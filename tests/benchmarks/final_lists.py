"""What the final lists of a config reach on its test window, beside every baseline; the run without refit and registry.

    RECSYS_DATA=… python tests/benchmarks/final_lists.py --config configs/ml1m.yaml
    RECSYS_DATA=… python tests/benchmarks/final_lists.py --config configs/online_retail.yaml --set dataset.repeats=false

Prints what the data said where the config left it open, what ranks and why, the mean of every model with its 95 %
interval and ours minus it, paired by user, the recall of cold items, the candidate ledger, what the trees lean on, what
shifted between training and test, and what it cost.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from pathlib import Path

import polars as pl
import yaml
from ablations import Laboratory

from recsys.config import load_config
from recsys.config.overrides import apply_settings
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.segments import compute_segments
from recsys.features.shift import measure_shift
from recsys.ranking.importance import measure_importance
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import measure

_SHOWN = 12


def main() -> None:
    """Train once and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    started = time.perf_counter()
    laboratory = Laboratory(config)
    catalogue, text = laboratory.catalogue, laboratory.text
    reading = time.perf_counter() - started
    test = laboratory.windows.test
    fitted = complete_bundle(config, laboratory.items, text, laboratory.windows.measurement_fold)
    fitting = time.perf_counter() - started - reading
    measured = measure(fitted.bundle, test, laboratory.items, baselines=True, zero_shot=catalogue.zero_shot)
    measuring = time.perf_counter() - started - reading - fitting
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    evaluation, ranker = config.evaluation, fitted.bundle.ranker
    pl.Config.set_tbl_rows(-1)
    pl.Config.set_tbl_cols(-1)
    pl.Config.set_tbl_width_chars(160)
    pl.Config.set_fmt_str_lengths(60)
    print(f"{config.name} {changes or ''}: {measured.lists['user_id'].n_unique():,} users")
    print(f"{reading:.0f} s reading texts, {fitting:.0f} s fitting, {measuring:.0f} s measuring; peak {peak:.1f} GB")
    print(f"what ranks: {ranker.describe()}")
    table = summarise(measured.user_metrics, OURS, evaluation, config.seed)
    wanted = pl.col("metric").is_in([evaluation.metric, "recall", "hit_rate"])
    numbers = ["mean", "low", "high", "difference", "difference_low", "difference_high"]
    shown = table.filter(wanted, pl.col("n").is_in({evaluation.n, max(evaluation.n_values)}))
    print(shown.select("model", "metric", "n", pl.col(numbers).round(4)))
    longest = evaluation.model_copy(update={"n": max(evaluation.n_values)})
    segments = compute_segments(measured.segments, measured.ranks_by_model, OURS, longest, config.seed)
    cold = segments.filter(pl.col("segment") == "cold", pl.col("metric") == "recall")
    print(cold.select("model", "metric", "n", "users", pl.col("mean", "low", "high").round(4)))
    print(f"union recall {measured.ledger.union_recall:.4f}; positives {dict(measured.ledger.outcomes)}")
    print(measured.ledger.summarise())
    importance = measure_importance(ranker, measured.features, evaluation.n, config.seed)
    print(importance.head(_SHOWN))
    print(importance.sort("loss", descending=True, nulls_last=True).head(_SHOWN))
    print(measure_shift(fitted.rows, measured.features, ranker.features).head(_SHOWN))


if __name__ == "__main__":
    main()
