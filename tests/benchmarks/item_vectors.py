"""What vectors of the items from elsewhere add on a real set, whose second modality is a second reading of its texts.

    RECSYS_DATA=… python tests/benchmarks/item_vectors.py --config configs/ifdb.yaml
    RECSYS_DATA=… python tests/benchmarks/item_vectors.py --config configs/ml100k.yaml --only "with lsa" --rounds 3
    RECSYS_DATA=… python tests/benchmarks/item_vectors.py --config configs/ifdb.yaml --alone

`lsa` are TF-IDF vectors of the texts on their first 128 singular vectors, learned from the items known before the label
windows; `untouched` is the checkpoint without the fine-tuning; `random` carries nothing. Each line is a training of its
own on the config's test window over the same encoder. Differences are to `texts alone`, paired by user, with 95 %
bootstrap intervals. `--alone` asks the interest model alone, over the untouched checkpoint. `--rounds` times the
lists of all users of each line, in turns, in seconds of the processor, which other work on the machine hardly changes.
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
from interest_alone import Question
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys.candidates.sources.text import InterestSource
from recsys.config import Config, load_config
from recsys.config.overrides import apply_settings
from recsys.config.plugins import name_vector_source
from recsys.dataset.histories import build_histories
from recsys.dataset.item_vectors import Vectors, make_column, read_vectors
from recsys.evaluation.comparison import OURS
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.item_text import ItemTexts
from recsys.training.fitting import complete_bundle
from recsys.training.measurement import measure
from recsys.training.text_models import TextModels

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
    lsa = make_lsa(texts, texts.filter(pl.Series(catalogue.known)))
    return {"lsa": lsa, "untouched": catalogue.zero_shot, "random": draw(len(texts))}


def make_lsa(texts: pl.Series, known: pl.Series) -> NDArray[np.float32]:
    terms = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=0.2)
    axes = TruncatedSVD(_AXES, random_state=0).fit(terms.fit_transform(known.to_list()))
    return axes.transform(terms.transform(texts.to_list())).astype(np.float32)


def draw(n_items: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n_items, _AXES)).astype(np.float32)


def measure_alone(config: Config, last_out: bool) -> None:
    """Print what the interest model reaches as one source, with and without vectors, by the dropout of modalities."""
    question = Question(config, last_out)
    texts = ItemTexts.from_items(question.items, config.text.fields).texts
    embeddings = Encoder(config.text.checkpoint, config.text).encode(texts.to_list())
    lsa, random = {"lsa": Vectors.normalise(make_lsa(texts, texts))}, {"random": Vectors.normalise(draw(len(texts)))}
    lines = {
        "texts alone": ({}, None),
        **{f"with lsa, dropout {share}": ({"vector_dropout": share}, lsa) for share in (0.0, 0.1, 0.2)},
        "with random": ({}, random),
    }
    reference: dict[str, NDArray[np.float64]] = {}
    for line, (changes, vectors) in lines.items():
        model = InterestModel(embeddings.shape[1], config.text.interest.model_copy(update=changes))
        model.fit(question.histories, embeddings, config.seed, texts=texts, vectors=vectors)
        found = question.measure(InterestSource("text", "text", model, embeddings, None, vectors))
        print(f"{line}:", " | ".join(describe(name, found[name], reference.get(name)) for name in found), flush=True)
        reference = reference or found


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
    """Return the text models with their interest models trained again on texts and vectors of the items."""
    snapshots, start = [], None
    for snapshot in reversed(text.history_snapshots):
        model = InterestModel(text.embeddings.shape[1], config.text.interest)
        given = {"texts": text.item_texts.texts, "vectors": read_vectors(items), "precision": text.encoder.precision}
        model.fit(snapshot.histories, text.embeddings, config.seed, start=start, **given)
        snapshots.append(replace(snapshot, interest=model))
        start = model
    return replace(text, history_snapshots=snapshots[::-1])


def fit(laboratory: Laboratory, vectors: dict[str, NDArray[np.float32]], names: Sequence[str]) -> tuple[Bundle, float]:
    """Return a bundle of some vectors, and the processor's seconds for its interest models."""
    config, items = attach(laboratory, vectors, names)
    started = time.process_time()
    text = refit(config, laboratory.text, items)
    seconds = time.process_time() - started
    fold = laboratory.windows.measurement_fold
    return complete_bundle(config, items, text, fold).bundle, seconds


def time_nights(laboratory: Laboratory, bundles: dict[str, Bundle], rounds: int) -> None:
    """Print the least processor's seconds that the lists of all users took, for each line."""
    test, nights = laboratory.windows.test, {}
    users = build_histories(test.history, laboratory.items, test.cutoff)
    for line, bundle in bundles.items():
        recommender = bundle.prepare(bundle.items, users)
        evidence = bundle.count_evidence(recommender, users)
        nights[line] = BatchRecommender(bundle.config, bundle, recommender, "1", evidence)
        nights[line].recommend(users.select(slice(0, 200)))
    seconds: dict[str, list[float]] = {line: [] for line in nights}
    for _ in range(rounds):
        for line, night in nights.items():
            started = time.process_time()
            night.recommend(users)
            seconds[line].append(time.process_time() - started)
    for line, found in seconds.items():
        print(
            f"{line}: lists of {users.n_users:,} users x {users.n_items:,} items in {min(found):.2f} s of "
            f"{', '.join(f'{one:.2f}' for one in found)}; {users.n_users / min(found):,.0f} users/s",
            flush=True,
        )


def main() -> None:
    """Print a line for each set of vectors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--only", default="", help="lines, separated by semicolons, beside `texts alone`")
    parser.add_argument("--alone", action="store_true", help="measure the interest model alone")
    parser.add_argument("--last-out", action="store_true", help="with --alone: ask for last items")
    parser.add_argument("--rounds", type=int, default=0, help="how often the lists of all users are timed")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    changes = {path: yaml.safe_load(value) for path, _, value in (one.partition("=") for one in given.set)}
    config = apply_settings(load_config(given.config), changes)
    if given.alone:
        measure_alone(config, given.last_out)
        return
    wanted = {"texts alone", *(name.strip() for name in given.only.split(";"))} if given.only else set(LINES)
    metric, n = config.evaluation.metric, config.evaluation.n
    laboratory = Laboratory(config)
    vectors = make_vectors(laboratory)
    reference: dict[str, NDArray[np.float64]] = {}
    bundles: dict[str, Bundle] = {}
    for line, names in LINES.items():
        if line not in wanted:
            continue
        bundles[line], seconds = fit(laboratory, vectors, names)
        items = bundles[line].items
        measured = measure(bundles[line], laboratory.windows.test, items, baselines=True)
        recall = measured.ledger.union_recall
        print(f"{line}: interest models in {seconds:.1f} s, union recall {recall:.3f}", flush=True)
        models = [OURS, *(name for name in _ALONE if name in measured.ranks_by_model)]
        for model in models:
            values = read_values(measured, model, metric, n)
            print("   ", describe(f"{model} {metric}@{n}", values, reference.get(model)), flush=True)
            reference.setdefault(model, values)
    if given.rounds:
        time_nights(laboratory, bundles, given.rounds)


if __name__ == "__main__":
    main()
