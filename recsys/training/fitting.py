"""Fitting a bundle: each part as of its cutoff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.models import CandidateModels, FitInputs, fit_text_neighbours
from recsys.candidates.statistics import count_statistics
from recsys.collab.neighbours import NeighbourModel
from recsys.config import Config, InterestConfig
from recsys.dataset.histories import Histories, build_histories, find_recommendable
from recsys.dataset.item_vectors import Vectors, read_vectors
from recsys.dataset.windows import Fold, Window
from recsys.progress import format_count, log_stage, logger, progress_bar
from recsys.ranking.ranker import Ranker, count_trees
from recsys.ranking.training_rows import label_rows
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender
from recsys.text.encoder import Encoder
from recsys.text.interest import InterestModel
from recsys.text.item_text import ItemTexts
from recsys.training.calibration import calibrate
from recsys.training.encoder_fitting import fit_encoder
from recsys.training.encoder_inputs import EncoderInputs


@dataclass(frozen=True)
class Fitted:
    """A bundle, the rows that its ranker learned from, and the loss curves of the text models.

    Attributes:
        bundle: all fitted parts.
        rows: `TrainingRows`.
        curves: losses by the name of the model.
        differences: sentences on where the ranker differs from the choice of the evaluation model.
        curve_parts: name of a curve of several trainings -> number of values of each.
    """

    bundle: Bundle
    rows: pl.DataFrame
    curves: dict[str, list[float]]
    differences: list[str] = field(default_factory=list)
    curve_parts: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class HistorySnapshot:
    """The histories at one cutoff, and the interest models that learned from them."""

    histories: Histories
    interest: InterestModel
    sequence: InterestModel


@dataclass(frozen=True)
class TextModels:
    """The models that read the catalogue's texts.

    Attributes:
        item_texts: of the catalogue.
        encoder: the same in every window and at night, and so are the embeddings.
        embeddings: (n_items, embedding_size) float32, rows unit length.
        history_snapshots: the one that serves, then those of the label windows, newest first.
        curves: losses of the fine-tuning, and of the interest models by epoch, from the oldest snapshot to the newest:
            all the training that the newest models had.
        curve_parts: name of a curve of several trainings -> number of values of each.
        neighbours: TF-IDF neighbours for each set of known texts; in most catalogues it is the same for all windows.
    """

    item_texts: ItemTexts
    encoder: Encoder
    embeddings: NDArray[np.float32]
    history_snapshots: list[HistorySnapshot]
    curves: dict[str, list[float]]
    curve_parts: dict[str, list[int]] = field(default_factory=dict)
    neighbours: list[tuple[pl.Series, NeighbourModel]] = field(default_factory=list)

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


def fit_bundle(
    config: Config,
    items: pl.DataFrame,
    encoder_inputs: EncoderInputs,
    fold: Fold,
    *,
    text: TextModels | None = None,
    resume: Path | None = None,
    evaluated: Fitted | None = None,
    block_lists: BlockLists | None = None,
) -> Fitted:
    """Fit all parts of one bundle.

    The encoder learns from events before the oldest label window, so in every label window its embeddings are like
    those at night. For each label window the interest and collaborative models are fitted on earlier events, and the
    ranker learns from the candidates of all label windows. The models that serve are fitted on the whole history.

    Args:
        config: all settings.
        items: `Items`.
        encoder_inputs: from `prepare_encoder_inputs`.
        fold: the label windows, and what the serving parts may know.
        text: from `fit_text` with the same fold, where several bundles share it; None: fitted here.
        resume: folder in which a killed fine-tuning is resumed; None: it starts from scratch.
        evaluated: the evaluation model, whose choices about the ranker are kept; None: they are made here.
        block_lists: kept in the bundle for the lists that it makes; None: nothing is blocked.
    """
    text = text or fit_text(config, items, encoder_inputs, fold, resume=resume)
    rows, recommender, config = _collect_rows(config, items, text, fold.labels)
    with log_stage("ranker") as done:
        ranker, differences = _fit_ranker(config, rows, recommender, evaluated)
        done(f"{format_count(rows.height, 'row')}; {ranker.describe()}")
    snapshot = text.history_snapshots[0]
    served = _prepare(config, _fit_candidate_models(config, items, text, snapshot), items, text, snapshot)
    bundle = Bundle(
        config,
        fold.cutoff,
        served.candidate_models,
        ranker,
        text.encoder,
        items,
        text.item_texts,
        text.embeddings,
        served.statistics,
        block_lists or BlockLists(),
        encoder_inputs.checkpoint,
    )
    return Fitted(bundle, rows, text.curves, differences, text.curve_parts)


def fit_text(
    config: Config, items: pl.DataFrame, encoder_inputs: EncoderInputs, fold: Fold, *, resume: Path | None = None
) -> TextModels:
    """Fit the text models: the encoder on the oldest histories, interest models on each; see `fit_bundle`."""
    known = [(fold.history, fold.cutoff), *((window.history, window.cutoff) for window in fold.labels)]
    histories = [build_histories(interactions, items, cutoff) for interactions, cutoff in known]
    encoder, embeddings, curves = fit_encoder(config, encoder_inputs, histories[-1], resume=resume)
    item_texts = encoder_inputs.item_texts
    texts, vectors, precision = item_texts.texts, read_vectors(items), encoder.precision
    sequence = [InterestModel(encoder.embedding_size, config.text.sequence)] * len(histories)
    parts: dict[str, list[int]] = {}

    def fit(name: Literal["interest", "sequence"]) -> list[InterestModel]:
        models, losses = _fit_interest(config, name, texts, vectors, histories, embeddings, precision)
        curves[f"{name}_loss"] = [loss for own in losses for loss in own]
        parts[f"{name}_loss"] = [len(own) for own in losses]
        return models

    interest = fit("interest")
    if "sequence" in config.candidates.depths:
        sequence = fit("sequence")
    snapshots = [*map(HistorySnapshot, histories, interest, sequence)]
    return TextModels(item_texts, encoder, embeddings, snapshots, curves, parts)


def _fit_interest(
    config: Config,
    name: Literal["interest", "sequence"],
    texts: pl.Series,
    vectors: Mapping[str, Vectors],
    snapshots: Sequence[Histories],
    embeddings: NDArray[np.float32],
    precision: str,
) -> tuple[list[InterestModel], list[list[float]]]:
    """Return an interest model for each snapshot, and the losses of each training from the oldest on.

    Each continues from the next older one.
    """
    settings: InterestConfig = getattr(config.text, name)
    models: list[InterestModel] = []
    curve: list[list[float]] = []
    for histories in reversed(snapshots):
        model, start = InterestModel(embeddings.shape[1], settings), models[-1] if models else None
        steps = model.count_steps(histories, start)
        with log_stage(f"{name} model") as done, progress_bar(f"{name.capitalize()} model", steps) as progress:
            losses = model.fit(
                histories,
                embeddings,
                config.seed,
                progress,
                texts=texts,
                vectors=vectors,
                start=start,
                precision=precision,
            )
            epochs = format_count(len(losses), "epoch")
            fall = f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if len(losses) > 1 else ""
            done(
                f"{'trained' if start is None else 'refreshed'} on "
                f"{format_count(histories.n_users, 'history', 'histories')}, {epochs}{fall}"
            )
        models.append(model)
        curve.append(losses)
    return models[::-1], curve


def _collect_rows(
    config: Config, items: pl.DataFrame, text: TextModels, labels: Sequence[Window]
) -> tuple[pl.DataFrame, Recommender, Config]:
    """Return `TrainingRows` of all label windows, a recommender (all have the same features), and the settings.

    The settings are the config's with each `auto` measured on the newest label window.
    """
    batches, all_users = [], text.history_snapshots[0].histories.user_map
    for number, (window, snapshot) in enumerate(zip(labels, text.history_snapshots[1:], strict=True)):
        models = _fit_candidate_models(config, items, text, snapshot)
        users = snapshot.histories.take(_draw_users(window, snapshot.histories, config))
        positives = users.number_pairs(window.positives.drop("events"))
        if number == 0:
            config = _calibrate(config, models, snapshot.histories, users, positives, items)
        recommender = _prepare(config, models, items, text, snapshot)
        name = f"training rows, {window.name}"
        with log_stage(name) as done, progress_bar(name.capitalize(), users.n_users) as progress:
            described = recommender.describe_candidates(users, progress)
            max_rows, seed = config.ranking.max_rows // len(labels), config.seed + number
            shown = users.number_pairs(window.shown)
            labelled = label_rows(described, positives, shown, window=number, max_rows=max_rows, seed=seed)
            # A user has one index in all windows: the index among all users known at the end.
            indexes = pl.Series("user_index", all_users.index_of(users.user_ids).astype(np.uint32))
            batches.append(labelled.with_columns(indexes.gather(labelled["user_index"])))
            done(f"{format_count(batches[-1].height, 'row')} of {format_count(users.n_users, 'user')}")
    return pl.concat(batches), recommender, config


def _fit_ranker(
    config: Config, rows: pl.DataFrame, recommender: Recommender, evaluated: Fitted | None
) -> tuple[Ranker, list[str]]:
    """Return the ranker, and where it differs from the choice of the evaluation model."""
    if evaluated is not None and (lack := _find_lack_of_users(config, rows, evaluated)):
        return evaluated.bundle.ranker, [lack]
    choice = None if evaluated is None else evaluated.bundle.ranker.choice
    with progress_bar("Ranker, trees", count_trees(rows, config.ranking, choice)) as progress:
        ranker = Ranker.fit(
            rows,
            _exclude_features(recommender.features, config.ranking.exclude_features),
            recommender.source_names,
            config.ranking,
            n=config.evaluation.n,
            seed=config.seed,
            threads=config.threads,
            choice=choice,
            progress=progress,
        )
    return ranker, [] if evaluated is None else _list_differences(ranker, rows, evaluated)


def _find_lack_of_users(config: Config, rows: pl.DataFrame, evaluated: Fitted) -> str:
    """Return why a refit has too few users for trees that were chosen by folds; empty if it has enough."""
    users, least = rows["user_index"].n_unique(), config.ranking.min_users_for_folds
    measured = evaluated.bundle.ranker.validation.gain is not None
    if not rows.is_empty() and (users >= least or not measured):
        return ""
    return (
        f"the refit has {format_count(users, 'user')} with a positive among the candidates, fewer than "
        f"ranking.min_users_for_folds {least:,}; the ranker of the evaluation model serves"
    )


def _list_differences(ranker: Ranker, rows: pl.DataFrame, evaluated: Fitted) -> list[str]:
    """Return where a refitted ranker differs from the choice of the evaluation model."""
    chosen = evaluated.bundle.ranker
    differences = []
    fitted, wanted = ranker.booster.num_trees(), chosen.booster.num_trees()
    if fitted != wanted:
        differences.append(
            f"the refit has {format_count(fitted, 'tree')}, the evaluation model {wanted}: no further split was "
            "possible"
        )
    for source, weight in chosen.blend.weights.items():
        score = f"{source}_z"
        silent = rows[score].null_count() == rows.height > 0
        # A source without weight changes no list.
        if weight and silent and evaluated.rows[score].null_count() < evaluated.rows.height:
            differences.append(
                f"source {source} scores no candidates in the refit; it had {weight:.2f} of the evaluation model's "
                "blend"
            )
    return differences


def _calibrate(
    config: Config,
    models: CandidateModels,
    histories: Histories,
    users: Histories,
    positives: pl.DataFrame,
    items: pl.DataFrame,
) -> Config:
    with log_stage("auto settings") as done:
        recommendable = find_recommendable(items, histories.cutoff)
        config, messages = calibrate(config, models, histories, users, positives, recommendable)
        done(format_count(len(messages), "setting") + " measured")
    for message in messages:
        logger.info("auto settings: %s", message)
    return config


def _fit_candidate_models(
    config: Config, items: pl.DataFrame, text: TextModels, snapshot: HistorySnapshot
) -> CandidateModels:
    histories = snapshot.histories
    tfidf = text.fit_neighbours(config, histories.cutoff)
    with log_stage("collaborative models") as done:
        inputs = FitInputs(histories, items, text.embeddings, config)
        fitted = {"interest": snapshot.interest, "sequence": snapshot.sequence, "tfidf": tfidf}
        models = CandidateModels.fit(inputs, fitted)
        done(f"{format_count(histories.n_users, 'user')}, {format_count(len(histories.items), 'pair')}")
    return models


def _prepare(
    config: Config, models: CandidateModels, items: pl.DataFrame, text: TextModels, snapshot: HistorySnapshot
) -> Recommender:
    histories = snapshot.histories
    statistics = count_statistics(histories, items, config.candidates)
    attributes = list(config.dataset.items.attributes)
    return Recommender.prepare(
        config,
        models.with_decays(config),
        items,
        text.item_texts,
        text.embeddings,
        statistics,
        histories.cutoff,
        attributes,
    )


def _exclude_features(features: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in features if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def _draw_users(window: Window, histories: Histories, config: Config) -> pl.Series:
    """Return users with positives in the window and a history before it, at most `ranking.max_users` of them."""
    known = pl.DataFrame({"user_id": histories.user_ids})
    users = window.positives.select("user_id").unique().join(known, on="user_id", how="semi")["user_id"].sort()
    if len(users) <= config.ranking.max_users:
        return users
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: config.ranking.max_users]
    return users.gather(drawn)
