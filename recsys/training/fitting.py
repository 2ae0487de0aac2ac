"""Fitting a bundle: each part as of its cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.candidates.models import CandidateModels
from recsys.candidates.statistics import ItemStatistics, count_statistics
from recsys.config import AUTO, Config
from recsys.dataset.histories import Histories, find_recommendable
from recsys.dataset.windows import Fold, Window
from recsys.progress import format_count, log_stage, logger, progress_bar
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import label_rows, share_negatives, thin_negatives
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle
from recsys.serving.recommender import Recommender
from recsys.training.calibration import calibrate
from recsys.training.candidate_fitting import continue_models, find_start, fit_candidate_models, fit_chain
from recsys.training.encoder_inputs import EncoderInputs
from recsys.training.list_choice import (
    Answers,
    Rival,
    answer_all,
    choose_by_lists,
    list_questions,
    settle_attributes,
)
from recsys.training.new_places import limit_new_share
from recsys.training.ranker_fitting import fit_ranker, keep_ranker_choice, name_features, refit_ranker
from recsys.training.source_use import settle_use
from recsys.training.text_models import (
    HistorySnapshot,
    TextModels,
    continue_text,
    extend_text,
    fit_text,
)


@dataclass(frozen=True)
class Fitted:
    """A bundle, and what it was made of.

    Attributes:
        bundle: all fitted parts.
        rows: `TrainingRows` that its ranker learned from.
        text: the text models of all cutoffs.
        differences: sentences on where a refitted ranker differs from the choice of the evaluation model.
    """

    bundle: Bundle
    rows: pl.DataFrame
    text: TextModels
    differences: list[str] = field(default_factory=list)


def fit_bundle(
    config: Config,
    items: pl.DataFrame,
    encoder_inputs: EncoderInputs,
    fold: Fold,
    *,
    resume: Path | None = None,
    block_lists: BlockLists | None = None,
    last: bool = False,
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
        resume: folder in which a killed fine-tuning is resumed; None: it starts from scratch.
        block_lists: kept in the bundle for the lists that it makes; None: nothing is blocked.
        last: no other fit needs the encoder's inputs, so their memory is freed.
    """
    text = fit_text(config, items, encoder_inputs, fold, resume=resume, last=last)
    return complete_bundle(config, items, text, fold, block_lists)


def continue_bundle(
    config: Config, items: pl.DataFrame, fold: Fold, earlier: Bundle, block_lists: BlockLists | None = None
) -> Fitted:
    """Fit all parts of one bundle, continuing from the evaluation model of an earlier training.

    The text models continue as `continue_text` says, and so do the collaborative models that can. Models of label
    windows are fitted as of their cutoffs, and the ranker on the rows of these windows, as in a training from scratch;
    the ranker keeps the earlier choice where `keep_ranker_choice` allows it.

    Args:
        config: all settings.
        items: `Items` of today.
        fold: the label windows, and what the serving parts may know.
        earlier: an evaluation model from which the fold can continue; see `recsys.training.continuation`.
        block_lists: as in `fit_bundle`.
    """
    text = continue_text(config, items, fold, earlier)
    return complete_bundle(config, items, text, fold, block_lists, earlier)


def complete_bundle(
    config: Config,
    items: pl.DataFrame,
    text: TextModels,
    fold: Fold,
    block_lists: BlockLists | None = None,
    earlier: Bundle | None = None,
) -> Fitted:
    """Fit all other parts of a bundle to text models of the same fold; see `fit_bundle` and `continue_bundle`."""
    asked = config
    config = settle_use(text.settle(config), "sequence", text.serving.sequence.trained)
    config = settle_attributes(config, len(fold.labels))
    chain = fit_chain(config, items, text, find_start(earlier, items))
    rows, recommender, config = _collect_rows(config, items, text, fold, chain[1:])
    with log_stage("ranker") as done:
        ranker = fit_ranker(config, rows, recommender, keep_ranker_choice(config, rows, recommender, earlier))
        done(f"{format_count(rows.height, 'row')}; {ranker.describe()}")
    if asked.generation.rules.min_new_share == AUTO and config.generation.rules.new_share:
        config = _limit_new_items(config, rows, ranker, text.labels[0].histories)
    served = _prepare_served(config, items, text, chain[0])
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
        text.checkpoint,
        start=text.make_starting_point(chain[-1]),
    )
    return Fitted(bundle, rows, text)


def refit_bundle(items: pl.DataFrame, fold: Fold, evaluated: Fitted) -> Fitted:
    """Move an evaluation model to the next fold: the model that serves.

    The evaluation model knows everything before its test window, which is what a label window at that place may know.
    So its candidate models make the rows of the newest label window, its rows of the other windows stay, and its
    interest models continue on the whole history. The encoder stays: it has not seen any label window, like at night.
    The ranker is fitted on the new rows, with the choices of the evaluation model; the collaborative models are fitted
    on the whole history, from those of the evaluation model where they can continue.

    Args:
        items: `Items`, the same.
        fold: `Windows.refit_fold` of the windows whose `measurement_fold` the evaluation model was fitted on.
        evaluated: the evaluation model.
    """
    before = evaluated.bundle
    config, text = before.config, extend_text(before.config, items, evaluated.text, fold)
    newest, *_ = text.labels
    recommender = _prepare(config, before.candidate_models, items, text, newest)
    known = text.serving.histories
    rows = pl.concat(
        [
            _make_rows(config, recommender, fold, 0, newest.histories, known)[0],
            _move_windows(evaluated.rows, evaluated.text.serving.histories, known, len(fold.labels)),
        ]
    )
    with log_stage("ranker") as done:
        ranker, differences = refit_ranker(config, rows, recommender, before.ranker, evaluated.rows)
        done(f"{format_count(rows.height, 'row')}; {ranker.describe()}")
    continued = continue_models(config, items, text, text.serving, before.candidate_models)
    served = _prepare_served(config, items, text, continued)
    bundle = replace(
        before,
        cutoff=fold.cutoff,
        candidate_models=served.candidate_models,
        ranker=ranker,
        statistics=served.statistics,
        start=None,
    )
    return Fitted(bundle, rows, text, differences)


def _collect_rows(
    config: Config, items: pl.DataFrame, text: TextModels, fold: Fold, continued: Sequence[CandidateModels]
) -> tuple[pl.DataFrame, Recommender, Config]:
    """Return `TrainingRows` of all label windows, a recommender (all have the same features), and the settings.

    The settings are the config's with each `auto` measured on the newest label window; where lists decide, those with
    the better ones there. `continued` has the models of each window that are fitted already.
    """
    known, questions = text.serving.histories, []
    rivals: dict[Answers, Config] = {}
    batches: dict[Answers, list[pl.DataFrame]] = {}
    recommenders: dict[Answers, Recommender] = {}
    for number, (window, snapshot) in enumerate(zip(fold.labels, text.labels, strict=True)):
        models = fit_candidate_models(config, items, text, snapshot, continued[number])
        if number == 0:
            chosen = _calibrate(config, models, window, snapshot.histories, items)
            questions = list_questions(config, chosen, len(fold.labels))
            rivals = dict(answer_all(chosen, questions))
        made = []
        for answers, rival in rivals.items():
            recommenders[answers] = recommender = _prepare(rival, models, items, text, snapshot)
            about = "".join(
                f", {question.path.split('.', 1)[1]} {question.name(answer)}"
                for question, answer in zip(questions, answers, strict=True)
            )
            made.append(_make_rows(rival, recommender, fold, number, snapshot.histories, known, about))
        for answers, rows in zip(rivals, _share_alike(made, config.seed), strict=True):
            batches.setdefault(answers, []).append(rows)
    compared = {
        answers: Rival(rival, pl.concat(batches[answers]), name_features(rival, recommender), recommender.source_names)
        for (answers, rival), recommender in zip(rivals.items(), recommenders.values(), strict=True)
    }
    best = next(iter(compared))
    if questions:
        with log_stage("settings by lists") as done:
            best, lines = choose_by_lists(questions, compared)
            done(f"{format_count(len(questions), 'setting')} compared")
        for line in lines:
            logger.info("auto settings: %s", line)
    return compared[best].rows, recommenders[best], compared[best].config


def _limit_new_items(config: Config, rows: pl.DataFrame, ranker: Ranker, newest: Histories) -> Config:
    """Return the config with no more places for new items than cost next to nothing on the rows of the newest window.

    Without folds, the blend, which has few weights, says what they cost.
    """
    scores = ranker.blend.score_rows(rows) if ranker.held_out is None else ranker.held_out
    new = ItemStatistics.count(newest, None).users <= config.candidates.new_item_users
    config, line = limit_new_share(config, rows, scores, new)
    logger.info("auto settings: %s", line)
    return config


def _make_rows(
    config: Config,
    recommender: Recommender,
    fold: Fold,
    number: int,
    histories: Histories,
    known: Histories,
    about: str = "",
) -> tuple[pl.DataFrame, float]:
    """Return `TrainingRows` of one label window, and the share of the negatives that is among them.

    Args:
        config: the ranking section and the seed.
        recommender: as of the window's cutoff.
        fold: has the window.
        number: of the window, 0 the newest.
        histories: as of the window's cutoff.
        known: of all users at the end: a user has one index in all windows, the one there.
        about: tells rows of the same window apart in the log.
    """
    window = fold.labels[number]
    users = histories.take(_draw_users(window, histories, config))
    positives, shown = users.number_pairs(window.positives.drop("events")), users.number_pairs(window.shown)
    name = f"training rows, label window {number + 1}{about}"
    with log_stage(name) as done, progress_bar(name.capitalize(), users.n_users) as progress:
        described = recommender.describe_candidates(users, progress)
        labelled = label_rows(described, positives, shown, window=number)
        share = share_negatives(labelled, config.ranking.max_rows // len(fold.labels))
        rows = thin_negatives(labelled, share, config.seed + number)
        done(f"{format_count(rows.height, 'row')} of {format_count(users.n_users, 'user')}")
    return _renumber_users(rows, users, known), share


def _share_alike(made: Sequence[tuple[pl.DataFrame, float]], seed: int) -> list[pl.DataFrame]:
    """Return rows of rivals with the same share of their negatives, the least: with fewer every order looks better."""
    least = min(share for _, share in made)
    return [thin_negatives(rows, least / share if share else 1.0, seed) for rows, share in made]


def _renumber_users(rows: pl.DataFrame, users: Histories, known: Histories) -> pl.DataFrame:
    """Return the rows with the user indexes of other histories, which know the same users and maybe more."""
    indexes = pl.Series("user_index", known.user_map.index_of(users.user_ids).astype(np.uint32))
    return rows.with_columns(indexes.gather(rows["user_index"]))


def _move_windows(rows: pl.DataFrame, users: Histories, known: Histories, n_windows: int) -> pl.DataFrame:
    """Return the rows of label windows that are now one window older, without the window that is now too old."""
    moved = rows.with_columns(pl.col("window") + 1).filter(pl.col("window") < n_windows)
    return _renumber_users(moved, users, known)


def _prepare_served(config: Config, items: pl.DataFrame, text: TextModels, continued: CandidateModels) -> Recommender:
    """Return a recommender whose models know the whole history, of which `continued` are fitted already."""
    return _prepare(
        config, fit_candidate_models(config, items, text, text.serving, continued), items, text, text.serving
    )


def _calibrate(
    config: Config, models: CandidateModels, window: Window, histories: Histories, items: pl.DataFrame
) -> Config:
    users = histories.take(_draw_users(window, histories, config))
    positives = users.number_pairs(window.positives.drop("events"))
    with log_stage("auto settings") as done:
        recommendable = find_recommendable(items, histories.cutoff)
        config, messages = calibrate(config, models, histories, users, positives, recommendable)
        done(format_count(len(messages), "setting") + " measured")
    for message in messages:
        logger.info("auto settings: %s", message)
    return config


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


def _draw_users(window: Window, histories: Histories, config: Config) -> pl.Series:
    """Return users with positives in the window and a history before it, at most `ranking.max_users` of them."""
    known = pl.DataFrame({"user_id": histories.user_ids})
    users = window.positives.select("user_id").unique().join(known, on="user_id", how="semi")["user_id"].sort()
    if len(users) <= config.ranking.max_users:
        return users
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: config.ranking.max_users]
    return users.gather(drawn)
