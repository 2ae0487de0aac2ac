"""The MLflow run of a monitored night, in an experiment of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mlflow.entities import Metric, RunTag

from recsys.monitoring.monitored_nights import Night
from recsys.registry.descriptions import describe_nights, escape_markdown
from recsys.registry.names import encode_name
from recsys.registry.tracking import NOTE, Store, asking, find_run_id, get_or_create_experiment, log_file

_AT_ONCE = 500
_TAG_CHARACTERS = 5000


def log_night(store: Store, night: Night, page: Path, now: datetime) -> str:
    """Log a monitored night and return the id of its run; a night that is monitored again updates its run.

    The figures are metrics in a group for each area, such as `outcomes/hit_rate`, and their normal ranges in the groups
    `low` and `high`. The verdict, the causes, the snapshot, the model version and whether to retrain are tags.

    Args:
        store: from `connect`; the experiment is named like that of the trainings, with `-monitoring` added.
        night: the night.
        page: of the night, logged as `page.html`.
        now: time of the metrics, so that the values of a repetition are the latest.

    Raises:
        RegistryError: the store cannot be written or does not answer, or the experiment was deleted.
    """
    model, store = store.experiment, replace(store, experiment=f"{store.experiment}-monitoring")
    experiment = get_or_create_experiment(store, describe_nights(model))
    known = find_run_id(store, night.run_date)
    causes = [str(alert["cause"]) for alert in night.alerts]
    tags = {
        "kind": "monitoring",
        "run_date": night.run_date,
        "verdict": night.verdict,
        "causes": ", ".join(causes),
        "retrain": str(night.retrain).lower(),
        "snapshot": night.snapshot,
        "model_version": night.model_version,
        NOTE: escape_markdown("; ".join(str(alert["sentence"]) for alert in night.alerts)) or "calm",
    }
    with asking(store, f"the night of {night.run_date} was not logged"):
        run_id = known or str(store.client.create_run(experiment, run_name=night.run_date).info.run_id)
        metrics = _list_metrics(night, int(now.timestamp() * 1000))
        for start in range(0, len(metrics), _AT_ONCE):
            store.client.log_batch(run_id, metrics=metrics[start : start + _AT_ONCE])
        store.client.log_batch(run_id, tags=[RunTag(name, value[:_TAG_CHARACTERS]) for name, value in tags.items()])
        log_file(store, run_id, page)
        store.client.set_terminated(run_id)
    return run_id


def _list_metrics(night: Night, timestamp: int) -> list[Metric]:
    values = {name.replace(".", "/", 1): value for name, value in night.figures.items()}
    for end in ("low", "high"):
        limits = {name: normal.get(end) for name, normal in night.expected.items()}
        values |= {f"{end}/{name}": limit for name, limit in limits.items() if limit is not None}
    values["alerts"] = len(night.alerts)
    return [
        Metric("/".join(map(encode_name, name.split("/", 1))), value, timestamp, 0) for name, value in values.items()
    ]
