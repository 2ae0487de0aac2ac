"""The command that watches nights."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import print_json, print_lines, print_table, print_text
from recsys.cli.setup import load_settings
from recsys.errors import Alert, ConfigError


def monitor(
    config: ConfigOption,
    run_date: Annotated[
        str | None,
        typer.Option(
            "--run-date",
            metavar="YYYY-MM-DD",
            help="Run date to check. Default: the published night. Give it to detect a frozen feed.",
        ),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Accept the night of --run-date as the new normal, without checking it again."
        ),
    ] = None,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare tonight's data and lists with the last good nights.

    Checks data arrival, data quality, ids, abuse, the model, the lists and their outcomes. The exit code is 4 if a
    figure is outside its normal range; each alert states what changed, since when, the likely cause and the next step.
    Writes a page and a text file for Prometheus below `RECSYS_HOME/monitoring` and logs the night to MLflow. In the
    JSON, `retrain` is true if retraining would help. `--full` prints every figure with its normal range.

    Example: `recsys monitor --config configs/demo.yaml --run-date 2025-03-02`
    """
    settings = load_settings(config, "pipelines.monitor")
    from recsys.cli.monitor_tables import alert_lines, area_table, describe_night, figure_table, outcome_lines
    from recsys.config import home
    from recsys.pipelines.monitor import accept as accept_pipeline
    from recsys.pipelines.monitor import monitor as monitor_pipeline
    from recsys.pipelines.monitor import track
    from recsys.progress import waiting
    from recsys.report.monitor_page import write_monitor_page

    if accept is not None:
        if run_date is None:
            raise ConfigError("--accept: --run-date is missing; give the night to accept")
        night = accept_pipeline(settings, home(), run_date, accept)
        if as_json:
            print_json({"run_date": night.run_date, "accepted": night.accepted})
        else:
            print_text(f"{night.run_date}: accepted ({accept}); later nights are compared with it")
        return
    now = datetime.now(UTC)
    done = monitor_pipeline(settings, home(), run_date, now)
    night = done.night
    with waiting("page and MLflow"):
        page = write_monitor_page(settings.name, home(), done.nights, done.reference)
        run = track(settings, home(), night, page, now)
    if as_json:
        print_json({**asdict(night), "reference": list(done.reference), "page": str(page), "mlflow_run": run})
    else:
        print_text(describe_night(night), "")
        for alert in night.alerts:
            print_lines(*alert_lines(alert), "")
        if night.retrain:
            print_lines("retrain  yes: an alert above asks for a new training", "")
        print_table(area_table(night))
        if full:
            print_table(figure_table(night))
        print_lines(*outcome_lines(night), "")
        print_lines(f"page  {page}")
    if night.alerts:
        causes = "; ".join(f"{alert['cause']}: {alert['sentence']}" for alert in night.alerts)
        raise Alert(f"{night.run_date}: {causes}")
