"""What the fast form of the catalogue's embeddings changes in the final lists, beside full precision.

    RECSYS_DATA=… python tests/benchmarks/embedding_precision.py --config configs/ifdb.yaml

Where the processor computes in bfloat16, a training reads the catalogue's texts in it; `recsys embed` never does. One
evaluation model makes lists of the test window twice, with the embeddings that it was trained with and with those of
the same encoder in float32. Differences are full precision minus fast, paired by user, with 95 % bootstrap intervals.
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

from recsys.config import load_config
from recsys.config.overrides import apply_settings
from recsys.evaluation.comparison import OURS
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import measure


def main() -> None:
    """Train once, make the lists twice and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    laboratory = Laboratory(config)
    fast = complete_bundle(config, laboratory.items, laboratory.text, laboratory.windows.measurement_fold).bundle
    vectors = fast.encoder.in_full_precision().encode(fast.item_texts.texts.to_list())
    cosines, largest = (vectors * fast.embeddings).sum(axis=1), np.abs(vectors - fast.embeddings).max()
    print(
        f"{config.name}, vectors in {fast.encoder.precision}: cosine at least {cosines.min():.6f}, off by {largest:.1e}"
    )
    measured = [
        measure(bundle, laboratory.windows.test, laboratory.items, baselines=False)
        for bundle in (fast, replace(fast, embeddings=vectors))
    ]
    metric, n = config.evaluation.metric, config.evaluation.n
    values = [read_values(each, OURS, metric, n) for each in measured]
    print(describe("    fast", values[0], None))
    print(describe("    full precision", values[1], values[0]))
    one, other = (each.lists.filter(pl.col("rank") <= n) for each in measured)
    keys = ["user_id", "item_id"]
    same, placed = (one.join(other, on=on).height / one.height for on in (keys, [*keys, "rank"]))
    print(f"    {same:.2%} of the items in both lists, {placed:.2%} at the same rank")


if __name__ == "__main__":
    main()
