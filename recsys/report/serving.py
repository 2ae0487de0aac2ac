"""What became of the run in the registry: its version, the gate's answer, and what serves now."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import RegistryError
from recsys.registry.gate.decision import Decision, parse_decision
from recsys.registry.promotion_log import Entry, PromotionLog
from recsys.registry.run_record import RunRecord, read_run_record
from recsys.registry.tracking import Store, find_run_id

logger = logging.getLogger(__name__)

_JUDGED = ("promote", "refuse", "force")


@dataclass(frozen=True)
class Serving:
    """The registry's view of a run.

    Attributes:
        problem: why the registry could not be asked; empty: it answered.
        record: the training; None: the store does not have it.
        judged: the newest entry of the promotion log about its version; None: the gate has not judged it.
        decision: the table of that entry; None: it has none, it cannot be read, or an older version of recsys wrote it.
        champion: the entry since which the present champion serves; None: nothing was promoted yet.
    """

    problem: str = ""
    record: RunRecord | None = None
    judged: Entry | None = None
    decision: Decision | None = None
    champion: Entry | None = None

    @property
    def version(self) -> str | None:
        """The version that the run registered."""
        return self.record.version if self.record else None


def read_serving(store: Store, home: Path, model: str, run: str) -> Serving:
    """Ask the registry about a run; what cannot be answered becomes the `problem`, so that a page can be written.

    Args:
        store: from `connect`.
        home: has the copy of the promotion log, which is not changed.
        model: name of the registered model.
        run: name of the run.
    """
    try:
        run_id = find_run_id(store, run)
        record = read_run_record(store, run_id, model) if run_id else None
        log = PromotionLog.open(store, home, model, read_only=True)
        judged = _find_judgement(log, record)
        return Serving("", record, judged, _read_decision(log, judged), log.head)
    except RegistryError as error:
        logger.warning("report of %s: no answer from the registry: %s", run, error)
        return Serving(problem=str(error))


def _find_judgement(log: PromotionLog, record: RunRecord | None) -> Entry | None:
    version = record.version if record else None
    about = (entry for entry in reversed(log.entries) if entry.action in _JUDGED and entry.to_version == version)
    return next(about, None) if version else None


def _read_decision(log: PromotionLog, judged: Entry | None) -> Decision | None:
    try:
        text = log.read_decision(judged) if judged else None
        return parse_decision(json.loads(text)) if text else None
    except (RegistryError, ValueError, TypeError, KeyError) as error:
        logger.warning("the gate's checks are not shown: %s", error)
        return None
