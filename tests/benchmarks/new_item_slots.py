"""What places for new items cost: lists with some of their places kept for new items, beside the same lists without.

    RECSYS_DATA=… python tests/benchmarks/new_item_slots.py --config configs/ifdb.yaml

One training, measured again and again on the config's test window. `measured` is what `generation.rules.min_new_share:
auto` becomes on the newest label window. Differences are to lists without such places, paired by user, with 95 %
bootstrap intervals; recall of cold items (positives that at most `evaluation.segments.cold_item_users` users had) and
of the others counts the users who took some of them.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from ablations import Laboratory, describe, read_values
from numpy.typing import NDArray

from recsys.config import AUTO, load_config
from recsys.config.overrides import apply_settings
from recsys.evaluation.comparison import OURS
from recsys.evaluation.segments import compute_segments
from recsys.serving.bundle import Bundle
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import Measured, measure

_SHARE = "generation.rules.min_new_share"


def find_new_share_of_lists(bundle: Bundle, measured: Measured, n: int) -> float:
    """Return the share of new items in the first n ranks, by the users that items had at the cutoff."""
    statistics, most = bundle.statistics, bundle.config.candidates.new_item_users
    new = pl.DataFrame({"item_id": bundle.items["item_id"], "new": statistics.users <= most})
    listed = measured.lists.filter(pl.col("rank") <= n).join(new, on="item_id", how="left")
    return float(np.mean(listed["new"].fill_null(True).to_numpy()))


def read_recall(bundle: Bundle, measured: Measured, n: int) -> str:
    """Return the recall of cold items and of the others."""
    evaluation = bundle.config.evaluation.model_copy(update={"n": n})
    table = compute_segments(measured.segments, measured.ranks_by_model, OURS, evaluation, bundle.config.seed)
    own = table.filter(pl.col("model") == OURS, pl.col("metric") == "recall", pl.col("segment").is_in(["cold", "warm"]))
    return ", ".join(f"{row['segment']} {row['mean']:.4f} ({row['users']:,})" for row in own.iter_rows(named=True))


def main() -> None:
    """Train once and print a line for each share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.2, 0.3])
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    config = apply_settings(load_config(given.config), {**changes, _SHARE: AUTO})
    laboratory = Laboratory(config)
    bundle = complete_bundle(config, laboratory.items, laboratory.text, laboratory.windows.measurement_fold).bundle
    auto, n = bundle.config.generation.rules.new_share, config.evaluation.n
    print(f"{config.name}: measured {auto:g} of {config.generation.n} places")
    reference: NDArray[np.float64] | None = None
    for share in sorted({0.0, auto, *given.shares}):
        ruled = replace(bundle, config=apply_settings(bundle.config, {_SHARE: share}))
        measured = measure(ruled, laboratory.windows.test, laboratory.items, baselines=False)
        values = read_values(measured, OURS, config.evaluation.metric, n)
        name = f"share {share:g}{' (measured)' if share == auto else ''}: {config.evaluation.metric}@{n}"
        parts = [
            describe(name, values, reference),
            f"recall@{n} {read_recall(ruled, measured, n)}",
            f"new items in lists {find_new_share_of_lists(ruled, measured, n):.1%}",
        ]
        print(" | ".join(parts), flush=True)
        reference = values if reference is None else reference


if __name__ == "__main__":
    main()
