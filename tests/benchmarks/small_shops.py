"""What lists gain over the blend on small shops whose log has an order, no times, and repeats.

    RECSYS_DATA=… python tests/benchmarks/small_shops.py --seeds 0 1 2
    RECSYS_DATA=… python tests/benchmarks/small_shops.py --stand-ins few_users --seeds 0 1 2 3

Real catalogues are cut to the size of a small shop: about 3,300 users, 3,700 items and 18,000 events, in the order of
the events and without their times. Each is written as files, `recsys init` proposes the config, and an evaluation model
is measured on its test window (each user's last item). `few_users` are 300 to 1,000 users of ml100k with all their
events. Differences are paired by user, with 95 % bootstrap intervals. The encoder stays frozen unless `--fine-tune` is
given.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import yaml
from ablations import Laboratory, read_values
from numpy.typing import NDArray

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.evaluation.comparison import OURS
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.pipelines.init import run_init
from recsys.training.list_measurement import BLEND

_USERS, _EVENTS = 3_300, 18_000
_SHORTEST = 3


def read_events(data: Path, name: str) -> pl.DataFrame:
    """Return `user`, `item` and `step`, a number that orders a user's events."""
    with gzip.open(data / name / "interactions.tsv.gz") as file:
        events = pl.read_csv(file.read(), separator="\t", schema_overrides={"user": pl.String, "item": pl.String})
    order = "ts" if "ts" in events.columns else "pos"
    return events.sort("user", order, maintain_order=True).select(
        "user", "item", step=pl.int_range(pl.len()).over("user")
    )


def draw_users(events: pl.DataFrame, number: int, draws: np.random.Generator) -> pl.DataFrame:
    """Return the events of users drawn at random, those with too few events left out."""
    users = events.group_by("user").len().filter(pl.col("len") >= _SHORTEST)["user"].sort()
    drawn = users.gather(np.sort(draws.permutation(len(users))[:number]))
    return events.filter(pl.col("user").is_in(drawn.implode()))


def keep_some_items(events: pl.DataFrame, draws: np.random.Generator) -> pl.DataFrame:
    """Return events on items drawn for each user, all events on them, so that a user's repeats stay together."""
    pairs = events.group_by("user", "item").len().sort("user", "item")
    pairs = pairs.with_columns(lot=pl.Series(draws.random(pairs.height))).sort("user", "lot")
    pairs = pairs.with_columns(before=pl.col("len").cum_sum().over("user"), place=pl.int_range(pl.len()).over("user"))
    return _fill(pairs.join(events, on=["user", "item"]), pl.col("place") < 2, draws)


def keep_newest(events: pl.DataFrame, draws: np.random.Generator) -> pl.DataFrame:
    """Return each user's newest events."""
    back = pl.col("step").rank("ordinal", descending=True).over("user")
    return _fill(events.with_columns(before=back), pl.col("before") <= _SHORTEST, draws)


def _fill(events: pl.DataFrame, always: pl.Expr, draws: np.random.Generator) -> pl.DataFrame:
    """Return the events that a user has room for, rooms drawn so that about `_EVENTS` are kept in all."""
    users = events["user"].unique().sort()
    lots = draws.exponential(1.0, len(users))
    for mean in np.arange(1.0, 200.0, 0.25):
        rooms = pl.DataFrame({"user": users, "room": np.floor(_SHORTEST + mean * lots)})
        kept = events.join(rooms, on="user").filter(always | (pl.col("before") <= pl.col("room")))
        if kept.height >= _EVENTS:
            break
    return kept.select("user", "item", "step").sort("user", "step")


def cut_retail(data: Path, draws: np.random.Generator) -> pl.DataFrame:
    """Cut online_retail by items, so that repeat purchases stay."""
    return keep_some_items(draw_users(read_events(data, "online_retail"), _USERS, draws), draws)


def cut_runs(data: Path, draws: np.random.Generator) -> pl.DataFrame:
    """Cut online_retail to the newest events."""
    return keep_newest(draw_users(read_events(data, "online_retail"), _USERS, draws), draws)


def cut_feed(data: Path, draws: np.random.Generator) -> pl.DataFrame:
    """Cut qb_zh to the newest events of some users."""
    return keep_newest(draw_users(read_events(data, "qb_zh"), _USERS, draws), draws)


def cut_games(data: Path, draws: np.random.Generator) -> pl.DataFrame:
    """Cut ifdb: all users with enough events, the newest ones."""
    return keep_newest(draw_users(read_events(data, "ifdb"), _USERS, draws), draws)


def cut_films(data: Path, draws: np.random.Generator) -> pl.DataFrame:
    """Draw 300 to 900 users of ml100k, with all their events."""
    return draw_users(read_events(data, "ml100k"), int(draws.integers(300, 901)), draws)


# Name -> the catalogue, its cut, and whether lists may hold what the user has.
STAND_INS: dict[str, tuple[str, Callable[[Path, np.random.Generator], pl.DataFrame], bool]] = {
    "retail": ("online_retail", cut_retail, True),
    "retail_runs": ("online_retail", cut_runs, True),
    "feed": ("qb_zh", cut_feed, True),
    "games": ("ifdb", cut_games, True),
    "few_users": ("ml100k", cut_films, False),
}


def write_shop(folder: Path, data: Path, name: str, seed: int) -> Config:
    """Write a stand-in as files, and return the config that `recsys init` proposes for them."""
    catalogue, cut, repeats = STAND_INS[name]
    events = cut(data, np.random.default_rng(seed))
    steps = events.select("user", "item", pos=pl.int_range(pl.len()).over("user"))
    steps.write_csv(folder / "interactions.tsv", separator="\t")
    used = set(events["item"])
    with gzip.open(data / catalogue / "items.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [line for line in file if str(json.loads(line)["id"]) in used]
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    run_init([str(folder)], folder / "shop.yaml", answers={"repeats": "yes" if repeats else "no"})
    counts = (events["user"].n_unique(), len(lines), events.height, events.select("user", "item").n_unique())
    print("{} {}: {:,} users, {:,} items, {:,} events, {:,} distinct pairs".format(name, seed, *counts), flush=True)
    return load_config(folder / "shop.yaml")


def measure_shop(config: Config) -> tuple[dict[str, NDArray[np.float64]], str, str]:
    """Return the metric of each user by model, hit rates in words, and what ranks."""
    laboratory = Laboratory(config)
    measured, seconds = laboratory.train(config, None, False)
    metric, n = config.evaluation.metric, config.evaluation.n
    values = {model: read_values(measured, model, metric, n) for model in (OURS, BLEND, "popular")}
    hits = " ".join(
        f"{model} {read_values(measured, model, 'hit_rate', n).mean():.3f}" for model in (OURS, BLEND, "popular")
    )
    return values, hits, f"{seconds:.0f} s"


def print_shop(values: dict[str, NDArray[np.float64]], hits: str, cost: str) -> float:
    """Print a stand-in's means and what ours gain; return the ratio to the blend."""
    ours, blend = values[OURS], values[BLEND]
    mean, gap = mean_interval(ours, 1000, 0.95, 0), compare_paired(ours, blend, 1000, 0.95, 0)
    ratio = float(ours.mean() / blend.mean())
    print(
        f"    ours {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}] blend {blend.mean():.4f} popular "
        f"{values['popular'].mean():.4f} | ours - blend {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] "
        f"ratio {ratio:.3f} | hit rate {hits} | {cost}",
        flush=True,
    )
    return ratio


def main() -> None:
    """Build the stand-ins, train on each and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stand-ins", nargs="+", choices=sorted(STAND_INS), default=list(STAND_INS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the cuts")
    parser.add_argument("--fine-tune", action="store_true", help="fine-tune the encoder, as `recsys train` would")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    changes: dict[str, Any] = {} if given.fine_tune else {"text.fine_tune.epochs": 0}
    changes |= {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    data = Path(os.environ.get("RECSYS_DATA", "."))
    for name in given.stand_ins:
        ratios = []
        for seed in given.seeds:
            with TemporaryDirectory() as folder:
                config = apply_settings(write_shop(Path(folder), data, name, seed), changes)
                ratios.append(print_shop(*measure_shop(config)))
        print(f"{name}: mean ratio {np.mean(ratios):.3f}, lowest {min(ratios):.3f}", flush=True)


if __name__ == "__main__":
    main()
