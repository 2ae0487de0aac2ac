"""MLflow runs as a training logs them, without a training."""

import time
from collections.abc import Mapping
from pathlib import Path

from recsys.config import Config
from recsys.registry.tracking import Store
from recsys.registry.training_run import InputData, Results, finish_run, log_results, open_training

HOME_ID = "0" * 32
DATA = InputData("mini", "abc123", {"user_id": "string", "time": "datetime"}, {"rows": 3})


def make_results(
    baselines: Mapping[str, Mapping[str, float]] | None = None, facts: Mapping[str, str] | None = None
) -> Results:
    """Return small results: one number, one curve of two steps."""
    ended = time.time_ns() // 1_000_000
    return Results(facts or {}, {"ndcg_at_10": 0.5}, baselines or {}, {"loss": [3.0, 2.0]}, ended)


def log_run(store: Store, config: Config, folder: Path, name: str = "x") -> str:
    """Log a finished training, with a folder as its run, and return its id."""
    with open_training(store, name, config, {}, DATA, HOME_ID) as run_id:
        log_results(store, run_id, config, make_results(), folder)
        finish_run(store, run_id)
    return run_id
