"""The MLflow run that holds the entries of a promotion log.

MLflow cannot compare and swap an alias or a tag, but a parameter of a run can be written only once: the store refuses a
second value, also of two writers at the same time. Entry 17 is the parameter `entry-000017`, so the writer whose
parameter is accepted has the number.

The run is found by the name of its experiment, which a store has only once. Whoever creates a log makes an experiment
with a name of its own, puts a run into it and then renames it to the final name. Of two at the same time, the store
refuses the second renaming, and the loser uses the winner's run. So every reader, on every machine, has the same run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException

from recsys.errors import RegistryError
from recsys.registry.client import explain
from recsys.registry.tracking import Store
from recsys.storage.files import hash_text

_KIND = "promotion_log"
_ENTRY = "entry-"
_CONFIRMED = "confirmed-"
_DECISIONS = "decisions"
_MAX_RUNS = 100
T = TypeVar("T")


@dataclass(frozen=True)
class LogRun:
    """A promotion log's run.

    Attributes:
        store: from `connect`.
        model: name of the registered model.
        run_id: of the run.
    """

    store: Store
    model: str
    run_id: str

    @classmethod
    def find(cls, store: Store, model: str) -> LogRun | None:
        """Return the run of a model's log; None where the store has no log.

        Raises:
            RegistryError: the experiment or the run was deleted, or the store does not answer.
        """
        experiment = _ask(store, model, lambda: store.client.get_experiment_by_name(name_experiment(model)))
        if experiment is None:
            return None
        _refuse_deleted(store, model, experiment)
        runs = _ask(store, model, lambda: _list_runs(store, experiment))
        active = [run for run in runs if run.info.lifecycle_stage == "active"]
        if not active:
            raise RegistryError(_explain_lost_run(store, model, experiment, runs))
        # Copies that a person made by hand come later than the original.
        return cls(store, model, str(active[0].info.run_id))

    @classmethod
    def find_or_create(cls, store: Store, model: str) -> LogRun:
        """Return the run of a model's log, which is created where the store has none.

        Raises:
            RegistryError: as for `find`, or nothing can be created.
        """
        existing = cls.find(store, model)
        if existing:
            return existing
        name = name_experiment(model)
        experiment_id = _ask(
            store, model, lambda: store.client.create_experiment(f"{name} {uuid4().hex}", store.artifacts)
        )
        tags = {"kind": _KIND, "model": model, "mlflow.note.content": _NOTE}
        run = _ask(store, model, lambda: store.client.create_run(experiment_id, tags=tags, run_name=name))
        _ask(store, model, lambda: store.client.set_terminated(run.info.run_id))
        try:
            store.client.rename_experiment(experiment_id, name)
        except MlflowException as error:
            winner = cls.find(store, model)
            if winner is None:
                raise _no_answer(store, model, error) from error
            if winner.run_id != run.info.run_id:
                with suppress(MlflowException):
                    store.client.delete_experiment(experiment_id)
            return winner
        return cls(store, model, str(run.info.run_id))

    def read(self) -> tuple[dict[int, str], frozenset[int]]:
        """Return the texts of the entries by number, in order, and the numbers of the confirmed entries.

        Raises:
            RegistryError: the store does not answer.
        """
        run = _ask(self.store, self.model, lambda: self.store.client.get_run(self.run_id))
        texts = _by_number(run.data.params, _ENTRY)
        return texts, frozenset(_by_number(run.data.params, _CONFIRMED))

    def claim(self, number: int, text: str) -> bool:
        """Write an entry, and return whether the number was free; a repeated claim of the same text succeeds again.

        Raises:
            RegistryError: the store does not answer.
        """
        try:
            self.store.client.log_param(self.run_id, f"{_ENTRY}{number:06d}", text)
        except (MlflowException, OSError) as error:
            # The number is taken; or the reply was lost, and the entry was written.
            written = self.read()[0].get(number)
            if written is None:
                raise _no_answer(self.store, self.model, error) from error
            return written == text
        return True

    def confirm(self, number: int) -> None:
        """Record that the alias follows an entry. Also written once, so a slow writer cannot take it back.

        Raises:
            RegistryError: the store does not answer.
        """
        _ask(
            self.store,
            self.model,
            lambda: self.store.client.log_param(self.run_id, f"{_CONFIRMED}{number:06d}", "true"),
        )

    def write_decision(self, text: str) -> str:
        """Keep the JSON of a decision table as a file of the run, and return its SHA-256, which is its name.

        Raises:
            RegistryError: it cannot be written.
        """
        digest = hash_text(text)
        with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
            path = Path(scratch) / f"{digest}.json"
            path.write_text(text, encoding="utf-8")
            _ask(self.store, self.model, lambda: self.store.client.log_artifact(self.run_id, str(path), _DECISIONS))
        return digest

    def read_decision(self, digest: str) -> str:
        """Return the JSON of a decision table.

        Raises:
            RegistryError: it is missing, or it was changed.
        """
        with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
            try:
                path = self.store.client.download_artifacts(self.run_id, f"{_DECISIONS}/{digest}.json", scratch)
                text = Path(path).read_text(encoding="utf-8")
            except (MlflowException, OSError, UnicodeDecodeError) as error:
                raise RegistryError(
                    f"promotion log of '{self.model}' in {self.store.place}: decision table {digest[:12]} cannot be "
                    f"read ({type(error).__name__}); restore the store's artifacts from a backup"
                ) from error
        if hash_text(text) != digest:
            raise RegistryError(
                f"promotion log of '{self.model}' in {self.store.place}: decision table {digest[:12]} was changed; "
                "restore the store's artifacts from a backup"
            )
        return text


_NOTE = "The promotion log of recsys, written by its commands and read with `recsys history`. Do not change it."


def name_experiment(model: str) -> str:
    """Return the name of the experiment that holds a model's log."""
    return f"{model} promotion log"


def _list_runs(store: Store, experiment: Experiment) -> list[Run]:
    """Return the runs of the log's kind, oldest first."""
    runs = store.client.search_runs(
        [experiment.experiment_id],
        filter_string=f"tags.kind = '{_KIND}'",
        run_view_type=ViewType.ALL,
        max_results=_MAX_RUNS,
        order_by=["attributes.start_time ASC"],
    )
    return list(runs)


def _refuse_deleted(store: Store, model: str, experiment: Experiment) -> None:
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"promotion log of '{model}' in {store.place}: experiment '{experiment.name}' was deleted; restore it with "
            f"'mlflow experiments restore --experiment-id {experiment.experiment_id}', then run again"
        )


def _explain_lost_run(store: Store, model: str, experiment: Experiment, deleted: list[Run]) -> str:
    where = f"promotion log of '{model}' in {store.place}"
    if deleted:
        run_id = deleted[0].info.run_id
        return f"{where}: its run was deleted; restore it with 'mlflow runs restore --run-id {run_id}', then run again"
    return f"{where}: experiment '{experiment.name}' no longer has a run; restore the store from a backup"


def _by_number(params: Mapping[str, str], prefix: str) -> dict[int, str]:
    found = {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}
    return dict(sorted((int(number), value) for number, value in found.items() if number.isdecimal()))


def _ask(store: Store, model: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except (MlflowException, OSError) as error:
        raise _no_answer(store, model, error) from error


def _no_answer(store: Store, model: str, error: Exception) -> RegistryError:
    reason = explain(store.address, error)
    return RegistryError(f"promotion log of '{model}' in {store.place}: no answer ({reason}); run again")
