"""`recsys promote` and `recsys rollback`: which version is the champion."""

from __future__ import annotations

from pathlib import Path

from recsys.config import Config
from recsys.errors import Refused
from recsys.pipelines.compare import load_bundle
from recsys.pipelines.judgement import judge_challenger
from recsys.progress import logger
from recsys.registry.promotion_log import append_entry, find_previous_champion
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, CHALLENGER, CHAMPION, Version, find_version, need_version, set_champion
from recsys.serving.bundle import Bundle
from recsys.storage.locks import lock


def promote(config: Config, home: Path) -> tuple[Version, str]:
    """Promote the challenger if it passes the gate, and return it with the gate's reason.

    It is compared with the champion on the same users; without a champion, with the blend and every source of its
    own run.

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
        decision = judge_challenger(config, home, store, challenger, champion, champion, spent=0.0, tries=0)
        if not decision.promoted:
            raise Refused(f"promote '{name}' version {challenger.number}: refused: {decision.sentence}")
        # The log first: if the process dies in between, it still has the version to roll back to.
        previous = champion.number if champion else None
        append_entry(home, "promote", name, challenger.number, previous, decision.sentence)
        set_champion(store, name, challenger.number)
    logger.info("promote: '%s' version %s is the champion: %s", name, challenger.number, decision.sentence)
    return challenger, decision.sentence


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
        previous = find_previous_champion(home, name, champion.number)
        # The alias first: this fails for a version that was deleted, which must not get an entry in the log.
        set_champion(store, name, previous)
        reason = f"rolled back from {champion.number} to {previous}"
        append_entry(home, "rollback", name, previous, champion.number, reason)
    logger.info("rollback: '%s' %s", name, reason)
    return champion.number, previous


def load_champion(config: Config, home: Path) -> tuple[Version, Bundle]:
    """Fetch the champion's bundle, check its hashes and load it."""
    store = connect(home, config)
    version = need_version(store, config.model_name, CHAMPION, "run 'recsys train' and 'recsys promote' first")
    return version, load_bundle(store, version, BUNDLE)
