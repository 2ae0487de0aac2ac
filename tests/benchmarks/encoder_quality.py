"""What each way of training the encoder is worth on a real set, for warm and for cold items, and what it costs.

    RECSYS_DATA=… python tests/benchmarks/encoder_quality.py --config configs/goodbooks.yaml --cold 2000 --liked 4
    RECSYS_DATA=… python tests/benchmarks/encoder_quality.py --config configs/ml1m.yaml --cold 700

Some items are held back as if nobody had touched them: they are ranked among themselves for users who took one. Beside
it a fifth of the users' newest warm item is looked for among all warm ones. Every recipe is followed by the config's
interest model, except `zero-shot`: the plain mean of a history's vectors by the checkpoint as it came. Differences are
to `frozen`, by paired bootstrap over users. Examples are counted in fine-tuning alone; seconds are all of it, from
text to interest model, without the evaluation; what lies below the layers that learn is computed once for all recipes
and told apart.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from cold_world import ColdWorld, Scorer, load_cold_world
from numpy.typing import NDArray

from recsys.candidates.sources.text import InterestSource, ProfileSource
from recsys.collab.als import AlsModel
from recsys.config import FineTuneConfig, TextConfig
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.item_text import make_texts
from recsys.text.masked_language import adapt
from recsys.text.training.data import FineTuningData
from recsys.text.training.fine_tuning import Runtime, fine_tune
from recsys.text.training.layer_inputs import (
    FrozenStates,
    encode_inputs,
    find_token_fields,
    freeze_states,
    tokenize_texts,
)

_NEXT, _CO = {"next_item": 1.0, "co_interaction": 0.0}, {"next_item": 0.0, "co_interaction": 1.0}
# Each item as often as another, against the whole catalogue.
_EVENLY = {"draw": "items", "negatives": "catalogue"}
# Items as often as they were taken, against those of the batch. One such epoch has as many steps as four over the items
# of ml1m.
_TAKEN = {"draw": "interactions", "negatives": "batch", "epochs": 1, "objectives": _NEXT, "log_q": True}

RECIPES: dict[str, dict[str, Any]] = {
    "zero-shot": {"epochs": 0},
    "frozen": {"epochs": 0},
    "next item": {**_EVENLY, "objectives": _NEXT},
    "co-interaction": {**_EVENLY, "objectives": _CO},
    "CF alignment": {**_EVENLY, "objectives": {"co_interaction": 0.0, "cf_alignment": 1.0}},
    "next item as taken": _TAKEN,
    "  without log-Q": {**_TAKEN, "log_q": False},
    "  hard negatives, ALS 2": {**_TAKEN, "hard_negatives": {"als": 2}},
    "  hard negatives, text 2": {**_TAKEN, "hard_negatives": {"text": 2}},
    "  four times as long": {**_TAKEN, "epochs": 4},
    "  and co-interaction": {**_TAKEN, "objectives": {"next_item": 1.0, "co_interaction": 1.0}},
    "  and CF alignment": {**_TAKEN, "objectives": {**_NEXT, "cf_alignment": 1.0}},
    "  and all three": {**_TAKEN, "objectives": {"next_item": 1.0, "co_interaction": 1.0, "cf_alignment": 1.0}},
    "  FGM 1": {**_TAKEN, "adversarial": 1.0},
    "  token dropout .1": {**_TAKEN, "augmentation": {"token_dropout": 0.1}},
    "  field dropout .3": {**_TAKEN, "augmentation": {"field_dropout": 0.3}},
    "  span crop .5": {**_TAKEN, "augmentation": {"span_crop": 0.5}},
    "  event weights": {**_TAKEN, "event_weights": True},
    "  LoRA 8": {**_TAKEN, "method": "lora", "learning_rate": 1e-3},
    "  AdaLoRA 8": {**_TAKEN, "method": "adalora", "learning_rate": 2e-3},
    "  full": {**_TAKEN, "method": "full"},
    "  masked language before": {**_TAKEN, "adaptation": 1},
    "co-interaction as taken": {**_TAKEN, "objectives": _CO},
    "  co-interaction without log-Q": {**_TAKEN, "objectives": _CO, "log_q": False},
    "  co-interaction four times as long": {**_TAKEN, "objectives": _CO, "log_q": False, "epochs": 4},
}


@dataclass(frozen=True)
class Row:
    """What one recipe reached, user by user, and what it cost."""

    values: dict[str, NDArray[np.float64]]
    seconds: float
    examples_per_second: float


class Kitchen:
    """The parts that all recipes share."""

    def __init__(self, world: ColdWorld, text: TextConfig, fine_tune: FineTuneConfig) -> None:
        self.world, self.text, self.settings = world, text, fine_tune
        started = time.perf_counter()
        self.frozen = self._freeze(self._encoder())
        self.freezing = time.perf_counter() - started
        self.factors: NDArray[np.float32] | None = None

    def _encoder(self) -> Encoder:
        return Encoder(self.text.checkpoint, self.text)

    def _freeze(self, encoder: Encoder) -> FrozenStates:
        return freeze_states(encoder, self.world.texts, self.settings.trainable_layers)

    def cook(self, name: str, changes: Mapping[str, Any]) -> Row:
        world, rest = self.world, dict(changes)
        encoder, inputs = self._encoder(), self.frozen
        started = time.perf_counter()
        if rest.pop("adaptation", 0):
            settings = self.text.adaptation.model_copy(update={"epochs": 1})
            texts = [text for text, cold in zip(world.texts, world.cold, strict=True) if not cold]
            adapt(encoder, texts, settings, self.text.batch_tokens, 0)
            inputs = self._freeze(encoder)
        settings = FineTuneConfig.model_validate({**self.settings.model_dump(), **rest})
        seen: list[int] = []
        began = time.perf_counter()
        if not settings.epochs:
            embeddings = encode_inputs(encoder, inputs)
        else:
            full = tokenize_texts(encoder, world.texts) if settings.method == "full" else inputs
            data = FineTuningData(full, world.train, self._factors(settings), self._fields(settings, encoder))
            runtime = Runtime(progress=lambda examples, _: seen.append(examples))
            tuned = fine_tune(encoder, data, settings, 0, runtime)
            embeddings = tuned.embeddings
        tuning = time.perf_counter() - began
        score = self._fit_interest(embeddings, name == "zero-shot", encoder.precision)
        seconds = time.perf_counter() - started
        values = {**world.measure_warm(score), **world.measure_cold(score)}
        return Row(values, seconds, sum(seen) / tuning)

    def _fit_interest(self, embeddings: NDArray[np.float32], plain: bool, precision: str) -> Scorer:
        if plain:
            return ProfileSource("zero-shot", embeddings).score
        world = self.world
        model = InterestModel(embeddings.shape[1], self.text.interest)
        model.fit(world.train, embeddings, 0, texts=pl.Series(world.texts), precision=precision)
        return InterestSource("text", "", model, embeddings).score

    def _fields(self, settings: FineTuneConfig, encoder: Encoder) -> list[NDArray[np.int16]] | None:
        if not settings.augmentation.field_dropout:
            return None
        parts = zip(*(make_texts(self.world.items, [field]).to_list() for field in self.text.fields), strict=True)
        return find_token_fields(encoder, self.world.texts, list(parts))

    def _factors(self, settings: FineTuneConfig) -> NDArray[np.float32] | None:
        if not settings.objectives.cf_alignment and not settings.hard_negatives.als:
            return None
        if self.factors is None:
            config = self.world.config
            self.factors = AlsModel.fit(self.world.train, config.collab.als, 0, config.threads).item_factors
        return self.factors


def main() -> None:
    """Print one line per recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--cold", type=int, required=True, help="items held back")
    parser.add_argument("--liked", type=float, help="values from this one on count as taken")
    parser.add_argument("--recipes", default="", help="names, separated by semicolons; all of them if left out")
    parser.add_argument("--epochs", type=int, help="passes over the catalogue instead of the config's")
    parser.add_argument("--layers", type=int, help="trainable layers instead of the config's")
    parser.add_argument("--tokens", type=int, help="most tokens of a text instead of the config's")
    parser.add_argument("--steps", type=int, help="most steps of the interest model instead of the config's")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(given.threads)
    world = load_cold_world(given.config, given.cold, liked=given.liked)
    text = world.config.text
    if given.tokens:
        text = text.model_copy(update={"max_tokens": given.tokens})
    if given.steps:
        text = text.model_copy(update={"interest": text.interest.model_copy(update={"max_steps": given.steps})})
    changes = {"epochs": given.epochs, "trainable_layers": given.layers}
    settings = text.fine_tune.model_copy(update={name: value for name, value in changes.items() if value})
    kitchen = Kitchen(world, text, settings)
    print(
        f"{world.config.name}: {world.items.height:,} items, {given.cold:,} of them cold; "
        f"{world.train.n_users:,} users, {len(world.train.items):,} pairs; asked for cold items: "
        f"{world.asked.n_users:,}, for a warm one: {world.warm_users.n_users:,}; frozen layers {kitchen.freezing:.0f} s"
    )
    names = [name.strip() for name in given.recipes.split(";")] if given.recipes else None
    reference: Row | None = None
    for name, recipe in RECIPES.items():
        if names is not None and name.strip() not in names:
            continue
        row = kitchen.cook(name, recipe)
        reference = row if name == "frozen" else reference
        print(describe(name, row, reference), flush=True)


def describe(name: str, row: Row, reference: Row | None) -> str:
    """Return one line: means with intervals, and the differences to the reference."""
    parts = [f"{name:33s} {row.seconds:5.0f} s {row.examples_per_second:6.0f} ex/s"]
    for metric, values in row.values.items():
        mean = mean_interval(values, 1000, 0.95, 0)
        text = f"{metric} {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]"
        if reference is not None and reference is not row:
            gap = compare_paired(values, reference.values[metric], 1000, 0.95, 0)
            text += f" ({gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}])"
        parts.append(text)
    return " | ".join(parts)


if __name__ == "__main__":
    main()
