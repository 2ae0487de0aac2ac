"""`recsys promote` and `recsys rollback`: which version is the champion."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.config import Config
from recsys.errors import Refused, RegistryError
from recsys.evaluation.comparison import OURS
from recsys.pipelines.compare import load_bundle, measure_champion, read_logged_run
from recsys.progress import logger
from recsys.registry.gate import Decision, decide
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, find_version, need_version, set_champion
from recsys.serving.bundle import Bundle
from recsys.storage.locks import lock

_FIRST_RIVAL = "popular"


def promote(config: Config, home: Path) -> tuple[Version, str]:
    """Promote the challenger if it passes the gate, and return it with the gate's reason.

    It is compared with the champion on the same users; without a champion, with the popularity baseline of its own run.

    Raises:
        Refused: it did not pass; nothing was changed.
        ArtifactError: another process is promoting or rolling back in this home.
    """
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        challenger = need_version(store, name, CHALLENGER, "run 'recsys train' first")
        champion = find_version(store, name, CHAMPION)
        if champion is not None and champion.number == challenger.number:
            # A repeated task must succeed again.
            return challenger, f"version {champion.number} is already the champion"
        decision = _compare(config, home, store, challenger, champion)
        if not decision.promoted:
            raise Refused(f"promote '{name}' version {challenger.number}: refused: {decision.reason}")
        log = PromotionLog.open(store, home, name)
        log.append("promote", to_version=challenger.number, reason=decision.reason)
        set_champion(store, name, challenger.number)
    logger.info("promote: '%s' version %s is the champion: %s", name, challenger.number, decision.reason)
    return challenger, decision.reason


def rollback(config: Config, home: Path) -> tuple[str, str]:
    """Return to the previous champion.

    Returns:
        The version that served until now, and the version that serves from now on.

    Raises:
        RegistryError: there is no champion, none before it, or the previous version was deleted.
        ArtifactError: another process is promoting or rolling back in this home.
    """
    store = connect(home, config)
    name = config.model_name
    with lock(home, "promotion"):
        champion = need_version(store, name, CHAMPION, "no version was ever promoted")
        log = PromotionLog.open(store, home, name)
        previous = log.previous_champion
        if previous is None:
            raise RegistryError(f"{log.place}: no champion before version {champion.number}; nothing to roll back to")
        reason = f"rolled back from {champion.number} to {previous}"
        log.append("rollback", to_version=previous, reason=reason)
        set_champion(store, name, previous)
    logger.info("rollback: '%s' %s", name, reason)
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
