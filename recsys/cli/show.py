"""The command that shows one user."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import name_command, print_json, print_next, print_table, print_text
from recsys.cli.setup import load_settings

# Items of the history that are printed; `--full` and `--json` have all.
_HISTORY = 10


def show(
    config: ConfigOption,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id as in the raw files, or its pseudonym.")],
    run_date: Annotated[
        str | None,
        typer.Option("--run-date", metavar="YYYY-MM-DD", help="Run date of the list. Default: the published night."),
    ] = None,
    features: Annotated[
        bool,
        typer.Option("--features", help="Explain each rank: scores by source, and the features that contribute most."),
    ] = False,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a user's history, and the recommended list with reasons below it.

    Read-only. `--features` recomputes the list with the same model version, which takes seconds to minutes; a note in
    the output warns if the data or the settings have changed since. `--full` prints the whole history, scores and
    sources, and with `--features` the contribution of each source and feature to each item.

    Example: `recsys show u0000913 --config configs/demo.yaml --features`
    """
    settings = load_settings(config, *(["pipelines.explain"] if features else []))
    from recsys.cli import user_lists
    from recsys.config import home
    from recsys.pipelines.show import show_user
    from recsys.progress import waiting

    with waiting("reading"):
        found = show_user(settings, home(), user, run_date)
    explained = None
    if features:
        from recsys.pipelines.explain import explain_list

        explained = explain_list(settings, home(), found)
    if as_json:
        facts = found.to_dict()
        if explained:
            facts["explanations"] = [row.to_dict() for row in explained.rows]
            facts["note"] = explained.note
        print_json(facts)
        return
    length = None if full else _HISTORY
    print_text(user_lists.name_user(found))
    if full:
        print_text("")
        print_table(user_lists.history_table(found, length))
    elif found.history:
        print_text(user_lists.write_history(found, length))
    if not found.rows:
        print_text(f"no list for {found.run_date}: the user was not active, or had no event before that date")
        return
    print_text(f"list for {found.run_date}, made by version {found.rows[0].model_version}", "")
    print_table(user_lists.list_table(found.rows, scores=full))
    if explained is None:
        print_next(f"{name_command('show', config, quote(user), '--features')}, explains the rank of each item")
        return
    if explained.note:
        print_text(f"note: {explained.note}", "")
    if not full:
        print_table(user_lists.rank_table(found.rows, explained.rows))
        return
    for row, explanation in zip(found.rows, explained.rows, strict=True):
        print_text(f"{row.rank}. {row.title}: {user_lists.describe_ranking(explanation)}")
        if explanation.sources:
            print_table(user_lists.source_table(explanation))
            print_table(user_lists.contribution_table(explanation))
