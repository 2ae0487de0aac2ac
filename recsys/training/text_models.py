"""The models that read the catalogue's texts, as of each cutoff of a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.models import CandidateModels, fit_text_neighbours
from recsys.collab.neighbours import NeighbourModel
from recsys.config import AUTO, Config, InterestConfig
from recsys.dataset.histories import SECONDS_PER_DAY, Histories
from recsys.dataset.item_vectors import Vectors, read_vectors
from recsys.dataset.windows import Fold
from recsys.progress import format_count, log_stage, logger, progress_bar
from recsys.serving.bundle import Bundle
from recsys.serving.starting_point import StartingPoint
from recsys.storage.memory import return_freed_memory
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.item_text import ItemTexts
from recsys.training.encoder_choice import EncoderChoice, EncoderTrial, keep_choice
from recsys.training.encoder_fitting import fit_encoder
from recsys.training.encoder_inputs import EncoderInputs
from recsys.training.encoder_refresh import is_refreshed, refresh_encoder
from recsys.training.order import measure_order
from recsys.training.source_use import settle_use


@dataclass(frozen=True)
class HistorySnapshot:
    """The histories at one cutoff, and the interest models that learned from them."""

    histories: Histories
    interest: InterestModel
    sequence: InterestModel

    @property
    def models(self) -> dict[str, InterestModel]:
        """The interest models by name."""
        return {"interest": self.interest, "sequence": self.sequence}


@dataclass(frozen=True)
class TextModels:
    """The models that read the catalogue's texts.

    Attributes:
        item_texts: of the catalogue.
        encoder: the same in every window and at night, and so are the embeddings.
        embeddings: (n_items, embedding_size) float32, rows unit length.
        checkpoint: SHA-256 of the weights that the encoder was fine-tuned from; empty: trained from scratch.
        vectors: of the items from elsewhere, by name.
        history_snapshots: the one that serves, then those of the label windows, newest first.
        curves: losses of the fine-tuning, and of the interest models by epoch, from the oldest snapshot to the newest:
            all the training that the newest models had.
        curve_parts: name of a curve of several trainings -> number of values of each.
        choice: how much of the untouched encoder the encoder keeps, and why; None: it was not left to the data.
        neighbours: TF-IDF neighbours for each set of known texts; in most catalogues it is the same for all windows.
    """

    item_texts: ItemTexts
    encoder: Encoder
    embeddings: NDArray[np.float32]
    checkpoint: str
    vectors: Mapping[str, Vectors]
    history_snapshots: list[HistorySnapshot]
    curves: dict[str, list[float]]
    curve_parts: dict[str, list[int]] = field(default_factory=dict)
    choice: EncoderChoice | None = None
    neighbours: list[tuple[pl.Series, NeighbourModel]] = field(default_factory=list)

    def settle(self, config: Config) -> Config:
        """Return the config with the share of the untouched weights that was chosen, if it was left to the data."""
        return self.choice.settle(config) if self.choice else config

    @property
    def serving(self) -> HistorySnapshot:
        """What the models that serve know."""
        return self.history_snapshots[0]

    @property
    def labels(self) -> list[HistorySnapshot]:
        """What is known at the cutoff of each label window, newest first."""
        return self.history_snapshots[1:]

    def make_starting_point(self, candidate_models: CandidateModels) -> StartingPoint | None:
        """Return where a later training can continue; None without times.

        Args:
            candidate_models: as of the oldest cutoff, those alone that training can continue from.
        """
        oldest = self.history_snapshots[-1]
        if oldest.histories.cutoff is None:
            return None
        trained = {name: model for name, model in oldest.models.items() if model.trained}
        return StartingPoint(oldest.histories.cutoff, trained, candidate_models)

    def fit_neighbours(self, config: Config, cutoff: datetime | None) -> NeighbourModel:
        """Return the TF-IDF neighbours as of an instant: later texts must not even change the weights of terms."""
        texts = self.item_texts.as_of(cutoff)
        for known, fitted in self.neighbours:
            if known.equals(texts):
                return fitted
        with log_stage("TF-IDF") as done:
            fitted = fit_text_neighbours(texts, config.text.tfidf)
            done(f"{format_count(fitted.similarity.nnz, 'neighbour')}")
        self.neighbours.append((texts, fitted))
        return fitted


def fit_text(
    config: Config,
    items: pl.DataFrame,
    encoder_inputs: EncoderInputs,
    fold: Fold,
    *,
    resume: Path | None = None,
    last: bool = False,
) -> TextModels:
    """Fit the text models: the encoder on the oldest histories, interest models on each.

    The arguments are those of `fit_bundle`.
    """
    histories = _build_histories(items, fold)
    trial, settings = None, config.text.fine_tune
    if settings.epochs and settings.untouched_share == AUTO:
        trial = EncoderTrial(config, items, histories[0], fold.labels, encoder_inputs.precision)
    fitted = fit_encoder(config, encoder_inputs, histories[0], resume=resume, trial=trial)
    if last:
        encoder_inputs.release()
    return_freed_memory()
    if fitted.choice:
        logger.info("auto settings: %s", fitted.choice.describe())
    text = TextModels(
        encoder_inputs.item_texts,
        fitted.encoder,
        fitted.embeddings,
        encoder_inputs.checkpoint,
        read_vectors(items),
        [],
        fitted.curves,
        choice=fitted.choice,
    )
    return _add_snapshots(_decide_on_sequence(config, histories[0], fold), text, histories)


def continue_text(config: Config, items: pl.DataFrame, fold: Fold, earlier: Bundle) -> TextModels:
    """Continue the text models of an earlier training on the windows of a later one.

    The encoder stays, so only texts that are new to it are encoded, unless `continuation.encoder_steps` lets it learn
    from what is new before the oldest label window. The interest models start as of the oldest label
    window of the earlier training, and continue through the cutoffs of the fold on all events before each: old events
    are replayed with the new ones.

    Args:
        config: settings; those of the text models are the earlier training's.
        items: `Items` of today.
        fold: of the later training.
        earlier: an evaluation model from which the fold can continue; see `recsys.training.continuation`.
    """
    item_texts = earlier.make_item_texts(items)
    new = len(earlier.find_new_texts(item_texts))
    with log_stage("embedding") as done, progress_bar("Embedding", len(item_texts)) as progress:
        embeddings = earlier.embed(item_texts, progress)
        done(f"{format_count(new, 'new text')} of {len(item_texts):,}")
    start, histories = earlier.start.models if earlier.start else {}, _build_histories(items, fold)
    encoder, curves = earlier.encoder, {}
    if is_refreshed(config, earlier):
        encoder, embeddings, curves["fine_tuning_loss"] = refresh_encoder(
            config, earlier, item_texts, embeddings, histories[0]
        )
    choice = keep_choice(earlier.config)
    text = TextModels(
        item_texts, encoder, embeddings, earlier.checkpoint, read_vectors(items), [], curves, choice=choice
    )
    if "sequence" not in start:
        config = _decide_on_sequence(config, histories[0], fold)
    return _add_snapshots(config, text, histories, start)


def extend_text(config: Config, items: pl.DataFrame, text: TextModels, fold: Fold) -> TextModels:
    """Return the text models of the next fold: the interest models continue, the encoder stays.

    Args:
        config: the settings that the models were fitted with.
        items: `Items`, the same.
        text: of a fold; its oldest snapshot is dropped.
        fold: the one whose newest label window begins where the other's history ends.
    """
    extended = _add_snapshots(config, text, [fold.known.gather(items, fold.cutoff)])
    return replace(extended, history_snapshots=extended.history_snapshots[:-1])


def _decide_on_sequence(config: Config, oldest: Histories, fold: Fold) -> Config:
    """Return the settings, without the source `sequence` if its model is not to be fitted.

    Args:
        config: all settings.
        oldest: histories as of the oldest label window, which is all that may be looked at.
        fold: the windows.
    """
    depths, use = config.candidates.depths, config.text.sequence.use
    if "sequence" not in depths or len(depths) == 1:
        return config
    if use != AUTO:
        return settle_use(config, "sequence", use is True)
    window = fold.labels[-1]
    days = (window.end - window.cutoff).total_seconds() / SECONDS_PER_DAY if window.cutoff and window.end else None
    with log_stage("order") as done:
        found = measure_order(oldest, days, config)
        fits = found is not None and found.is_clear
        reason = found.describe() if found else "the histories have no order, or too few users tell"
        done(f"{reason}: {'a' if fits else 'no'} sequence model")
    return settle_use(config, "sequence", fits)


def _build_histories(items: pl.DataFrame, fold: Fold) -> list[Histories]:
    """Return the histories at every cutoff of a fold, oldest first."""
    known = [*((window.known, window.cutoff) for window in reversed(fold.labels)), (fold.known, fold.cutoff)]
    return [events.gather(items, cutoff) for events, cutoff in known]


def _add_snapshots(
    config: Config,
    text: TextModels,
    histories: Sequence[Histories],
    start: Mapping[str, InterestModel] | None = None,
) -> TextModels:
    """Return the text models with newer histories, which are given oldest first.

    Interest models continue from the newest ones so far; the first ones from `start`, where it has them.
    """
    for each in histories:
        newest = text.serving.models if text.history_snapshots else start or {}
        text = _add_snapshot(config, text, each, newest)
    return text


def _add_snapshot(
    config: Config, text: TextModels, histories: Histories, newest: Mapping[str, InterestModel]
) -> TextModels:
    curves, parts = dict(text.curves), dict(text.curve_parts)

    def fit(name: Literal["interest", "sequence"]) -> InterestModel:
        model, losses = _fit_interest(config, name, text, histories, newest.get(name))
        curve = f"{name}_loss"
        curves[curve], parts[curve] = [*curves.get(curve, []), *losses], [*parts.get(curve, []), len(losses)]
        return model

    interest = fit("interest")
    if "sequence" in config.candidates.depths:
        sequence = fit("sequence")
    else:
        sequence = InterestModel(text.encoder.embedding_size, config.text.sequence)
    added = HistorySnapshot(histories, interest, sequence)
    return replace(text, history_snapshots=[added, *text.history_snapshots], curves=curves, curve_parts=parts)


def _fit_interest(
    config: Config,
    name: Literal["interest", "sequence"],
    text: TextModels,
    histories: Histories,
    start: InterestModel | None,
) -> tuple[InterestModel, list[float]]:
    """Return an interest model that learned from the histories, continuing from an older one, and its losses."""
    settings: InterestConfig = getattr(config.text, name)
    model = InterestModel(text.encoder.embedding_size, settings)
    steps = model.count_steps(histories, start)
    with log_stage(f"{name} model") as done, progress_bar(f"{name.capitalize()} model", steps) as progress:
        losses = model.fit(
            histories,
            text.embeddings,
            config.seed,
            progress,
            texts=text.item_texts.texts,
            vectors=text.vectors,
            start=start,
            precision=text.encoder.precision,
        )
        epochs = format_count(len(losses), "epoch")
        fall = f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if len(losses) > 1 else ""
        done(
            f"{'trained' if start is None else 'refreshed'} on "
            f"{format_count(histories.n_users, 'history', 'histories')}, {epochs}{fall}"
        )
    return_freed_memory()
    return model, losses
