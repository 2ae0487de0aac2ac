"""What fine-tuning adds to the final lists: the encoder frozen beside ways of training it, over several seeds.

    RECSYS_DATA=… python tests/benchmarks/encoder_recipes.py --config configs/ifdb.yaml --seeds 0 1 2
    RECSYS_DATA=… python tests/benchmarks/encoder_recipes.py --config configs/ml1m.yaml --recipes "frozen;fine-tuned" \
        --seeds 3 4 --keep ml1m.jsonl

Every line trains all but the frozen layers from scratch, on the same windows, once for each seed, and measures the
lists of the test window: all positives, and cold and warm items apart. `--keep` appends each training to a file of JSON
lines and skips what the file already has, so a long measurement can be made in parts; the table is of all that the file
has. Means are over users, ± is the standard deviation over seeds; differences are to `frozen` over the seeds that both
have, each user's values averaged over the seeds, with 95 % bootstrap intervals over users.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ablations import Laboratory, read_values
from numpy.typing import NDArray

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.evaluation.comparison import OURS
from recsys.evaluation.intervals import compare_paired
from recsys.evaluation.segments import score_segment
from recsys.progress import format_count
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import Measured, measure
from recsys.training.text_models import fit_text

FROZEN = "frozen"
_COLD_N = 50
_NEXT = {"next_item": 1.0, "co_interaction": 0.0}
# Settings of `text.fine_tune` that each line changes; the fine-tuned weights alone are used unless it says otherwise.
RECIPES: dict[str, dict[str, Any]] = {
    FROZEN: {"epochs": 0},
    "fine-tuned": {},
    "chosen": {"untouched_share": "auto"},
    "half of the untouched weights": {"untouched_share": 0.5},
    "a hundred steps": {"max_steps_per_epoch": 100},
    "three times as long": {"epochs": 3},
    "three times as long, half": {"epochs": 3, "untouched_share": 0.5},
    "two layers": {"trainable_layers": 2},
    "next item": {"objectives": _NEXT},
    "next item, three times as long": {"objectives": _NEXT, "epochs": 3},
    "next item and CF alignment": {"objectives": {**_NEXT, "cf_alignment": 1.0}},
    "CF alignment": {"objectives": {"co_interaction": 0.0, "cf_alignment": 1.0}},
    "half the learning rate": {"learning_rate": 5e-5},
}


@dataclass(frozen=True)
class Training:
    """What the lists of one training reach.

    Attributes:
        config: name.
        recipe: name.
        seed: of everything but the windows.
        seconds: beyond the frozen layers, without the measurement.
        values: name of a metric -> one value per user that has it, by user.
    """

    config: str
    recipe: str
    seed: int
    seconds: float
    values: dict[str, list[float]]


class Kitchen(Laboratory):
    """Trains recipes on the windows of one config."""

    def cook(self, recipe: str, changes: Mapping[str, Any], seed: int) -> Training:
        """Train with these settings of `text.fine_tune`, and measure."""
        started = time.perf_counter()
        settings = {f"text.fine_tune.{name}": value for name, value in {"untouched_share": 0.0, **changes}.items()}
        config = apply_settings(self.config, {"seed": seed, **settings})
        fold = self.windows.measurement_fold
        text = fit_text(config, self.items, self.catalogue, fold)
        fitted = complete_bundle(config, self.items, text, fold)
        seconds = time.perf_counter() - started
        measured = measure(fitted.bundle, self.windows.test, self.items, baselines=False)
        return Training(config.name, recipe, seed, round(seconds, 1), _list_values(config, measured))


def _list_values(config: Config, measured: Measured) -> dict[str, list[float]]:
    metric, n = config.evaluation.metric, config.evaluation.n
    values = {f"{metric}@{n}": read_values(measured, OURS, metric, n)}
    ours = {OURS: measured.ranks_by_model[OURS]}
    for segment in measured.segments:
        if segment.label == "items: cold":
            values[f"cold recall@{_COLD_N}"] = score_segment(segment, ours, ["recall"], _COLD_N)[:, 0, 0]
        if segment.label == "items: warm":
            values[f"warm {metric}@{n}"] = score_segment(segment, ours, [metric], n)[:, 0, 0]
    return {name: [round(float(value), 6) for value in own] for name, own in values.items()}


def read_kept(path: Path | None) -> list[Training]:
    """Return the trainings that a file of JSON lines has."""
    if path is None or not path.exists():
        return []
    return [Training(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def average(trainings: Iterable[Training], metric: str, seeds: Iterable[int]) -> NDArray[np.float64]:
    """Return each user's mean over trainings with some seeds."""
    wanted = set(seeds)
    return np.mean([training.values[metric] for training in trainings if training.seed in wanted], axis=0)


def describe(recipe: str, trainings: Sequence[Training], frozen: Sequence[Training]) -> str:
    """Return the line of a recipe."""
    seconds = np.mean([training.seconds for training in trainings])
    parts = [f"{recipe:32s} {format_count(len(trainings), 'seed')}, {seconds:4.0f} s"]
    shared = {training.seed for training in trainings} & {training.seed for training in frozen}
    for metric in trainings[0].values:
        means = [float(np.mean(training.values[metric])) for training in trainings]
        text = f"{metric} {np.mean(means):.4f} ± {np.std(means):.4f}"
        if shared and recipe != FROZEN:
            ours, theirs = average(trainings, metric, shared), average(frozen, metric, shared)
            gap = compare_paired(ours, theirs, 2000, 0.95, 0)
            text += f" ({gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}])"
        parts.append(f"{text} of {len(trainings[0].values[metric]):,}")
    return " | ".join(parts)


def compare(
    config: Config, recipes: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], keep: Path | None
) -> list[str]:
    """Train what the file lacks, and return a line for each recipe."""
    n_values = sorted({*config.evaluation.n_values, _COLD_N})
    config = apply_settings(config, {"evaluation.n_values": n_values})
    found = [training for training in read_kept(keep) if training.config == config.name]
    had = {(training.recipe, training.seed) for training in found}
    wanted = [(recipe, seed) for seed in seeds for recipe in recipes if (recipe, seed) not in had]
    kitchen = Kitchen(config) if wanted else None
    for recipe, seed in wanted:
        assert kitchen is not None
        training = kitchen.cook(recipe, recipes[recipe], seed)
        found.append(training)
        if keep is not None:
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(training)) + "\n")
        means = ", ".join(f"{metric} {np.mean(values):.4f}" for metric, values in training.values.items())
        logging.getLogger("recsys").warning("%s, seed %s: %s; %.0f s", recipe, seed, means, training.seconds)
    by_recipe: dict[str, list[Training]] = {}
    for training in found:
        by_recipe.setdefault(training.recipe, []).append(training)
    frozen = by_recipe.get(FROZEN, [])
    return [describe(recipe, trainings, frozen) for recipe, trainings in by_recipe.items()]


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--recipes", default=f"{FROZEN};fine-tuned", help=f"separated by semicolons: {'; '.join(RECIPES)}"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="file of JSON lines that trainings are read from and appended to")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the config")
    parser.add_argument("--verbose", action="store_true", help="log each stage")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO if given.verbose else logging.WARNING, format="%(asctime)s %(message)s")
    names = [name.strip() for name in given.recipes.split(";")]
    if unknown := set(names) - RECIPES.keys():
        parser.error(f"--recipes: no {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    changes = {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    for line in compare(config, {name: RECIPES[name] for name in names}, given.seeds, given.keep):
        print(line)


if __name__ == "__main__":
    main()
