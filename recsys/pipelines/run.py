"""`recsys run`: every step once, from raw files to published lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.config import Config
from recsys.errors import Refused
from recsys.pipelines.generate import Generated, generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.plausible_dates import check_run_date
from recsys.pipelines.promote import promote
from recsys.pipelines.train import N_STEPS, Trained, train
from recsys.progress import Steps, logger
from recsys.registry.tracking import connect
from recsys.registry.versions import CHAMPION, find_version


@dataclass(frozen=True)
class FullRun:
    """The results of one run of every step.

    Attributes:
        trained: run, version and metric table.
        verdict: of the gate.
        generated: the published lists.
        store: URI of the MLflow store, without credentials.
        seconds: that all steps took.
    """

    trained: Trained
    verdict: str
    generated: Generated
    store: str
    seconds: float


def run_all(config: Config, home: Path, run_date: str | None, now: datetime) -> FullRun:
    """Ingest, train, promote and generate. If the challenger is refused, lists are made with the current champion.

    Raises:
        DataError: the run date is not YYYY-MM-DD.
        Refused: the run date is in the future, too much data was lost, the gate refused the challenger and there is no
            champion, or the lists fail a check.
    """
    # Ingest, those of the training, promotion, lists.
    steps = Steps(N_STEPS + 3)
    steps.begin("ingest")
    run_ingest(config, home, now)
    check_run_date("run", config, home, run_date, now)
    trained = train(config, home, run_date, steps)
    store = connect(home, config)
    steps.begin("promotion gate")
    try:
        promoted = promote(config, home)
        verdict = f"version {promoted.version.number} is the champion: {promoted.reason}"
    except Refused as refusal:
        champion = find_version(store, config.model_name, CHAMPION)
        if champion is None:
            raise
        logger.warning("%s; version %s still serves", refusal, champion.number)
        verdict = f"{refusal}; version {champion.number} still serves"
    steps.begin("lists")
    generated = generate(config, home, run_date, now)
    return FullRun(trained, verdict, generated, store.place, steps.finish())
