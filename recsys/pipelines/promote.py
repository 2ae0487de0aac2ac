"""`recsys promote` and `recsys rollback`: who is champion."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.config import Config
from recsys.errors import Refused
from recsys.evaluation.comparison import OURS
from recsys.pipelines.compare import load_bundle, measure_champion, read_logged_run
from recsys.progress import logger
from recsys.registry.gate import Decision, decide
from recsys.registry.promotion_log import append_line, find_previous
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, find_version, need_version, set_champion
from recsys.serving.bundle import Bundle
from recsys.storage.locks import lock

_FIRST_RIVAL = "popular"


def promote(config: Config, home: Path) -> tuple[Version, str]:
    """Compare the challenger with the champion on the same users and, if it passes, make it champion; return why.

    Without a champion the rival is the popularity baseline of the challenger's own run.

    Raises:
        Refused: the gate said no; nothing was changed.
    """
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        challenger = need_version(store, name, CHALLENGER, "run 'recsys train' first")
        champion = find_version(store, name, CHAMPION)
        if champion is not None and champion.number == challenger.number:
            # A task that is run again must end as the first time.
            return challenger, f"version {champion.number} is champion already"
        decision = _compare(config, home, store, challenger, champion)
        if not decision.promoted:
            raise Refused(f"promote '{name}' version {challenger.number}: no: {decision.reason}")
        # The line first: if the process dies in between, the ledger still knows whom to go back to.
        previous = champion.number if champion else None
        append_line(home, "promote", name, challenger.number, previous, decision.reason)
        set_champion(store, name, challenger.number)
    logger.info("promote: '%s' version %s is champion: %s", name, challenger.number, decision.reason)
    return challenger, decision.reason


def rollback(config: Config, home: Path) -> tuple[str, str]:
    """Make the previous champion champion again; return (the version left, the version that serves)."""
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        champion = need_version(store, name, CHAMPION, "nothing was ever promoted")
        previous = find_previous(home, name, champion.number)
        # The alias first: a version that was deleted stops here, and the ledger must not say that it serves.
        set_champion(store, name, previous)
        append_line(home, "rollback", name, previous, champion.number, f"rolled back from version {champion.number}")
    logger.info("rollback: '%s' version %s is champion again, version %s is not", name, previous, champion.number)
    return champion.number, previous


def load_champion(config: Config, home: Path) -> tuple[Version, Bundle]:
    """Fetch the champion's bundle, check its hashes and load it."""
    store = connect(home, config)
    version = need_version(store, config.model_name, CHAMPION, "run 'recsys train' and 'recsys promote' first")
    return version, load_bundle(store, version, BUNDLE)


def _compare(config: Config, home: Path, store: Store, challenger: Version, champion: Version | None) -> Decision:
    measured = read_logged_run(store, challenger).user_metrics
    ours = measured.filter(pl.col("model") == OURS)
    if champion is None:
        return decide(ours, measured.filter(pl.col("model") == _FIRST_RIVAL), _FIRST_RIVAL, config, first=True)
    theirs = measure_champion(config, home, store, challenger, champion)
    return decide(ours, theirs.user_metrics, theirs.name, config)
