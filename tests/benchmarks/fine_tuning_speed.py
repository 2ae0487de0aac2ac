"""Examples per second of full fine-tuning beside sentence-transformers' own trainer, and what each has learned by then.

    RECSYS_DATA=… python tests/benchmarks/fine_tuning_speed.py --config configs/goodbooks.yaml --seconds 150

Both start from the same checkpoint, learn all layers and the word vectors from the same histories on texts of at most
128 tokens, and stop the same seconds after their first step; what comes before it, ours embedding the catalogue once,
is told apart. An example is one item that a user took beside another of the same user's: two texts of
MultipleNegativesRankingLoss there, a text and the vector that another last had here. Then both embed the catalogue and
are asked for the item of each history that was kept aside, by the plain mean of the history's vectors and by an
interest model without words that is fitted on each of them alike, so that nothing but the encoders is compared.

Needs sentence-transformers and datasets, which this project does not: pip install sentence-transformers datasets.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cold_world import ColdWorld, load_cold_world
from numpy.typing import NDArray

from recsys.candidates.sources.text import InterestSource, ProfileSource
from recsys.config import FineTuneConfig, InterestConfig, TextConfig
from recsys.evaluation.intervals import compare_paired
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.text.training.layer_inputs import tokenize_texts

_MAX_TOKENS = 128
_PAIRS_PER_STEP = 32
_INTEREST = InterestConfig(batch_size=512, max_steps=150, epochs=20)


class _OverError(Exception):
    """The seconds are over."""


def train_ours(world: ColdWorld, text: TextConfig, seconds: float, rate: float) -> tuple[Encoder, int, float, float]:
    """Return the encoder, its examples after the first step, the seconds these took, and those until then."""
    encoder = Encoder(text.checkpoint, text)
    config = FineTuneConfig(method="full", learning_rate=rate, batch_size=64)
    inputs = tokenize_texts(encoder, world.texts)
    seen: list[int] = []
    clock: list[float] = []

    def watch(examples: int, _: float) -> None:
        seen.append(examples)
        clock.append(time.perf_counter())
        if clock[-1] - clock[0] > seconds:
            raise _OverError

    started = time.perf_counter()
    try:
        fine_tune(encoder, FineTuningData(inputs, world.train), config, 0, Runtime(progress=watch))
    except _OverError:
        encoder.model.eval()
    return encoder, sum(seen[1:]), clock[-1] - clock[0], clock[0] - started


def train_peer(world: ColdWorld, text: TextConfig, seconds: float, rate: float) -> tuple[Encoder, int, float, float]:
    """Return the same of sentence-transformers' trainer with its defaults, in as many steps as fit."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.append(time.perf_counter())
            control.should_training_stop = clock[-1] - clock[0] > seconds

    clock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        Encoder(text.checkpoint, text).save(Path(folder) / "start")
        model = SentenceTransformer(str(Path(folder) / "start"), device="cpu")
        pairs = Dataset.from_dict(_draw_pairs(world))
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=_PAIRS_PER_STEP,
            learning_rate=rate,
            warmup_steps=0.1,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=pairs,
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[Stop()],
        )
        started = time.perf_counter()
        trainer.train()
        model.save(str(Path(folder) / "end"))
        examples = (len(clock) - 1) * _PAIRS_PER_STEP
        return Encoder(str(Path(folder) / "end"), text), examples, clock[-1] - clock[0], clock[0] - started


def _draw_pairs(world: ColdWorld) -> dict[str, list[str]]:
    """Return two texts of items of one user, in random order, as many as nobody gets through."""
    rng = np.random.default_rng(0)
    histories = world.train
    able = np.flatnonzero(histories.lengths > 1)
    users = able[rng.integers(len(able), size=20_000)]
    first = rng.integers(histories.lengths[users])
    second = (first + 1 + rng.integers(histories.lengths[users] - 1)) % histories.lengths[users]
    items = [histories.items[histories.starts[users] + place] for place in (first, second)]
    return {name: [world.texts[item] for item in column] for name, column in zip(("a", "b"), items, strict=True)}


def _recall(world: ColdWorld, encoder: Encoder) -> dict[str, NDArray[np.float64]]:
    """Return recall@20 of each user by the plain mean, and by an interest model."""
    embeddings = encoder.encode(world.texts)
    model = InterestModel(embeddings.shape[1], _INTEREST)
    model.fit(world.train, embeddings, 0, precision=encoder.precision)
    ways = {"mean": ProfileSource("mean", embeddings), "interest": InterestSource("interest", "", model, embeddings)}
    return {name: world.measure_warm(source.score)["warm recall@20"] for name, source in ways.items()}


def _describe(recalls: dict[str, NDArray[np.float64]]) -> str:
    return ", ".join(f"{name} {values.mean():.4f}" for name, values in recalls.items())


def main() -> None:
    """Print seconds, examples per second, their ratio, and recall of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--rate", type=float, default=2e-5, help="learning rate of both")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if find_spec("sentence_transformers") is None or find_spec("datasets") is None:
        sys.exit("needs sentence-transformers and datasets: pip install sentence-transformers datasets")
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(given.threads)
    world = load_cold_world(given.config, 0, liked=4)
    text = world.config.text.model_copy(update={"max_tokens": _MAX_TOKENS})
    recalls, rates = {}, {}
    start = _recall(world, Encoder(text.checkpoint, text))
    print(f"before: recall@20 {_describe(start)} on {len(start['mean']):,} users", flush=True)
    for name, train in (("sentence-transformers", train_peer), ("ours", train_ours)):
        encoder, examples, spent, before = train(world, text, given.seconds, given.rate)
        recalls[name], rates[name] = _recall(world, encoder), examples / spent
        told = f"{examples:,} examples in {spent:.0f} s, {rates[name]:,.1f} per second, {before:.0f} s before"
        print(f"{name}: {told}; recall@20 {_describe(recalls[name])}", flush=True)
    print(f"ratio {rates['ours'] / rates['sentence-transformers']:.1f}")
    for way in start:
        gap = compare_paired(recalls["ours"][way], recalls["sentence-transformers"][way], 1000, 0.95, 0)
        print(f"recall@20, {way}: ours minus theirs {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]")


if __name__ == "__main__":
    main()
