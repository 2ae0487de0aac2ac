"""A search over settings in MLflow: one run, in which its trials are nested."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param

from recsys.registry.names import encode_name
from recsys.registry.tracking import Store, asking, get_or_create_experiment
from recsys.registry.training_run import shorten


def open_search(store: Store, name: str, facts: Mapping[str, str]) -> str:
    """Return the id of the run that a search's trials are nested in; a search that is continued has the same run.

    Args:
        store: from `connect`.
        name: of the search; a new name creates a new run.
        facts: tags of a new run.

    Raises:
        RegistryError: the store does not answer, or the experiment was deleted.
    """
    experiment = get_or_create_experiment(store)
    with asking(store, "the search was not logged"):
        runs = store.client.search_runs([experiment], f"tags.search = '{name}'", max_results=1)
        if runs:
            run_id = str(runs[0].info.run_id)
            store.client.update_run(run_id, status="RUNNING")
            return run_id
        tags = {**facts, "kind": "search", "search": name}
        return str(store.client.create_run(experiment, tags=tags, run_name=f"tune {name}").info.run_id)


def log_trial(
    store: Store,
    search: str,
    name: str,
    params: Mapping[str, object],
    numbers: Mapping[str, float],
    tags: Mapping[str, str],
) -> None:
    """Log one trial of a search as a run nested in its run.

    Args:
        store: from `connect`.
        search: id from `open_search`.
        name: of the run.
        params: the changed settings.
        numbers: single values; empty if the trial failed.
        tags: such as its state.

    Raises:
        RegistryError: the store does not answer.
    """
    experiment = get_or_create_experiment(store)
    with asking(store, f"{name} was not logged"):
        every_tag = {**tags, "kind": "trial", "mlflow.parentRunId": search}
        run_id = store.client.create_run(experiment, tags=every_tag, run_name=name).info.run_id
        shown = [Param(encode_name(key), shorten(str(value))) for key, value in params.items()]
        store.client.log_batch(run_id, metrics=_stamp(numbers), params=shown)
        store.client.set_terminated(run_id, "FINISHED" if numbers else "FAILED")


def close_search(
    store: Store, search: str, numbers: Mapping[str, float], tags: Mapping[str, str], artifacts: Sequence[Path]
) -> None:
    """Log the result of a search, such as the winner's numbers and config file, and end its run.

    Raises:
        RegistryError: the store does not answer.
    """
    with asking(store, "the search was not logged"):
        store.client.log_batch(search, metrics=_stamp(numbers))
        for key, value in tags.items():
            store.client.set_tag(search, key, value)
        for path in artifacts:
            store.client.log_artifact(search, str(path))
        store.client.set_terminated(search)


def _stamp(numbers: Mapping[str, float]) -> list[Metric]:
    now = time.time_ns() // 1_000_000
    return [Metric(key, value, now, 0) for key, value in numbers.items()]
