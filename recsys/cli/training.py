"""Commands that train models and search for better settings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption, RunDateOption
from recsys.cli.output import name_command, print_json, print_lines, print_next, print_table, print_text
from recsys.cli.setup import load_settings


def train(
    config: ConfigOption,
    run_date: RunDateOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="ALIAS",
            help="Continue from a registered version, such as champion: keep its encoder and its choice about the "
            "ranker, and refresh its interest models and ALS. Trains from scratch where there is none, every "
            "`continuation.full_every` trainings, and if the monitor recommends it.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train and measure a model, and register it as the challenger.

    Needs a snapshot (`recsys ingest`). Trains to measure on the test window, then continues on all data, to serve.
    Writes `RECSYS_HOME/runs/RUN` and an MLflow run. If it is killed, run it again: fine-tuning continues from its last
    checkpoint.

    Next: `recsys evaluate`, then `recsys promote`.

    Example: `recsys train --config configs/demo.yaml`

    The week after, in a fraction of the time:

    `recsys train --config configs/demo.yaml --from champion`

    Fine-tuning with two processes:

    `torchrun --nproc-per-node 2 -m recsys.cli train --config shop.yaml`
    """
    settings = load_settings(config, "pipelines.train")
    from recsys.cli.tables import main_metric_table
    from recsys.config import home
    from recsys.pipelines.continuation import CONTINUED_FROM
    from recsys.pipelines.plausible_dates import check_run_date
    from recsys.pipelines.train import train_together
    from recsys.report.verdict import judge_metrics

    check_run_date("train", settings, home(), run_date, datetime.now(UTC))
    trained = train_together(settings, home(), run_date, start or None)
    if trained is None:
        # Another process of the same training prints the result.
        return
    version = trained.version
    before = version.tags.get(CONTINUED_FROM)
    if as_json:
        print_json(
            {
                "run": trained.run,
                "model": version.name,
                "version": version.number,
                "continued_from": before,
                "metrics": trained.metrics.to_dicts(),
                "mlflow_page": trained.page.url,
            }
        )
        return
    print_text(
        judge_metrics(trained.metrics, settings.evaluation).line,
        f"run {trained.run}: {version.name} version {version.number}"
        + (f", continued from version {before}," if before else "")
        + " is the challenger",
        f"MLflow: {' then '.join(filter(None, (trained.page.command, trained.page.url)))}",
        "",
    )
    print_table(main_metric_table(trained.metrics, settings.evaluation))
    print_next(name_command("evaluate", config, "--full"), name_command("promote", config))


def register(
    config: ConfigOption,
    run: Annotated[
        str | None, typer.Argument(help="Name of a run below RECSYS_HOME/runs. Default: all that are not registered.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a trained model whose registration failed.

    If the MLflow server fails after a model was trained, `recsys train` keeps it in `RECSYS_HOME/unregistered`. This
    command logs and registers it without training again, then deletes the kept files. It can be repeated after any
    failure.

    Next: `recsys promote`.

    Example: `recsys register --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.registration")
    from recsys.config import home
    from recsys.pipelines.registration import register_training

    registered = register_training(settings, home(), run)
    if as_json:
        print_json([{"run": one.run, "model": one.version.name, "version": one.version.number} for one in registered])
        return
    lines = [f"run {one.run}: registered as {one.version.name} version {one.version.number}" for one in registered]
    print_lines(*lines or ["no training needs to be registered"])
    if registered:
        print_next(name_command("promote", config))


def tune(
    config: ConfigOption,
    space: Annotated[
        Path,
        typer.Option(
            "--space", "-s", metavar="FILE", help="YAML file of settings and ranges, such as configs/spaces/demo.yaml."
        ),
    ],
    trials: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Total number of trials, including those of earlier calls of this search."
        ),
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for the tuned config. Default: RECSYS_HOME/tuning/NAME.yaml."),
    ] = None,
    run_date: RunDateOption = None,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tune hyperparameters for quality and run time.

    Needs a snapshot (`recsys ingest`). Trials are measured on a window before the test window, which the search never
    sees. If it is stopped, run it again: finished trials are kept. Prints the trials that no other trial beats in
    both quality and run time; with `--full`, all finished trials.

    Next: `recsys train` with the new config file.

    Example: `recsys tune -c configs/demo.yaml -s configs/spaces/demo.yaml`
    """
    settings = load_settings(config, "pipelines.tuning.search")
    from recsys.cli.tables import tuning_table
    from recsys.config import home
    from recsys.pipelines.plausible_dates import check_run_date
    from recsys.pipelines.tuning.result import describe_search, summarise_search
    from recsys.pipelines.tuning.search import tune as tune_pipeline

    check_run_date("tune", settings, home(), run_date, datetime.now(UTC))
    tuned = tune_pipeline(config, settings, space, home(), run_date, trials, out)
    if as_json:
        print_json(describe_search(tuned))
        return
    print_text(*summarise_search(tuned), "")
    print_table(tuning_table(tuned, settings.evaluation, full=full))
    print_next(name_command("train", tuned.path))
