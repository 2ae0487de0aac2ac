"""The catalogue as the encoder meets it, before users have taught it anything."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Config
from recsys.dataset.histories import find_known
from recsys.progress import log_stage, progress_bar
from recsys.text.encoder import Encoder
from recsys.text.item_text import make_texts
from recsys.text.masked_language import adapt, count_adaptation_steps
from recsys.text.own_bert import build_own_bert
from recsys.text.training.inputs import Inputs, encode_inputs, freeze_states, read_fields, read_tokens


@dataclass(frozen=True)
class EncoderInputs:
    """Texts, an encoder that knows no users yet, and what goes into the layers that will learn from them.

    Attributes:
        texts: (n_items) one per item, in the items' order.
        known: (n_items) bool: the texts that could be read at the cut-off; nothing learns from others.
        inputs: of all texts, computed once for all fits of a run.
        fields: of each text the field of each token, where a setting asks for it.
        curves: losses of the adaptation, where there was one.
    """

    texts: list[str]
    known: NDArray[np.bool_]
    inputs: Inputs
    fields: Sequence[NDArray[np.int16]] | None
    curves: dict[str, list[float]]
    _encoder: Encoder

    def make_encoder(self) -> Encoder:
        """Return the encoder as it is before fine-tuning, to be changed at will."""
        return copy.deepcopy(self._encoder)

    def embed_zero_shot(self) -> NDArray[np.float32]:
        """Return (n_items, embedding_size) float32, unit rows: what a baseline knows that users taught nothing."""
        with log_stage("zero-shot embedding") as done, progress_bar("Zero-shot embedding", len(self.texts)) as progress:
            embeddings = encode_inputs(self._encoder, self.inputs, progress)
            done(f"{len(self.texts):,} texts")
        return embeddings


def prepare_encoder_inputs(config: Config, items: pl.DataFrame, cutoff: datetime | None) -> EncoderInputs:
    """Load or build the encoder, adapt it to the texts if wanted, and run them through the layers that stay frozen.

    Args:
        config: the text section.
        items: `Items`.
        cutoff: a vocabulary, an adaptation and the axes of a projection learn from items known before it alone.
    """
    text = config.text
    texts = make_texts(items, text.fields)
    is_known = find_known(items, cutoff)
    known = texts.filter(is_known).to_list()
    encoder = _make_encoder(config, known)
    curves = _adapt(config, encoder, known)
    everything = texts.to_list()
    if text.projection:
        with log_stage("projection") as done, progress_bar("Projection", len(known)) as progress:
            encoder.project(encoder.encode(known, progress), text.projection)
            done(f"to {text.projection} principal axes")
    method = text.fine_tune.method
    with log_stage("frozen layers") as done, progress_bar("Frozen layers", len(everything)) as progress:
        inputs: Inputs
        if method == "full":
            inputs = read_tokens(encoder, everything)
        else:
            inputs = freeze_states(encoder, everything, text.fine_tune.trainable_layers, progress)
        done(f"{len(everything):,} texts, {inputs.starts[-1]:,} tokens" + ("; none is frozen" * (method == "full")))
    fields = None
    if text.fine_tune.augmentation.field_dropout:
        parts = zip(*(make_texts(items, [field]).to_list() for field in text.fields), strict=True)
        fields = read_fields(encoder, everything, list(parts))
    return EncoderInputs(everything, is_known.to_numpy(), inputs, fields, curves, encoder)


def _make_encoder(config: Config, texts: Sequence[str]) -> Encoder:
    text = config.text
    if text.own_bert is None:
        return Encoder(text.checkpoint, text)
    with TemporaryDirectory() as folder, log_stage("own BERT") as done:
        build_own_bert(texts, text.own_bert, text.max_tokens, Path(folder), config.seed)
        encoder = Encoder(folder, text)
        done(f"{encoder.model.config.vocab_size:,} words from {len(texts):,} texts, {len(encoder.layers)} layers")
    return encoder


def _adapt(config: Config, encoder: Encoder, texts: Sequence[str]) -> dict[str, list[float]]:
    text = config.text
    if not text.adaptation.epochs:
        return {}
    steps = count_adaptation_steps(encoder, texts, text.adaptation, text.batch_tokens)
    with log_stage("adaptation") as done, progress_bar("Adaptation", steps) as progress:
        losses = adapt(encoder, texts, text.adaptation, text.batch_tokens, config.seed, progress)
        done(f"{len(losses):,} steps" + (f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if losses else ""))
    return {"adaptation_loss": losses}
