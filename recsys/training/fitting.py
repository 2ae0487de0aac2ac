"""Fitting a bundle: every part as of its own cut-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.models import CandidateModels, FitInputs, fit_text_neighbours, read_known_texts
from recsys.candidates.statistics import count_statistics
from recsys.collab.neighbours import NeighbourModel
from recsys.config import Config, InterestConfig
from recsys.dataset.histories import Histories, build_histories, find_recommendable
from recsys.dataset.windows import Window
from recsys.progress import log_stage, progress_bar
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import label_rows, number_pairs
from recsys.serving.bundle import Bundle, Recommender
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.training.calibration import calibrate
from recsys.training.encoder_fitting import fit_encoder
from recsys.training.encoder_inputs import EncoderInputs


@dataclass(frozen=True)
class Fitted:
    """A bundle, what its ranker learned from, and how the text models' losses fell."""

    bundle: Bundle
    rows: pl.DataFrame
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class HistorySnapshot:
    """What was known at one cut-off, and the interest models that learned from it."""

    histories: Histories
    interest: InterestModel
    sequence: InterestModel


@dataclass(frozen=True)
class TextModels:
    """What reads the catalogue's texts.

    Attributes:
        encoder: the same in every window and at night, and so are the embeddings.
        embeddings: (n_items, embedding_size) float32, unit rows.
        history_snapshots: the one that serves, then those of the label windows, newest first.
        curves: losses of the fine-tuning, and of the interest models epoch by epoch from the oldest past to the newest:
            all that the ones that serve have gone through.
        neighbours: TF-IDF by what was known: in most catalogues that is the same for all windows.
    """

    encoder: Encoder
    embeddings: NDArray[np.float32]
    history_snapshots: list[HistorySnapshot]
    curves: dict[str, list[float]]
    neighbours: list[tuple[pl.Series, NeighbourModel]] = field(default_factory=list)

    def find_neighbours(self, config: Config, items: pl.DataFrame, cutoff: datetime | None) -> NeighbourModel:
        """Return the TF-IDF neighbours as of an instant: later texts may not even shift the weights of words."""
        texts = read_known_texts(items, cutoff, config.text.fields)
        for known, fitted in self.neighbours:
            if known.equals(texts):
                return fitted
        with log_stage("TF-IDF") as done:
            fitted = fit_text_neighbours(texts, config.text.tfidf)
            done(f"{fitted.similarity.nnz:,} neighbours")
        self.neighbours.append((texts, fitted))
        return fitted


def fit_bundle(
    config: Config,
    items: pl.DataFrame,
    catalogue: EncoderInputs,
    labels: Sequence[Window],
    history: pl.DataFrame,
    cutoff: datetime | None,
    text: TextModels | None = None,
    resume: Path | None = None,
) -> Fitted:
    """Fit all parts of one bundle.

    The encoder learns from before the oldest label window, so its embeddings look in every label window as they will
    at night. For each label window the interest and collaborative models are fitted on what came before it; the ranker
    learns from all of them; those that serve are fitted on the whole history.

    Args:
        config: all settings.
        items: `Items`.
        catalogue: from `prepare_encoder_inputs`.
        labels: windows that the ranker learns from, newest first.
        history: `Interactions` that the serving parts may know.
        cutoff: the instant the bundle is as of.
        text: from `fit_text` with the same windows, history and cut-off, where several bundles share it; None: fitted
            here.
        resume: folder in which a killed fine-tuning is found again; None: it starts anew.
    """
    text = text or fit_text(config, items, catalogue, labels, history, cutoff, resume=resume)
    rows, recommender, config = _collect_rows(config, items, text, labels)
    with log_stage("ranker") as done:
        ranker = Ranker.fit(
            rows,
            _exclude_features(recommender.features, config.ranking.exclude_features),
            recommender.source_names,
            config.ranking,
            n=config.evaluation.n,
            seed=config.seed,
            threads=config.threads,
        )
        done(f"{rows.height:,} rows; {ranker.describe()}")
    past = text.history_snapshots[0]
    served = _prepare(config, _fit_stage_one(config, items, text, past), items, text, past)
    bundle = Bundle(
        config, cutoff, served.candidate_models, ranker, text.encoder, items, text.embeddings, served.statistics
    )
    return Fitted(bundle, rows, text.curves)


def fit_text(
    config: Config,
    items: pl.DataFrame,
    catalogue: EncoderInputs,
    labels: Sequence[Window],
    history: pl.DataFrame,
    cutoff: datetime | None,
    *,
    resume: Path | None = None,
) -> TextModels:
    """Fit what reads texts: the encoder on the oldest past, and the interest models on each; see `fit_bundle`."""
    history_snapshots = [(history, cutoff), *((window.history, window.cutoff) for window in labels)]
    known = [build_histories(interactions, items, instant) for interactions, instant in history_snapshots]
    encoder, embeddings, curves = fit_encoder(config, catalogue, known[-1], resume=resume)
    bfloat16 = encoder.precision == "bfloat16"
    texts = pl.Series("text", catalogue.texts, dtype=pl.String)
    sequence = [InterestModel(encoder.embedding_size, config.text.sequence)] * len(known)
    interest, curves["interest_loss"] = _fit_interest(config, "interest", texts, known, embeddings, bfloat16)
    if "sequence" in config.candidates.depths:
        sequence, curves["sequence_loss"] = _fit_interest(config, "sequence", texts, known, embeddings, bfloat16)
    return TextModels(encoder, embeddings, [*map(HistorySnapshot, known, interest, sequence)], curves)


def _fit_interest(
    config: Config,
    name: Literal["interest", "sequence"],
    texts: pl.Series,
    history_snapshots: Sequence[Histories],
    embeddings: NDArray[np.float32],
    bfloat16: bool,
) -> tuple[list[InterestModel], list[float]]:
    """Return an interest model for each past and all losses; from the oldest on, each goes on from the one before."""
    settings: InterestConfig = getattr(config.text, name)
    models: list[InterestModel] = []
    curve: list[float] = []
    for histories in reversed(history_snapshots):
        model, start = InterestModel(embeddings.shape[1], settings), models[-1] if models else None
        steps = model.count_steps(histories, start)
        with log_stage(f"{name} model") as done, progress_bar(f"{name.capitalize()} model", steps) as progress:
            losses = model.fit(
                histories,
                embeddings,
                config.seed,
                progress,
                texts=texts,
                start=start,
                bfloat16=bfloat16,
            )
            done(f"{len(losses)} epochs" + (f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if losses else ""))
        models.append(model)
        curve += losses
    return models[::-1], curve


def _collect_rows(
    config: Config, items: pl.DataFrame, text: TextModels, labels: Sequence[Window]
) -> tuple[pl.DataFrame, Recommender, Config]:
    """Return `TrainingRows` of all label windows, one of their recommenders (all have the same features), and settings.

    The settings are the config's with each `auto` measured on the newest label window.
    """
    parts, everyone = [], text.history_snapshots[0].histories.user_ids
    for number, (window, past) in enumerate(zip(labels, text.history_snapshots[1:], strict=True)):
        candidate_models = _fit_stage_one(config, items, text, past)
        users = past.histories.take(_draw_users(window, past.histories, config))
        positives = number_pairs(window.positives, users)
        if number == 0:
            config = _calibrate(config, candidate_models, past.histories, users, positives, items)
        recommender = _prepare(config, candidate_models, items, text, past)
        with log_stage(f"training rows, {window.name}") as done:
            described = recommender.describe(recommender.propose(users), users)
            at_most, seed = config.ranking.max_rows // len(labels), config.seed + number
            shown = number_pairs(window.shown, users)
            labelled = label_rows(described, positives, shown, window=number, at_most=at_most, seed=seed)
            places = everyone.search_sorted(users.user_ids)
            parts.append(labelled.with_columns(places.gather(labelled["user_index"]).alias("user_index")))
            done(f"{parts[-1].height:,} rows of {users.n_users:,} users")
    return pl.concat(parts), recommender, config


def _calibrate(
    config: Config,
    candidate_models: CandidateModels,
    histories: Histories,
    users: Histories,
    positives: pl.DataFrame,
    items: pl.DataFrame,
) -> Config:
    with log_stage("settings left to the data") as done:
        recommendable = find_recommendable(items, histories.cutoff)
        config, told = calibrate(config, candidate_models, histories, users, positives, recommendable)
        done("; ".join(told) or "none")
    return config


def _fit_stage_one(config: Config, items: pl.DataFrame, text: TextModels, past: HistorySnapshot) -> CandidateModels:
    tfidf = text.find_neighbours(config, items, past.histories.cutoff)
    with log_stage("collaborative models") as done:
        inputs = FitInputs(past.histories, items, text.embeddings, config)
        fitted = {"interest": past.interest, "sequence": past.sequence, "tfidf": tfidf}
        candidate_models = CandidateModels.fit(inputs, fitted)
        done(f"{past.histories.n_users:,} users, {len(past.histories.items):,} pairs")
    return candidate_models


def _prepare(
    config: Config, candidate_models: CandidateModels, items: pl.DataFrame, text: TextModels, past: HistorySnapshot
) -> Recommender:
    statistics = count_statistics(past.histories, items, config.candidates)
    attributes = list(config.dataset.items.attributes)
    cutoff = past.histories.cutoff
    return Recommender.prepare(
        config, candidate_models.with_decays(config), items, text.embeddings, statistics, cutoff, attributes
    )


def _exclude_features(features: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in features if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _draw_users(window: Window, histories: Histories, config: Config) -> pl.Series:
    """Users with positives in the window whom the histories know, at most `ranking.max_users` of them."""
    known = pl.DataFrame({"user_id": histories.user_ids})
    users = window.positives.select("user_id").unique().join(known, on="user_id", how="semi")["user_id"].sort()
    if len(users) <= config.ranking.max_users:
        return users
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: config.ranking.max_users]
    return users.gather(drawn)
