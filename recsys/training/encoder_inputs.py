"""The catalogue's texts, prepared for the encoder once for all fits of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config, TextConfig
from recsys.dataset.histories import Histories
from recsys.progress import format_count, log_stage, progress_bar
from recsys.text.encoder import Encoder
from recsys.text.item_text import ItemTexts
from recsys.text.masked_language import adapt, count_adaptation_steps
from recsys.text.own_bert import build_own_bert
from recsys.text.training.data import FineTuningData
from recsys.text.training.layer_inputs import (
    LayerInputs,
    encode_inputs,
    find_token_fields,
    freeze_states,
    tokenize_texts,
)


@dataclass
class EncoderInputs:
    """An encoder that has not learned from users, and the texts that its trainable layers will learn from.

    Attributes:
        item_texts: in the items' order.
        known: (n_items) bool: the item was known at the cutoff; nothing learns from other texts.
        layer_inputs: of all texts, computed once for all fits of a run; None once they are released.
        token_fields: for each text, the field of each token; None if no setting uses it.
        curves: losses of the adaptation, if there was one.
        checkpoint: SHA-256 of the weights that the encoder starts from; empty for one that is trained from scratch.
    """

    item_texts: ItemTexts
    known: NDArray[np.bool_]
    layer_inputs: LayerInputs | None
    token_fields: Sequence[NDArray[np.int16]] | None
    curves: dict[str, list[float]]
    checkpoint: str
    _encoder: Encoder

    @property
    def precision(self) -> str:
        """The precision of the encoder's matrix products, `float32` or `bfloat16`."""
        return self._encoder.precision

    def copy_encoder(self) -> Encoder:
        """Return a copy of the encoder before fine-tuning, which the caller may change."""
        return copy.deepcopy(self._encoder)

    def make_training_data(self, histories: Histories, factors: NDArray[np.float32] | None) -> FineTuningData:
        """Return what a fine-tuning learns from: these texts, with histories over them.

        Args:
            histories: as of a cutoff, over the same catalogue.
            factors: (n_items, factor_size) float32 collaborative factors as of the same cutoff, if they are used.
        """
        return FineTuningData(self.read_layer_inputs(), histories, factors, self.token_fields, self.zero_shot)

    def release(self) -> None:
        """Free the memory of the layer inputs: nothing more can be fitted, but the vectors of `zero_shot` stay.

        They are the largest part of a training on many texts: 6 GB for 100,000 texts of 80 tokens.
        """
        self.layer_inputs = None

    @cached_property
    def zero_shot(self) -> NDArray[np.float32]:
        """(n_items, embedding_size) float32, unit rows: the vectors before fine-tuning; a baseline, too."""
        count = len(self.item_texts)
        with log_stage("zero-shot embedding") as done, progress_bar("Zero-shot embedding", count) as progress:
            embeddings = encode_inputs(self._encoder, self.read_layer_inputs(), progress)
            done(f"{format_count(count, 'text')}")
        return embeddings

    def read_layer_inputs(self) -> LayerInputs:
        """Return the layer inputs, which must not be released yet."""
        if self.layer_inputs is None:
            raise RuntimeError("encoder inputs: released; prepare them again to fit another encoder")
        return self.layer_inputs


def prepare_encoder_inputs(config: Config, items: pl.DataFrame, cutoff: datetime | None) -> EncoderInputs:
    """Load or build the encoder, adapt it to the texts if configured, and run all texts through its frozen layers.

    Args:
        config: the text section.
        items: `Items`.
        cutoff: a vocabulary, an adaptation and the axes of a projection learn only from items known before it.
    """
    text = config.text
    item_texts = ItemTexts.from_items(items, text.fields)
    known = item_texts.known_at(cutoff)
    known_texts = item_texts.texts.filter(known).to_list()
    encoder = _make_encoder(config, known_texts)
    curves = _adapt(config, encoder, known_texts)
    if text.projection:
        with log_stage("projection") as done, progress_bar("Projection", len(known_texts)) as progress:
            encoder.project(encoder.encode(known_texts, progress), text.projection)
            done(f"to {text.projection} principal axes")
    texts = item_texts.texts.to_list()
    layer_inputs = make_layer_inputs(text, encoder, texts)
    token_fields = find_fields(text, encoder, item_texts)
    checkpoint = "" if text.own_bert else encoder.hash_checkpoint()
    return EncoderInputs(item_texts, known.to_numpy(), layer_inputs, token_fields, curves, checkpoint, encoder)


def _make_encoder(config: Config, texts: Sequence[str]) -> Encoder:
    text = config.text
    if text.own_bert is None:
        return Encoder(text.checkpoint, text)
    with TemporaryDirectory() as folder, log_stage("own BERT") as done:
        build_own_bert(texts, text.own_bert, text.max_tokens, Path(folder), config.seed)
        encoder = Encoder(folder, text)
        done(
            f"{format_count(encoder.model.config.vocab_size, 'token')} from {format_count(len(texts), 'text')}, "
            f"{format_count(len(encoder.layers), 'layer')}"
        )
    return encoder


def _adapt(config: Config, encoder: Encoder, texts: Sequence[str]) -> dict[str, list[float]]:
    text = config.text
    if not text.adaptation.epochs:
        return {}
    steps = count_adaptation_steps(encoder, texts, text.adaptation, text.batch_tokens)
    with log_stage("adaptation") as done, progress_bar("Adaptation", steps) as progress:
        losses = adapt(encoder, texts, text.adaptation, text.batch_tokens, config.seed, progress)
        done(f"{format_count(len(losses), 'step')}" + (f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if losses else ""))
    return {"adaptation_loss": losses}


def find_fields(text: TextConfig, encoder: Encoder, item_texts: ItemTexts) -> Sequence[NDArray[np.int16]] | None:
    """Return the field of each token of each text, if a setting uses it."""
    if not text.fine_tune.augmentation.field_dropout:
        return None
    return find_token_fields(encoder, item_texts.texts.to_list(), item_texts.split_by_field())


def make_layer_inputs(text: TextConfig, encoder: Encoder, texts: Sequence[str]) -> LayerInputs:
    """Run the encoder's frozen layers over the texts."""
    layer_inputs: LayerInputs
    with log_stage("encoder") as done, progress_bar("Fixed layers", len(texts)) as progress:
        if text.fine_tune.method == "full":
            layer_inputs = tokenize_texts(encoder, texts)
            done(f"tokenized {format_count(len(texts), 'text')}; no layers are fixed")
        else:
            layer_inputs = freeze_states(encoder, texts, text.fine_tune.trainable_layers, progress)
            done(f"ran the fixed layers over {format_count(len(texts), 'text')}")
    return layer_inputs
