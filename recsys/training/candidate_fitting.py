"""Fitting the candidate models of a fold: as of each cutoff, and from the model of the cutoff before where one can."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import polars as pl

from recsys.candidates.models import CandidateModels, FitInputs
from recsys.candidates.registry import find_models
from recsys.config import Config
from recsys.engines import FITTING, Engine, make_engine
from recsys.progress import format_count, log_stage
from recsys.serving.bundle import Bundle
from recsys.storage.memory import return_freed_memory
from recsys.training.text_models import HistorySnapshot, TextModels


def fit_chain(
    config: Config, items: pl.DataFrame, text: TextModels, earlier: CandidateModels | None = None
) -> list[CandidateModels]:
    """Fit the models that training can continue from as of all cutoffs, each from the one of the cutoff before.

    Args:
        config: all settings.
        items: `Items`.
        text: has the histories of all cutoffs.
        earlier: models over the same catalogue that the oldest ones continue from, as of its cutoff or an earlier one;
            None: the oldest ones are fitted from scratch.

    Returns:
        Those models alone, one for each of `text.history_snapshots`, in the same order.
    """
    chain: list[CandidateModels] = []
    for snapshot in reversed(text.history_snapshots):
        earlier = continue_models(config, items, text, snapshot, earlier)
        chain.insert(0, earlier)
    return chain


def continue_models(
    config: Config, items: pl.DataFrame, text: TextModels, snapshot: HistorySnapshot, earlier: CandidateModels | None
) -> CandidateModels:
    """Return the models as of one cutoff that training can continue from, fitted from earlier ones if there are any."""
    histories = snapshot.histories
    owners = {name: owner for name, owner in find_models(config.candidates.depths).items() if owner.continues}
    models = {}
    for name, owner in owners.items():
        settings = owner.read_settings(config)
        start = None if earlier is None else earlier.models.get(name)
        if start is not None and not owner.can_start_from(start, settings):
            start = None
        with log_stage(f"{name} model") as done, _open_engine(config) as engine:
            models[name] = owner.fit(FitInputs(histories, items, text.embeddings, config, engine, start), settings)
            done(
                f"{'trained' if start is None else 'refreshed'} on "
                f"{format_count(histories.n_users, 'history', 'histories')}, "
                f"{format_count(len(histories.items), 'pair')}"
            )
    return CandidateModels(histories.item_ids, models, owners)


def fit_candidate_models(
    config: Config, items: pl.DataFrame, text: TextModels, snapshot: HistorySnapshot, continued: CandidateModels
) -> CandidateModels:
    """Return all candidate models as of one cutoff.

    Args:
        config: all settings.
        items: `Items`.
        text: the text models.
        snapshot: of the cutoff.
        continued: the models of the same cutoff that are fitted already.
    """
    histories = snapshot.histories
    tfidf = text.fit_neighbours(config, histories.cutoff)
    with log_stage("collaborative models") as done, _open_engine(config) as engine:
        inputs = FitInputs(histories, items, text.embeddings, config, engine)
        fitted: Mapping[str, Any] = {
            "interest": snapshot.interest,
            "sequence": snapshot.sequence,
            "tfidf": tfidf,
            **continued.models,
        }
        models = CandidateModels.fit(inputs, fitted)
        done(f"{format_count(histories.n_users, 'user')}, {format_count(len(histories.items), 'pair')}")
    return_freed_memory()
    return models


def find_start(earlier: Bundle | None, items: pl.DataFrame) -> CandidateModels | None:
    """Return the models that a training continues from, over its catalogue; None if it starts from scratch."""
    if earlier is None or earlier.start is None:
        return None
    return earlier.start.candidate_models.align(items["item_id"])


def _open_engine(config: Config) -> AbstractContextManager[Engine]:
    """Return the engine that fits, to be opened."""
    return make_engine(config.collab.engine, config.threads, FITTING)
