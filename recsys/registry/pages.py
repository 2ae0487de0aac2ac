"""Where a person sees the runs: the address of MLflow's page, and the command that serves it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from recsys.registry.tracking import Store, find_experiment

# Where `mlflow ui` serves.
_LOCAL = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Page:
    """The page of an experiment's runs.

    Attributes:
        command: starts a server for the store; empty where the store is a server.
        url: of the page.
    """

    command: str
    url: str


def find_page(store: Store) -> Page:
    """Return the page of the config's experiment.

    The address opens the table of runs. Without its parameter, MLflow opens an empty overview of another kind.

    Raises:
        RegistryError: the experiment was deleted, or the store does not answer.
    """
    experiment = find_experiment(store)
    fragment = f"#/experiments/{experiment}/runs?workflowType=machine_learning" if experiment else "#/experiments"
    if store.address.is_web:
        return Page("", f"{store.place.rstrip('/')}/{fragment}")
    # An address from the environment may hold a password, so its variable is shown instead.
    given = os.environ.get("MLFLOW_TRACKING_URI")
    uri = '"$MLFLOW_TRACKING_URI"' if given else shlex.quote(store.uri)
    return Page(f"mlflow ui --backend-store-uri {uri}", f"{_LOCAL}/{fragment}")
