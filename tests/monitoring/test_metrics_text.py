"""The text for Prometheus, read by Prometheus's own parser."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from recsys.monitoring.metrics_text import format_metrics
from recsys.monitoring.monitored_nights import Night


def test_figures_ranges_and_alerts() -> None:
    night = Night(
        run_date="2025-02-01",
        end="",
        snapshot="s",
        model_version="1",
        settings="c",
        verdict="alert",
        figures={"data.users": 3.0, 'data.events.a "b"\\c': 7.0},
        segments={},
        expected={"data.users": {"value": 10.0, "low": 8.0, "high": None}},
        alerts=[{"cause": "users_lost"}],
    )
    families = {family.name: family for family in text_string_to_metric_families(format_metrics("mini", night))}
    samples = {
        (name, sample.labels.get("figure") or sample.labels.get("cause")): sample.value
        for name, family in families.items()
        for sample in family.samples
    }
    assert samples == {
        ("recsys_monitor_figure", "data.users"): 3.0,
        ("recsys_monitor_figure", 'data.events.a "b"\\c'): 7.0,
        ("recsys_monitor_expected", "data.users"): 10.0,
        ("recsys_monitor_low", "data.users"): 8.0,
        ("recsys_monitor_alert", "users_lost"): 1.0,
        ("recsys_monitor_alerts", None): 1.0,
        ("recsys_monitor_retrain", None): 0.0,
        ("recsys_monitor_serving_info", None): 1.0,
        ("recsys_monitor_run_date_seconds", None): 1738368000.0,
    }
    # node-exporter's textfile collector reads the older format, which knows fewer types.
    assert {family.type for family in families.values()} == {"gauge"}
