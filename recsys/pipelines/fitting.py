"""Fitting a bundle: every part as of its own cut-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.bundle import Bundle, Recommender
from recsys.candidates.sources import ItemStatistics
from recsys.candidates.stage_one import StageOne, fit_text_neighbours, read_known_texts
from recsys.collab.neighbours import NeighbourModel
from recsys.config import Config
from recsys.dataset.histories import Histories, build_histories, find_recommendable
from recsys.dataset.windows import Window
from recsys.pipelines.stages import stage, track
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import label_rows, number_positives
from recsys.text.encoder import Encoder
from recsys.text.fine_tuning import FrozenStates, count_steps, encode_frozen, fine_tune, freeze_states
from recsys.text.interest import InterestModel
from recsys.text.item_text import make_texts
from recsys.text.sequence import SequenceModel


@dataclass(frozen=True)
class Fitted:
    """A bundle, what its ranker learned from, and how the text models' losses fell."""

    bundle: Bundle
    rows: pl.DataFrame
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class TextModels:
    """What reads the catalogue's texts. The encoder and what builds on it are the same in every window and at night."""

    encoder: Encoder
    embeddings: NDArray[np.float32]
    interest: InterestModel
    sequence: SequenceModel
    curves: dict[str, list[float]]
    # TF-IDF by what was known: in most catalogues that is the same for all windows.
    neighbours: list[tuple[pl.Series, NeighbourModel]] = field(default_factory=list)

    def find_neighbours(self, config: Config, items: pl.DataFrame, cutoff: datetime | None) -> NeighbourModel:
        """Return the TF-IDF neighbours as of an instant: later texts may not even shift the weights of words."""
        texts = read_known_texts(items, cutoff, config.text.fields)
        for known, fitted in self.neighbours:
            if known.equals(texts):
                return fitted
        with stage("TF-IDF") as done:
            fitted = fit_text_neighbours(texts, config)
            done(f"{fitted.similarity.nnz:,} neighbours")
        self.neighbours.append((texts, fitted))
        return fitted


def freeze_catalogue(config: Config, items: pl.DataFrame) -> FrozenStates:
    """Run the catalogue's texts through the encoder layers that stay as they are, once for all fits of a run."""
    encoder = Encoder(config.text.checkpoint, config.text)
    texts = make_texts(items, config.text.fields).to_list()
    with stage("frozen layers") as done, track("Frozen layers", len(texts)) as progress:
        frozen = freeze_states(encoder, texts, config.text.fine_tune, config.text.batch_tokens, progress)
        done(f"{len(texts):,} texts, {len(frozen.states):,} tokens")
    return frozen


def embed_zero_shot(config: Config, frozen: FrozenStates) -> NDArray[np.float32]:
    """Return (n_items, embedding_size) float32, unit rows: the catalogue by the checkpoint as it came.

    It is what a baseline knows that nobody taught anything.
    """
    encoder = Encoder(config.text.checkpoint, config.text)
    texts = len(frozen.starts) - 1
    with stage("zero-shot embedding") as done, track("Zero-shot embedding", texts) as progress:
        embeddings = encode_frozen(encoder, frozen, config.text.fine_tune, config.text.batch_tokens, progress)
        done(f"{texts:,} texts")
    return embeddings


def fit_bundle(
    config: Config,
    items: pl.DataFrame,
    frozen: FrozenStates,
    labels: Sequence[Window],
    history: pl.DataFrame,
    cutoff: datetime | None,
    text: TextModels | None = None,
) -> Fitted:
    """Fit all parts of one bundle.

    The text models learn from before the oldest label window, so their scores look in every label window as they
    will at night. For each label window the collaborative models are fitted on what came before it; the ranker
    learns from all of them; then the collaborative models that serve are fitted on the whole history.

    Args:
        config: all settings.
        items: `Items`.
        frozen: from `freeze_catalogue`.
        labels: windows that the ranker learns from, newest first.
        history: `Interactions` that the serving parts may know.
        cutoff: the instant the bundle is as of.
        text: from `fit_text` with the oldest label window, where several bundles share it; None: fitted here.
    """
    text = text or fit_text(config, items, frozen, labels[-1])
    rows, recommender = _collect_rows(config, items, text, labels)
    with stage("ranker") as done:
        ranker = Ranker.fit(
            rows,
            recommender.features,
            recommender.source_names,
            config.ranking,
            n=config.evaluation.n,
            seed=config.seed,
            threads=config.threads,
        )
        done(f"{ranker.booster.num_trees()} trees on {rows.height:,} rows, blend {ranker.blend.describe()}")
    histories = build_histories(history, items, cutoff)
    served = _fit_recommender(config, items, text, histories)
    bundle = Bundle(config, cutoff, served.stage_one, ranker, text.encoder, items, text.embeddings, served.statistics)
    return Fitted(bundle, rows, text.curves)


def fit_text(config: Config, items: pl.DataFrame, frozen: FrozenStates, window: Window) -> TextModels:
    """Fine-tune the encoder, embed the catalogue and fit the interest model on what came before a window."""
    histories = build_histories(window.history, items, window.cutoff)
    encoder = Encoder(config.text.checkpoint, config.text)
    steps = count_steps(histories, config.text.fine_tune)
    with stage("fine-tuning") as done, track("Fine-tuning", steps) as progress:
        losses = fine_tune(encoder, frozen, histories, config.text.fine_tune, config.seed, progress)
        done(f"{len(losses):,} steps" + (f", loss {_ends(losses)}" if losses else ""))
    with stage("embedding") as done, track("Embedding", items.height) as progress:
        embeddings = encode_frozen(encoder, frozen, config.text.fine_tune, config.text.batch_tokens, progress)
        done(f"{items.height:,} texts")
    known = find_recommendable(items, window.cutoff)
    interest = InterestModel(encoder.embedding_size, config.text.interest)
    with stage("interest model") as done, track("Interest model", interest.count_steps(histories)) as progress:
        means = interest.fit(histories, embeddings, config.seed, progress, known=known)
        done(f"{len(means)} epochs" + (f", loss {means[0]:.3f} to {means[-1]:.3f}" if means else ""))
    curves = {"fine_tuning_loss": losses, "interest_loss": means}
    sequence = SequenceModel(encoder.embedding_size, histories.item_ids, config.text.sequence)
    if "sequence" in config.candidates.depths:
        bfloat16 = encoder.precision == "bfloat16"
        with stage("sequence model") as done, track("Sequence model", sequence.count_steps(histories)) as progress:
            epochs = sequence.fit(histories, embeddings, config.seed, progress, bfloat16=bfloat16)
            done(f"{len(epochs)} epochs" + (f", loss {epochs[0]:.3f} to {epochs[-1]:.3f}" if epochs else ""))
        curves["sequence_loss"] = epochs
    return TextModels(encoder, embeddings, interest, sequence, curves)


def _ends(losses: list[float]) -> str:
    """First and last tenth of a noisy curve."""
    tenth = max(1, len(losses) // 10)
    return f"{np.mean(losses[:tenth]):.3f} to {np.mean(losses[-tenth:]):.3f}"


def _collect_rows(
    config: Config, items: pl.DataFrame, text: TextModels, labels: Sequence[Window]
) -> tuple[pl.DataFrame, Recommender]:
    """Return `TrainingRows` of all label windows, and one of their recommenders: all have the same features."""
    parts = []
    for number, window in enumerate(labels):
        histories = build_histories(window.history, items, window.cutoff)
        recommender = _fit_recommender(config, items, text, histories)
        with stage(f"training rows, {window.name}") as done:
            users = histories.take(_draw_users(window, histories, config))
            described = recommender.describe(recommender.propose(users), users)
            positives = number_positives(window.positives, users)
            share, seed = config.ranking.negative_share, config.seed + number
            parts.append(label_rows(described, positives, window=number, negative_share=share, seed=seed))
            done(f"{parts[-1].height:,} rows of {users.n_users:,} users")
    return pl.concat(parts), recommender


def _fit_recommender(config: Config, items: pl.DataFrame, text: TextModels, histories: Histories) -> Recommender:
    tfidf = text.find_neighbours(config, items, histories.cutoff)
    with stage("collaborative models") as done:
        stage_one = StageOne.fit(histories, text.interest, text.sequence, tfidf, config)
        statistics = ItemStatistics.count(histories, config.candidates.popularity_half_life_days)
        recommender = Recommender.prepare(config, stage_one, items, text.embeddings, statistics, histories.cutoff)
        done(f"{histories.n_users:,} users, {len(histories.items):,} pairs")
    return recommender


def _draw_users(window: Window, histories: Histories, config: Config) -> pl.Series:
    """Users with positives in the window whom the histories know, at most `ranking.max_users` of them."""
    known = pl.DataFrame({"user_id": histories.user_ids})
    users = window.positives.select("user_id").unique().join(known, on="user_id", how="semi")["user_id"].sort()
    if len(users) <= config.ranking.max_users:
        return users
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: config.ranking.max_users]
    return users.gather(drawn)
