"""`recsys run`: every step once, from raw files to published lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.config import Config
from recsys.errors import Refused
from recsys.pipelines.generate import Generated, generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.promote import promote
from recsys.pipelines.train import Trained, train
from recsys.progress import logger
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, find_version


@dataclass(frozen=True)
class FullRun:
    """The results of one run of every step.

    Attributes:
        trained: run, version and metric table.
        verdict: of the gate.
        generated: the published lists.
        store: URI of the MLflow store.
    """

    trained: Trained
    verdict: str
    generated: Generated
    store: str


def run_all(config: Config, home: Path, run_date: str | None, now: datetime) -> FullRun:
    """Ingest, train, promote and generate. If the challenger is refused, lists are made with the current champion.

    Raises:
        Refused: the gate refused the challenger and there is no champion, or the lists fail a check.
    """
    run_ingest(config, home, now)
    trained = train(config, home, run_date)
    store = connect(home, config)
    try:
        promoted = promote(config, home)
        verdict = f"version {promoted.version.number} is the champion: {promoted.reason}"
    except Refused as refusal:
        champion = find_version(store, config.model_name, CHAMPION)
        if champion is None:
            raise
        logger.warning("%s; version %s still serves", refusal, champion.number)
        verdict = f"{refusal}; version {champion.number} still serves"
    return FullRun(trained, verdict, generate(config, home, run_date, now), store.place)
