"""Numbers that are logged with the MLflow run of a training."""

from __future__ import annotations

from recsys.registry.tracking import Store, asking

# Seconds of making the lists of 1,000 users. Timings differ from run to run, so they are not in the run's files.
SECONDS = "seconds_per_1000_users"


def read_numbers(store: Store, run_id: str) -> dict[str, float]:
    """Return the metrics of an MLflow run by name.

    Raises:
        RegistryError: the run is unknown, or the store does not answer.
    """
    with asking(store, f"the numbers of run {run_id} were not read"):
        return {str(name): float(value) for name, value in store.client.get_run(run_id).data.metrics.items()}
