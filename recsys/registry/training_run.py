"""The MLflow run of a training: opened before anything is fitted, and ended with the training, whatever happens.

All requests go through the client of the store. MLflow's other interface keeps an active run per process and reads
`MLFLOW_RUN_ID` and `MLFLOW_EXPERIMENT_ID`, so it would write to a run of a surrounding job or notebook.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from recsys.config import AUTO, Config
from recsys.errors import RegistryError
from recsys.progress import track
from recsys.registry.client import explain
from recsys.registry.descriptions import describe_baseline, describe_experiment, describe_failure
from recsys.registry.names import encode_name
from recsys.registry.system_metrics import log_system_metrics
from recsys.registry.tracking import NOTE, RUN_FOLDER, Store, asking, get_or_create_experiment
from recsys.storage.code_version import WRITTEN_BY, find_code_version, find_commit

logger = logging.getLogger(__name__)

FAILURE = "failure"
_PARENT = "mlflow.parentRunId"
_PARAM_CHARACTERS = 500
_TAG_CHARACTERS = 5000
_CUT = " … (in full in config.yaml)"


@dataclass(frozen=True)
class InputData:
    """The snapshot that a training reads.

    Attributes:
        name: of the config that ingested it.
        snapshot: its id.
        columns: name -> type of the interactions' columns.
        counts: number of rows by table.
    """

    name: str
    snapshot: str
    columns: Mapping[str, str]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Results:
    """What a training logs when it ends.

    Attributes:
        facts: tags, such as the snapshot and the windows.
        numbers: single values, such as `ndcg_at_10`.
        baselines: model -> its values under the same names; each is logged as a nested run, so that MLflow can
            compare them.
        curves: value by step.
        ended: milliseconds since 1970; a repetition logs the same values, not more of them.
    """

    facts: Mapping[str, str]
    numbers: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, list[float]]
    ended: int


def shorten(value: str) -> str:
    """Return a parameter's value in the 500 characters that every version of MLflow takes."""
    return value if len(value) <= _PARAM_CHARACTERS else value[: _PARAM_CHARACTERS - len(_CUT)] + _CUT


@contextmanager
def open_training(
    store: Store,
    name: str,
    config: Config,
    facts: Mapping[str, str],
    data: InputData,
    home_id: str,
    kept: Collection[str] = (),
) -> Iterator[str]:
    """Open the MLflow run of a training, give its id, and end the run with the block.

    Settings, tags, the snapshot and the resolved config are logged before the block starts, so a store that cannot be
    written is found at once. If the block fails, the run ends as FAILED with the reason as tag `failure` and as note;
    an interrupt ends it as KILLED. If it succeeds, the block has ended the run itself: see `finish_run`.

    Args:
        store: from `connect`.
        name: of the run.
        config: logged flat as parameters; settings on `auto` are logged by `log_results`, once they are measured.
        facts: tags, besides which recsys, and which git commit of it, trains.
        data: logged as the run's input.
        home_id: identifies the home; the caller holds its lock on training, so a run of this home that is still
            RUNNING belongs to a training that was killed, and is ended first.
        kept: ids of runs that wait for `recsys register`; they are not ended.

    Raises:
        RegistryError: the store cannot be written or does not answer, or the experiment was deleted.
    """
    experiment = get_or_create_experiment(store, describe_experiment(config.name))
    with asking(store, "the run was not created", "fix that, then train again; nothing was trained"):
        _end_dead_runs(store, experiment, home_id, kept)
        tags = {**resolve_tags(), **find_code_tags(), **facts, "kind": "training", "home": home_id}
        run_id = str(store.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    with _ending(store, run_id):
        with asking(store, "the run was not created", "fix that, then train again; nothing was trained"):
            _log_inputs(store, run_id, data)
            settled = [(path, value) for path, value in config.flatten() if value != AUTO]
            store.client.log_batch(run_id, params=_list_params(settled))
            text = yaml.safe_dump(config.resolved(), allow_unicode=True, sort_keys=False)
            store.client.log_text(run_id, text, "config.yaml")
        with log_system_metrics(store.client, run_id, store.uri):
            yield run_id


def log_results(store: Store, run_id: str, config: Config, results: Results, folder: Path) -> None:
    """Log the results of a training; a repetition, after the reply to the first was lost, logs nothing twice.

    Args:
        store: from `connect`.
        run_id: from `open_training`.
        config: with the measured values of settings on `auto`.
        results: numbers, curves and baselines.
        folder: the run's folder in the home, logged as `run`.

    Raises:
        RegistryError: the store cannot be written or does not answer, or does not have the run.
    """
    with asking(store, f"the results of run {run_id} were not logged"):
        run = store.client.get_run(run_id)
        params = [param for param in _list_params(config.flatten()) if param.key not in run.data.params]
        metrics = [_stamp(results, name, value, 0) for name, value in results.numbers.items()]
        metrics += [
            _stamp(results, curve, value, step)
            for curve, values in results.curves.items()
            for step, value in enumerate(values)
        ]
        store.client.log_batch(run_id, metrics=metrics, params=params)
        _log_baselines(store, run_id, str(run.info.experiment_id), results)
        store.client.log_artifacts(run_id, str(folder), RUN_FOLDER)


def find_code_tags() -> dict[str, str]:
    """Return the tags that say which recsys runs: its version and, in a checkout, the git commit that MLflow shows."""
    version = find_code_version()
    commit = find_commit()
    return {WRITTEN_BY: version, **({"mlflow.source.git.commit": commit} if commit else {})}


def finish_run(store: Store, run_id: str, description: str = "") -> None:
    """End a run as FINISHED; the reason of an earlier failure is removed.

    Args:
        store: from `connect`.
        run_id: from `open_training`.
        description: for the page of the run, in Markdown.

    Raises:
        RegistryError: the store does not answer.
    """
    with asking(store, f"run {run_id} was not ended"):
        tags = store.client.get_run(run_id).data.tags
        if FAILURE in tags:
            store.client.delete_tag(run_id, FAILURE)
        store.client.set_tag(run_id, NOTE, description)
        store.client.set_terminated(run_id)


@contextmanager
def _ending(store: Store, run_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _end(store, run_id, "KILLED", "interrupted")
        raise
    except BaseException as error:
        _end(store, run_id, "FAILED", store.address.clean(str(error)) or type(error).__name__)
        raise


def _end(store: Store, run_id: str, status: str, reason: str) -> None:
    """End a run that failed; what cannot be written must not hide the reason."""
    if store.client.broken:
        logger.warning(
            "MLflow run %s: stays RUNNING because the store does not respond; the next training or 'recsys register' "
            "ends "
            "it",
            run_id,
        )
        return
    try:
        store.client.set_tag(run_id, FAILURE, reason[:_TAG_CHARACTERS])
        store.client.set_tag(run_id, NOTE, describe_failure(status, reason))
        store.client.set_terminated(run_id, status)
    except (MlflowException, OSError) as error:
        logger.warning("MLflow run %s: was not ended (%s)", run_id, explain(store.address, error))


def _end_dead_runs(store: Store, experiment: str, home_id: str, kept: Collection[str]) -> None:
    query = f"attributes.status = 'RUNNING' and tags.home = '{home_id}' and tags.kind = 'training'"
    for run in store.client.search_runs([experiment], query):
        if run.info.run_id not in kept:
            logger.info("MLflow run %s: its training was killed; marked as FAILED", run.info.run_id)
            _end(store, run.info.run_id, "FAILED", "the process of this training was killed")


def _log_inputs(store: Store, run_id: str, data: InputData) -> None:
    schema = [{"name": name, "type": kind, "required": True} for name, kind in data.columns.items()]
    dataset = Dataset(
        name=data.name,
        digest=data.snapshot,
        source_type="local",
        # Below the home, wherever that is.
        source=json.dumps({"uri": f"snapshots/{data.snapshot}"}),
        schema=json.dumps({"mlflow_colspec": schema}),
        profile=json.dumps({f"num_{name}": count for name, count in data.counts.items()}),
    )
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _list_params(settings: Collection[tuple[str, Any]]) -> list[Param]:
    return [Param(encode_name(path), shorten(str(value))) for path, value in settings]


def _log_baselines(store: Store, run_id: str, experiment: str, results: Results) -> None:
    known = {
        run.data.tags.get("mlflow.runName", ""): run
        for run in store.client.search_runs([experiment], f"tags.`{_PARENT}` = '{run_id}'", max_results=1000)
    }
    for model, numbers in track(results.baselines.items(), "Logging baselines"):
        if model in known and known[model].info.status == "FINISHED":
            continue
        tags = {**results.facts, "kind": "baseline", _PARENT: run_id, NOTE: describe_baseline(model)}
        nested = known.get(model) or store.client.create_run(experiment, tags=tags, run_name=model)
        metrics = [_stamp(results, name, value, 0) for name, value in numbers.items()]
        params = [] if "model" in nested.data.params else [Param("model", shorten(model))]
        store.client.log_batch(nested.info.run_id, metrics=metrics, params=params)
        store.client.set_terminated(nested.info.run_id)


def _stamp(results: Results, name: str, value: float, step: int) -> Metric:
    return Metric(name, value, results.ended, step)


def has_run(store: Store, run_id: str) -> bool:
    """Return whether the store has a run.

    Raises:
        RegistryError: the store does not answer.
    """
    try:
        store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        reason = explain(store.address, error)
        raise RegistryError(f"MLflow store {store.place}: no answer ({reason}); run again") from error
    return True
