"""What the MLflow store knows about a training: when it ran, by which code, and the version that it registered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.registry.tracking import Store, asking
from recsys.storage.code_version import WRITTEN_BY

_COMMIT = "mlflow.source.git.commit"


@dataclass(frozen=True)
class RunRecord:
    """One training as the store has it.

    Attributes:
        run_id: of its MLflow run.
        ended: when it ended; None: it has not.
        code_version: recsys, and the git commit where it ran from a checkout; empty: unknown.
        version: the model version that it registered; None: none yet.
    """

    run_id: str
    ended: datetime | None
    code_version: str
    version: str | None


def read_run_record(store: Store, run_id: str, model: str) -> RunRecord:
    """Return what the store knows about a run.

    Args:
        store: from `connect`.
        run_id: from `find_run_id`.
        model: name of the registered model.

    Raises:
        RegistryError: the store does not answer.
    """
    with asking(store, "no answer"):
        run = store.client.get_run(run_id)
        versions = store.client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
    newest = max(versions, key=lambda version: int(version.version), default=None)
    tags = {} if newest is None else dict(newest.tags)
    ended = run.info.end_time
    return RunRecord(
        run_id,
        datetime.fromtimestamp(ended / 1000, UTC) if ended else None,
        tags.get(WRITTEN_BY, "") or run.data.tags.get(_COMMIT, "")[:12],
        None if newest is None else str(newest.version),
    )
