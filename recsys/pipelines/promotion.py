"""`recsys promote` and `recsys rollback`: who is champion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from recsys.artifacts import lock, read_snapshot, verify_folder
from recsys.bundle import Bundle
from recsys.config import Config
from recsys.dataset.windows import Window, cut
from recsys.errors import Refused
from recsys.evaluation.comparison import OURS
from recsys.pipelines.measuring import measure
from recsys.pipelines.stages import logger
from recsys.registry.gate import Decision, decide
from recsys.registry.ledger import append_line, find_previous
from recsys.registry.tracking import Store, connect, read_run_table
from recsys.registry.versions import (
    CHALLENGER,
    CHAMPION,
    Version,
    find_version,
    need_version,
    open_bundle,
    set_champion,
)

_FIRST_RIVAL = "popular"


def promote(config: Config, home: Path) -> tuple[Version, Decision]:
    """Compare the challenger with the champion on the same users and, if it passes, make it champion.

    Without a champion the rival is the popularity baseline of the challenger's own run.

    Raises:
        Refused: the gate said no; nothing was changed.
    """
    store = connect(home, config)
    name = config.registry.model_name
    with lock(home, "promotion"):
        challenger = need_version(store, name, CHALLENGER, "run 'recsys train' first")
        champion = find_version(store, name, CHAMPION)
        if champion is not None and champion.number == challenger.number:
            raise Refused(f"promote '{name}': version {champion.number} is champion already; run 'recsys train' first")
        decision = _compare(config, home, store, challenger, champion)
        if not decision.promoted:
            raise Refused(f"promote '{name}' version {challenger.number}: no: {decision.reason}")
        # The line first: if the process dies in between, the ledger still knows whom to go back to.
        previous = champion.number if champion else None
        append_line(home, "promote", name, challenger.number, previous, decision.reason)
        set_champion(store, name, challenger.number)
    logger.info("promote: '%s' version %s is champion: %s", name, challenger.number, decision.reason)
    return challenger, decision


def rollback(config: Config, home: Path) -> tuple[str, str]:
    """Make the previous champion champion again; return (the version left, the version that serves)."""
    store = connect(home, config)
    name = config.registry.model_name
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
    version = need_version(store, config.registry.model_name, CHAMPION, "run 'recsys train' and 'recsys promote' first")
    return version, _load(store, version)


def _load(store: Store, version: Version) -> Bundle:
    with open_bundle(store, version) as folder:
        verify_folder(folder, "train and promote again, or roll back")
        return Bundle.load(folder)


def _compare(config: Config, home: Path, store: Store, challenger: Version, champion: Version | None) -> Decision:
    measured = _read_user_metrics(store, challenger)
    ours = measured.filter(pl.col("model") == OURS)
    if champion is None:
        return decide(ours, measured.filter(pl.col("model") == _FIRST_RIVAL), _FIRST_RIVAL, config, first=True)
    rival = f"champion version {champion.number}"
    same = ("snapshot", "test_start", "test_end", "protocol", "test_pairs")
    if all(challenger.tags.get(key) == champion.tags.get(key) for key in same):
        # Both twins were measured on the very same window and users.
        theirs = _read_user_metrics(store, champion).filter(pl.col("model") == OURS)
        return decide(ours, theirs, rival, config)
    return decide(ours, _measure_champion(config, home, store, challenger, champion), rival, config)


def _measure_champion(config: Config, home: Path, store: Store, challenger: Version, champion: Version) -> pl.DataFrame:
    """Score the champion's bundle on the challenger's test window.

    Raises:
        Refused: the champion has learned from that window, so the comparison would be worth nothing.
    """
    start, end = challenger.tags.get("test_start"), challenger.tags.get("test_end")
    bundle = _load(store, champion)
    if not start or not end or bundle.cutoff is None or bundle.cutoff > datetime.fromisoformat(start):
        raise Refused(
            f"promote '{challenger.name}' version {challenger.number}: champion {champion.number} learned "
            f"from events until {champion.tags.get('end') or 'the end of its data'}, the test window starts at "
            f"{start or 'no instant'}; train on the same snapshot, or wait for a test window after the champion's data"
        )
    # Not the newest snapshot: an ingest since the training may have changed what lies in the window.
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"), challenger.tags["snapshot"])
    instant, stop = datetime.fromisoformat(start), datetime.fromisoformat(end)
    history = cut(snapshot.interactions, instant)
    inside = cut(snapshot.interactions, stop).filter((pl.col("time") >= instant) & pl.col("positive"))
    positives = inside.select("user_id", "item_id").unique()
    if not config.dataset.repeats:
        pairs = history.select("user_id", "item_id").unique()
        positives = positives.join(pairs, on=["user_id", "item_id"], how="anti")
    window = Window("test", instant, stop, history, positives.sort("user_id", "item_id"))
    ours = {"evaluation": config.evaluation, "dataset": config.dataset}
    measured_as = replace(bundle, config=bundle.config.model_copy(update=ours))
    return measure(measured_as, window, snapshot.items, baselines=False).user_metrics


def _read_user_metrics(store: Store, version: Version) -> pl.DataFrame:
    return read_run_table(store, version.run_id, "user_metrics.parquet")
