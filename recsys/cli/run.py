"""The command that runs every step."""

from __future__ import annotations

from datetime import UTC, datetime

from recsys.cli.lists import list_facts, refuse_unfollowed
from recsys.cli.options import ConfigOption, FullOption, JsonOption, RunDateOption
from recsys.cli.output import name_command, print_facts, print_json, print_next, print_table, print_text
from recsys.cli.setup import load_settings

# Users whose history and list are printed, and how many items of each.
_USERS = (1, 5)
_FULL = (3, 10)


def run(
    config: ConfigOption, run_date: RunDateOption = None, full: FullOption = False, as_json: JsonOption = False
) -> None:
    """Run every step once: ingest, train, evaluate, promote, generate. Start here.

    Prints whether the lists are better than the best baseline, the metrics, a user's history with the list below it,
    and where the results are; `--full` prints three users and longer lists.

    Next: `recsys report`.

    Example: `recsys run --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.run")
    from recsys.cli.tables import main_metric_table
    from recsys.cli.user_lists import list_table, name_user, write_history
    from recsys.config import home
    from recsys.pipelines.run import run_all
    from recsys.pipelines.show import show_users
    from recsys.progress import format_duration
    from recsys.report.verdict import judge_metrics

    done = run_all(settings, home(), run_date, datetime.now(UTC))
    if as_json:
        facts = {"run": done.trained.run, "metrics": done.trained.metrics.to_dicts(), "gate": done.verdict}
        places = {"mlflow": done.store, "mlflow_page": done.trained.page.url, "seconds": round(done.seconds, 1)}
        print_json({**facts, **list_facts(done.generated), **places})
        refuse_unfollowed(done.generated)
        return
    print_text(judge_metrics(done.trained.metrics, settings.evaluation).line, "")
    print_table(main_metric_table(done.trained.metrics, settings.evaluation))
    users, length = _FULL if full else _USERS
    for user in show_users(settings, home(), done.generated.run_date, users, length):
        print_text(name_user(user), write_history(user, length))
        print_table(list_table(user.rows[:length]))
    print_facts(
        {
            "gate": done.verdict,
            "lists": str(done.generated.folder),
            "MLflow store": done.store,
            "MLflow page": done.trained.page.url,
            **({"served by": done.trained.page.command} if done.trained.page.command else {}),
            "time": format_duration(done.seconds),
        }
    )
    refuse_unfollowed(done.generated)
    print_next(name_command("report", config), name_command("show", config, "USER"))
