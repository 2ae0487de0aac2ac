"""`recsys promote` and `recsys rollback`: who is champion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.artifacts.folders import lock, verify_folder
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.bundle import Bundle
from recsys.config import Config
from recsys.dataset.windows import Window, cut, find_positives
from recsys.errors import Refused
from recsys.evaluation.comparison import OURS
from recsys.pipelines.measuring import measure
from recsys.pipelines.stages import logger
from recsys.registry.gate import Decision, decide
from recsys.registry.ledger import append_line, find_previous
from recsys.registry.tracking import Store, connect, read_run_table
from recsys.registry.versions import (
    BUNDLE,
    CHALLENGER,
    CHAMPION,
    TWIN,
    Version,
    find_version,
    need_version,
    open_bundle,
    set_champion,
)

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
    return version, _load(store, version, BUNDLE)


def _load(store: Store, version: Version, part: str) -> Bundle:
    with open_bundle(store, version, part) as folder:
        verify_folder(folder, "train and promote again, or roll back")
        return Bundle.load(folder)


def _compare(config: Config, home: Path, store: Store, challenger: Version, champion: Version | None) -> Decision:
    measured = _read_user_metrics(store, challenger)
    ours = measured.filter(pl.col("model") == OURS)
    if champion is None:
        return decide(ours, measured.filter(pl.col("model") == _FIRST_RIVAL), _FIRST_RIVAL, config, first=True)
    rival = f"champion version {champion.number}"
    window = _find_window(config, home, challenger)
    if window is None or _same_window(challenger, champion):
        # Stored values of both twins: of the very same pairs or, without a common clock, each of its own.
        theirs = _read_user_metrics(store, champion).filter(pl.col("model") == OURS)
        return decide(ours, theirs, rival if window else f"{rival} (each on its own held-out pairs)", config)
    part = _find_unseeing_part(champion, challenger)
    if part is None:
        raise Refused(
            f"promote '{challenger.name}' version {challenger.number}: the test window starts at "
            f"{challenger.tags['test_start']}, and all parts of {rival} learned from later events; "
            "train with a later --run-date"
        )
    bundle = _load(store, champion, part)
    ours_now = {"evaluation": config.evaluation, "dataset": config.dataset}
    measured_as = replace(bundle, config=bundle.config.model_copy(update=ours_now))
    snapshot = _read_snapshot(config, home, challenger)
    theirs = measure(measured_as, window, snapshot.items, baselines=False).user_metrics
    return decide(ours, theirs, rival if part == BUNDLE else f"the twin of {rival}", config)


def _same_window(challenger: Version, champion: Version) -> bool:
    same = ("snapshot", "test_start", "test_end", "protocol", "test_pairs")
    return all(challenger.tags.get(key) == champion.tags.get(key) for key in same)


def _find_unseeing_part(champion: Version, challenger: Version) -> str | None:
    """Return which bundle of the champion has seen nothing of the challenger's test window.

    What serves comes first; its measured twin, which stopped at the champion's own test window, second.
    """
    start = datetime.fromisoformat(challenger.tags["test_start"])
    for part, tag in ((BUNDLE, "end"), (TWIN, "test_start")):
        cutoff = champion.tags.get(tag)
        if cutoff and datetime.fromisoformat(cutoff) <= start:
            return part
    return None


def _find_window(config: Config, home: Path, challenger: Version) -> Window | None:
    """Return the challenger's test window, None for protocols without a common clock."""
    if not challenger.tags.get("test_start"):
        return None
    interactions = _read_snapshot(config, home, challenger).interactions
    start, end = (datetime.fromisoformat(challenger.tags[tag]) for tag in ("test_start", "test_end"))
    history = cut(interactions, start)
    inside = cut(interactions, end).filter(pl.col("time") >= start)
    return Window("test", start, end, history, find_positives(inside, history, config.dataset.repeats))


def _read_snapshot(config: Config, home: Path, challenger: Version) -> Snapshot:
    """Not the newest snapshot: an ingest since the training may have changed what lies in the window."""
    return read_snapshot(home, config.name, config.dataset.model_dump(mode="json"), challenger.tags["snapshot"])


def _read_user_metrics(store: Store, version: Version) -> pl.DataFrame:
    return read_run_table(store, version.run_id, "user_metrics.parquet")
