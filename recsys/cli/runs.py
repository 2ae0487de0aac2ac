"""The command that lists trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import name_command, print_json, print_next, print_table, print_text
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.runs import FoundRun

# Runs that are printed; `--full` and `--json` have all.
_RUNS = 10


def runs(config: ConfigOption, full: FullOption = False, as_json: JsonOption = False) -> None:
    """List trainings with date, snapshot, verdict, model version and state.

    Read-only. Prints the last ten, newest first; with `--full`, all of them. The verdict compares our lists with the
    best baseline of the same training, by the interval of their difference. Trainings whose folder `recsys prune`
    deleted are in MLflow only.

    Next: `recsys evaluate --run RUN`.

    Example: `recsys runs --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.runs")
    from recsys.cli.tables import run_table
    from recsys.config import home
    from recsys.pipelines.runs import list_runs
    from recsys.progress import format_count, waiting

    with waiting("reading runs and their versions"):
        found = list_runs(settings, home())
    rows = [_describe(run) for run in found]
    if as_json:
        print_json(rows)
        return
    if not rows:
        print_text(f"no training of '{settings.name}' in {home()} yet")
        print_next(name_command("train", config))
        return
    champion = next((row for row in rows if row["state"] == "champion"), None)
    serving = f"version {champion['version']} of {champion['run']} serves" if champion else "none of them serves"
    print_text(f"{format_count(len(rows), 'training')} of '{settings.name}'; {serving}", "")
    shown = rows if full else rows[:_RUNS]
    print_table(run_table(shown))
    if earlier := len(rows) - len(shown):
        print_text(f"{format_count(earlier, 'earlier training')} with --full")
    print_text(*(f"{row['run']} is damaged: {row['fault']}" for row in shown if row["fault"]))
    print_next(name_command("evaluate", config, "--run", "RUN"))


def _describe(run: FoundRun) -> dict[str, Any]:
    """Return a training as JSON has it."""
    row: dict[str, Any] = {
        "run": run.name,
        "finished": run.finished.isoformat(timespec="seconds"),
        "run_date": None,
        "snapshot": None,
        "answer": None,
        "metric": None,
        "ours": None,
        "baseline": None,
        "best": None,
        "difference": None,
        "version": run.version,
        "state": run.state,
        "fault": run.fault,
    }
    if run.config is None or run.metrics is None:
        return row
    from recsys.evaluation.comparison import OURS
    from recsys.evaluation.summaries import find_best_baseline, select_row
    from recsys.report.verdict import judge_metrics

    evaluation = run.config.evaluation
    ours = select_row(run.metrics, model=OURS, metric=evaluation.metric, n=evaluation.n)
    best = find_best_baseline(run.metrics, evaluation.metric, evaluation.n)
    return row | {
        "run_date": str(run.facts.get("end", ""))[:10] or None,
        "snapshot": run.facts.get("snapshot"),
        "answer": judge_metrics(run.metrics, evaluation).answer,
        "metric": f"{evaluation.metric}@{evaluation.n}",
        "ours": ours["mean"],
        "baseline": best["model"] if best else None,
        "best": best["mean"] if best else None,
        "difference": best["difference"] if best else None,
    }
