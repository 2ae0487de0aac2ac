"""Load of the machine during a training, as metrics `system/…` of its MLflow run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from recsys.registry.client import StoreClient

logger = logging.getLogger(__name__)

# Seconds that the end of a training waits for the last sample.
_LAST_SAMPLE = 5.0


@contextmanager
def log_system_metrics(client: StoreClient, run_id: str, uri: str) -> Iterator[None]:
    """Log processor, memory, disk, network and GPU load while the block runs, and once at its end.

    MLflow measures (`MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` sets the seconds between samples, default 10). Its own
    thread would wait for a server that is gone; here a sample that cannot be logged is left out.
    """
    try:
        monitor = SystemMetricsMonitor(run_id, tracking_uri=uri)
    # psutil is not installed, or cannot read this system.
    except (MlflowException, ImportError, OSError) as error:
        logger.debug("system metrics are not logged: %s", error)
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_sample, args=(monitor, client, run_id, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LAST_SAMPLE)


def _sample(monitor: SystemMetricsMonitor, client: StoreClient, run_id: str, ended: threading.Event) -> None:
    step, last = 0, False
    while not last:
        try:
            monitor.collect_metrics()
            last = ended.wait(monitor.sampling_interval)
            if last and client.broken:
                return
            now = time.time_ns() // 1_000_000
            samples = monitor.aggregate_metrics().items()
            client.log_batch(run_id, [Metric(f"system/{name}", value, now, step) for name, value in samples])
        except Exception as error:
            # Whatever a driver of this machine raises: the training is worth more than its load.
            logger.debug("a sample of system metrics is skipped: %s", error)
            last = last or ended.is_set()
        for each in monitor.monitors:
            each.clear_metrics()
        step += 1
