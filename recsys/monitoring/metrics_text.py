"""A monitored night in the text format that Prometheus reads."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from recsys.monitoring.monitored_nights import Night


def format_metrics(name: str, night: Night) -> str:
    """Return the figures of a night, their normal ranges and the number of alerts in OpenMetrics text.

    The metrics are `recsys_monitor_figure`, `_expected`, `_low` and `_high` with the labels `config` and `figure`,
    `recsys_monitor_alert` with the labels `config` and `cause` (1 for each alert), `recsys_monitor_alerts`,
    `recsys_monitor_retrain` (1 if an alert recommends retraining), `recsys_monitor_run_date_seconds`, the run date as
    seconds since 1970, by which a missing night is noticed, and `recsys_monitor_serving_info`, whose labels name the
    version and the snapshot behind the lists.

    Args:
        name: of the config.
        night: the night.
    """
    registry = CollectorRegistry()
    figure = _gauge(registry, "figure", "A figure of the last monitored night", "figure")
    for key, value in night.figures.items():
        figure.labels(name, key).set(value)
    for part, text in (("value", "expected value"), ("low", "smallest normal value"), ("high", "largest normal value")):
        gauge = _gauge(registry, "expected" if part == "value" else part, f"The {text} of a figure", "figure")
        for key, normal in night.expected.items():
            limit = normal.get(part)
            if limit is not None:
                gauge.labels(name, key).set(limit)
    cause = _gauge(registry, "alert", "1 for each alert of the last monitored night", "cause")
    for alert in night.alerts:
        cause.labels(name, alert["cause"]).set(1)
    _gauge(registry, "alerts", "Alerts of the last monitored night").labels(name).set(len(night.alerts))
    _gauge(registry, "retrain", "1 if an alert recommends retraining").labels(name).set(float(night.retrain))
    _gauge(registry, "run_date_seconds", "Run date of the last monitored night").labels(name).set(_to_seconds(night))
    # A gauge: node-exporter's textfile collector rejects a whole file with the type `info` of OpenMetrics.
    serving = _gauge(registry, "serving_info", "Serving model and lists", "model_version", "snapshot")
    serving.labels(name, night.model_version, night.snapshot).set(1)
    content: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return content.decode("utf-8")


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"recsys_monitor_{name}", text, ("config", *labels), registry=registry)


def _to_seconds(night: Night) -> float:
    return datetime.fromisoformat(night.run_date).replace(tzinfo=UTC).timestamp()
