"""What vectors of the items from elsewhere add on a real set, whose second modality is a second reading of its texts.

    RECSYS_DATA=… python tests/benchmarks/item_vectors.py --config configs/ifdb.yaml
    RECSYS_DATA=… python tests/benchmarks/item_vectors.py --config configs/ml100k.yaml --only 'with lsa'

`lsa` are TF-IDF vectors of the texts on their first 128 singular vectors, learned from the items known before the label
windows; `untouched` is the checkpoint without the fine-tuning; `random` carries nothing. Each line is a training of its
own on the config's test window over the same encoder. Differences are to `texts alone`, paired by user, with 95 %
bootstrap intervals. Seconds are of lists for 1,000 users, and of the interest model's training.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from ablations import Laboratory, describe, read_values
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.config.plugins import name_vector_source
from recsys.dataset.item_vectors import Vectors, make_column, read_vectors
from recsys.evaluation.comparison import OURS
from recsys.text.interest import InterestModel
from recsys.training.fitting import TextModels, fit_bundle
from recsys.training.measurement import Measured, measure

_AXES, _DEPTH = 128, 50
_ALONE = ("text", "nearest_text", "nearest_lsa", "nearest_untouched", "nearest_random")
LINES = {
    "texts alone": (),
    "with lsa": ("lsa",),
    "with untouched": ("untouched",),
    "with lsa and untouched": ("lsa", "untouched"),
    "with random": ("random",),
}


def make_vectors(laboratory: Laboratory) -> dict[str, NDArray[np.float32]]:
    """Return (n_items, size) float32 by name; an item without a text gets zeros."""
    catalogue = laboratory.catalogue
    texts = catalogue.item_texts.texts
    known = texts.filter(pl.Series(catalogue.known)).to_list()
    terms = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=0.2)
    axes = TruncatedSVD(_AXES, random_state=0).fit(terms.fit_transform(known))
    lsa = axes.transform(terms.transform(texts.to_list())).astype(np.float32)
    random = np.random.default_rng(0).normal(size=(len(texts), _AXES)).astype(np.float32)
    return {"lsa": lsa, "untouched": catalogue.embed_zero_shot(), "random": random}


def attach(
    laboratory: Laboratory, vectors: dict[str, NDArray[np.float32]], names: Sequence[str]
) -> tuple[Config, pl.DataFrame]:
    """Return the settings and the catalogue with some of the vectors."""
    config = laboratory.config
    sources = {name_vector_source(name): _DEPTH for name in names}
    changes = {
        "dataset.items.vectors": {name: {"path": "not read"} for name in names},
        "candidates.depths": {**config.candidates.depths, **sources},
    }
    columns = [make_column(name, Vectors.normalise(vectors[name])) for name in names]
    return apply_settings(config, changes), laboratory.items.with_columns(columns)


def refit(config: Config, text: TextModels, items: pl.DataFrame) -> TextModels:
    """Return the text models with the interest model learned again, beside the items' vectors."""
    snapshots, start = [], None
    for snapshot in reversed(text.history_snapshots):
        model = InterestModel(text.embeddings.shape[1], config.text.interest)
        given = {"texts": text.item_texts.texts, "vectors": read_vectors(items), "precision": text.encoder.precision}
        model.fit(snapshot.histories, text.embeddings, config.seed, start=start, **given)
        snapshots.append(replace(snapshot, interest=model))
        start = model
    return replace(text, history_snapshots=snapshots[::-1])


def run(
    laboratory: Laboratory, vectors: dict[str, NDArray[np.float32]], names: Sequence[str]
) -> tuple[Measured, float]:
    """Return what lists with some vectors reach, and the seconds of the interest model."""
    config, items = attach(laboratory, vectors, names)
    started = time.perf_counter()
    text = refit(config, laboratory.text, items)
    seconds = time.perf_counter() - started
    fold = laboratory.windows.measurement_fold
    bundle = fit_bundle(config, items, laboratory.catalogue, fold, text=text).bundle
    return measure(bundle, laboratory.windows.test, items, baselines=True), seconds


def main() -> None:
    """Print a line for each set of vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--only", default="", help="lines, separated by semicolons, beside `texts alone`")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    changes = {path: yaml.safe_load(value) for path, _, value in (one.partition("=") for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    wanted = {"texts alone", *(name.strip() for name in given.only.split(";"))} if given.only else set(LINES)
    metric, n = config.evaluation.metric, config.evaluation.n
    laboratory = Laboratory(config)
    vectors = make_vectors(laboratory)
    reference: dict[str, NDArray[np.float64]] = {}
    for line, names in LINES.items():
        if line not in wanted:
            continue
        measured, seconds = run(laboratory, vectors, names)
        costs = measured.costs.seconds_per_1000_users
        print(
            f"{line}: interest model {seconds:.1f} s, lists {costs:.2f} s, "
            f"union recall {measured.ledger.union_recall:.3f}",
            flush=True,
        )
        models = [OURS, *(name for name in _ALONE if name in measured.ranks_by_model)]
        for model in models:
            values = read_values(measured, model, metric, n)
            print("   ", describe(f"{model} {metric}@{n}", values, reference.get(model)), flush=True)
            reference.setdefault(model, values)


if __name__ == "__main__":
    main()
