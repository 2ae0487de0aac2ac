"""Commands that show what a run measured and whether everything is in order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption, RunOption
from recsys.cli.output import name_command, print_json, print_lines, print_next, print_table, print_text
from recsys.cli.setup import load_settings
from recsys.errors import Refused


def evaluate(
    config: ConfigOption,
    run: RunOption = None,
    against: Annotated[
        str, typer.Option(metavar="MODEL", help="Model to compare with in the segment tables of --full.")
    ] = "blend",
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show whether a run is better than the baselines, and by how much.

    Read-only. `--full` adds the other metrics, catalogue coverage, the segments of users and items,
    the candidate sources, and where candidates were lost. Intervals are bootstrap intervals over users; `--json` has
    every number.

    Next: `recsys report`.

    Example: `recsys evaluate -c configs/demo.yaml --json | jq .measured.losses`
    """
    settings = load_settings(config)
    from recsys.artifacts.runs import read_run
    from recsys.cli import tables
    from recsys.config import home
    from recsys.evaluation.candidate_ledger import describe_losses
    from recsys.report.verdict import judge_metrics

    shown = read_run(home(), settings.name, run)
    if as_json:
        names = ("metrics", "segments", "catalogue", "ledger", "depths", "overlap")
        rows = {name: getattr(shown, name).to_dicts() for name in names}
        print_json({"run": shown.name, "measured": shown.measured, **rows})
        return
    evaluation = settings.evaluation
    # All tables are built before the first is printed, so that an error leaves stdout empty.
    built = (
        tables.main_metric_table(shown.metrics, evaluation),
        tables.other_metrics_table(shown.metrics, evaluation),
        tables.beyond_accuracy_table(shown.metrics, shown.catalogue, evaluation.n),
        tables.segment_table(shown.segments, against, evaluation),
        tables.source_table(shown.ledger),
    )
    print_text(judge_metrics(shown.metrics, evaluation).line, f"run {shown.name}", "")
    for table in built if full else built[:1]:
        print_table(table)
    if full:
        print_text(*describe_losses(shown.measured))
    else:
        print_next(name_command("evaluate", config, "--full"), name_command("report", config))


def report(
    config: ConfigOption,
    run: RunOption = None,
    run_date: Annotated[
        str | None,
        typer.Option(
            "--run-date", metavar="YYYY-MM-DD", help="Run date of the lists to show. Default: the newest published."
        ),
    ] = None,
    users: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of users to show.")] = 300,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output file. Default: RECSYS_HOME/reports/RUN.html.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a self-contained HTML report: metrics, segments, losses, drift and sample lists.

    The page works offline and from disk. It is also added to the run in MLflow. Until lists are published
    (`recsys generate`), it shows the lists that the run was measured on.

    Example: `recsys report --config configs/demo.yaml --out report.html`
    """
    settings = load_settings(config, "report.page")
    from recsys.config import home
    from recsys.progress import waiting
    from recsys.report.page import write_report

    with waiting("report"):
        path = write_report(settings, home(), run=run, run_date=run_date, users=users, out=out, now=datetime.now(UTC))
    if as_json:
        print_json({"file": str(path)})
        return
    print_lines(str(path))


def doctor(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Check environment, data, store and published lists.

    Read-only. The exit code is 2 if anything is missing or damaged; each problem names the next step.

    Example: `recsys doctor --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.doctor")
    from recsys.cli.tables import finding_table
    from recsys.config import home
    from recsys.pipelines.doctor import examine
    from recsys.progress import format_count, waiting

    with waiting("checking"):
        findings = examine(settings, home())
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        print_text(
            f"{format_count(problems, 'problem')}; each names the next step" if problems else "no problem found", ""
        )
        print_table(finding_table(findings))
    if problems:
        raise typer.Exit(2)


def freshness(
    config: ConfigOption,
    run_date: Annotated[
        str | None,
        typer.Option("--run-date", metavar="YYYY-MM-DD", help="Run date to check. Default: today in UTC."),
    ] = None,
    tolerance_hours: Annotated[
        float | None,
        typer.Option(
            "--tolerance-hours",
            min=0,
            metavar="HOURS",
            help="Maximum age of the newest event at 00:00 UTC of the run date. Default: "
            "generation.max_snapshot_age_hours, or 24 if that is null.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether the data for a night has arrived in the raw files.

    Reads only the times of the raw interactions. The exit code is 0 if the newest event is recent enough,
    and 3 if it is not or the files cannot be read yet. Read-only.

    Next: `recsys ingest`.

    Example: `recsys freshness --config configs/demo.yaml --run-date 2025-03-02`
    """
    settings = load_settings(config)
    from recsys.config import home
    from recsys.pipelines.freshness import examine_freshness

    found = examine_freshness(settings, home(), run_date, tolerance_hours, datetime.now(UTC))
    if as_json:
        print_json(
            {
                "run_date": found.run_date,
                "fresh": found.fresh,
                "newest": found.newest.isoformat() if found.newest else None,
                "needed": found.needed.isoformat(),
                "lists": found.lists,
                "reason": found.describe(),
            }
        )
    if not found.fresh:
        raise Refused(f"data for {found.run_date}: {found.describe()}; wait for the data, then run again")
    if not as_json:
        print_text(f"data for {found.run_date} has arrived: {found.describe()}")
        print_next(name_command("ingest", config))
