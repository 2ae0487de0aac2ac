"""What the final lists owe to each part: lists without it beside lists with all, on the config's test window.

    RECSYS_DATA=… python tests/benchmarks/ablations.py --config configs/ml1m.yaml
    RECSYS_DATA=… python tests/benchmarks/ablations.py --config configs/ifdb.yaml --only "without text;one label window"

Every line is a training of its own on the same windows: without some sources and the features that come from the same
models, with fewer candidates or windows. Texts are read once where the change leaves that alone. Differences are to
`everything`, paired by user, with 95 % bootstrap intervals; `ours - blend` is that of the line's own blend.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.config.plugins import name_vector_source
from recsys.dataset.ingestion import ingest
from recsys.dataset.item_vectors import drop_vectors
from recsys.dataset.windows import Windows, resolve_end, split_windows
from recsys.evaluation.comparison import OURS
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.training.encoder_inputs import prepare_encoder_inputs
from recsys.training.fitting import complete_bundle
from recsys.training.list_measurement import BLEND
from recsys.training.measurement import Measured, measure
from recsys.training.text_models import TextModels, fit_text

_TEXT = ("text", "new_items", "tfidf", "nearest_text", "sequence")
_CF = ("als", "bpr", "item_to_item", "bm25", "transitions", "ease")


class Laboratory:
    """Trains on one set, again and again."""

    def __init__(self, config: Config) -> None:
        found = ingest(config.dataset, now=datetime.now(UTC))
        self.config, self.items = config, found.items
        end = resolve_end(found.interactions, None)
        self.windows: Windows = split_windows(
            found.interactions, config.windows, repeats=config.dataset.repeats, end=end, seed=config.seed
        )
        self.catalogue = prepare_encoder_inputs(config, self.items, self.windows.measurement_fold.labels[-1].cutoff)

    @cached_property
    def text(self) -> TextModels:
        """The text models of the config as it is, fitted when they are first asked for."""
        return self._read(self.config, self.items)

    def _read(self, config: Config, items: pl.DataFrame) -> TextModels:
        return fit_text(config, items, self.catalogue, self.windows.measurement_fold)

    def train(self, config: Config, windows: int | None, anew: bool) -> tuple[Measured, float]:
        """Return what lists of these settings reach, and the seconds that took beyond reading the texts."""
        started = time.perf_counter()
        items = drop_vectors(self.items, config.dataset.items.vectors)
        text = self._read(config, items) if anew else self.text
        fold = self.windows.measurement_fold
        fold = replace(fold, labels=fold.labels[:windows])
        text = replace(text, history_snapshots=text.history_snapshots[: 1 + len(fold.labels)])
        fitted = complete_bundle(config, items, text, fold)
        print("   ", fitted.bundle.ranker.describe(), flush=True)
        measured = measure(fitted.bundle, self.windows.test, items, baselines=True)
        return measured, time.perf_counter() - started


def vary(config: Config) -> dict[str, tuple[Config, int | None, bool]]:
    """Return each line's settings, how many label windows it uses (None: all), and whether texts are read anew."""
    depths = dict(config.candidates.depths)

    def without(*names: str, features: tuple[str, ...] = ()) -> dict[str, Any]:
        kept = {name: depth for name, depth in depths.items() if name not in names}
        return {"candidates.depths": kept, "ranking.exclude_features": [*config.ranking.exclude_features, *features]}

    sequence = {"candidates.depths": {**depths, "sequence": 50}, "text.sequence.use": True}
    found: dict[str, tuple[dict[str, Any], int | None, bool]] = {
        "everything": ({}, None, False),
        "without text": (
            without(*_TEXT, features=("text_*", "*match_*", "near_*", "lately_*", "script_share")),
            None,
            False,
        ),
        "without TF-IDF": (without("tfidf"), None, False),
        "without the interest model": (without("text", "new_items"), None, False),
        "without CF": (without(*_CF, features=("als_*", "item_to_item_*", "transitions_*")), None, False),
        "without transitions": (without("transitions", features=("transitions_*",)), None, False),
        "without EASE": (without("ease"), None, False),
        "with a sequence model": (sequence, None, True),
        "  without its residual": ({**sequence, "text.sequence.residual": False}, None, True),
        **without_vectors(config),
        "one label window": ({}, 1, False),
        **{f"{most} candidates": ({"candidates.max_candidates": most}, None, False) for most in (50, 100, 200, 400)},
    }
    return {name: (apply_settings(config, changes), windows, anew) for name, (changes, windows, anew) in found.items()}


def without_vectors(config: Config) -> dict[str, tuple[dict[str, Any], int | None, bool]]:
    """Return the lines of the items' vectors from elsewhere: without each, and without all if there are several."""
    vectors = config.resolved()["dataset"]["items"]["vectors"]
    left_out = {f"without vectors {name}": {name} for name in vectors} if len(vectors) > 1 else {}
    if vectors:
        left_out["without vectors"] = set(vectors)
    lines = {}
    for line, names in left_out.items():
        sources = {name_vector_source(name) for name in names}
        kept = {source: depth for source, depth in config.candidates.depths.items() if source not in sources}
        own = {name: settings for name, settings in vectors.items() if name not in names}
        lines[line] = ({"candidates.depths": kept, "dataset.items.vectors": own}, None, True)
    return lines


def read_values(measured: Measured, model: str, metric: str, n: int) -> NDArray[np.float64]:
    """Return a model's metric of each user, by user id."""
    table = measured.user_metrics.filter(pl.col("model") == model, pl.col("metric") == metric, pl.col("n") == n)
    return table.sort("user_id")["value"].to_numpy()


def describe(name: str, values: NDArray[np.float64], reference: NDArray[np.float64] | None) -> str:
    """Return a mean with its interval, and the difference to the reference."""
    mean = mean_interval(values, 1000, 0.95, 0)
    text = f"{name} {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]"
    if reference is not None:
        gap = compare_paired(values, reference, 1000, 0.95, 0)
        text += f" ({gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}])"
    return text


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--only", default="", help="names, separated by semicolons, beside `everything`; all if left out"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    config = load_config(given.config)
    metric, n = config.evaluation.metric, config.evaluation.n
    wanted = {"everything", *(name.strip() for name in given.only.split(";"))} if given.only else None
    lines = {name.strip(): line for name, line in vary(config).items()}
    if unknown := (wanted or set()) - lines.keys():
        parser.error(f"--only: no line {', '.join(sorted(unknown))}; there are {', '.join(lines)}")
    laboratory = Laboratory(config)
    reference: NDArray[np.float64] | None = None
    for name, (settings, windows, anew) in lines.items():
        if wanted is not None and name not in wanted:
            continue
        measured, seconds = laboratory.train(settings, windows, anew)
        ours, blend = (read_values(measured, model, metric, n) for model in (OURS, BLEND))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        parts = [
            f"{name:28s} {seconds:4.0f} s, peak {peak:.1f} GB",
            describe(f"{metric}@{n}", ours, reference),
            f"ours - blend {describe('', ours, blend).strip()}",
            f"union recall {measured.ledger.union_recall:.3f}",
        ]
        print(" | ".join(parts), flush=True)
        reference = ours if reference is None else reference


if __name__ == "__main__":
    main()
