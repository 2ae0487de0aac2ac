"""Commands that decide which model version serves, and show what served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import name_command, print_json, print_lines, print_next, print_table, print_text
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.registry.gate.decision import Decision

ForceOption = Annotated[
    bool, typer.Option("--force", help="Promote even if the gate refuses. Requires --why; logged permanently.")
]
WhyOption = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Reason of a forced promotion.")]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the gate's decision without promoting; the exit code is 3 if it refuses."),
]
ToOption = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="Version to return to. Default: the previous champion."),
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="DATE", help="Print which version served on a day (YYYY-MM-DD) or at an ISO time, in UTC."
    ),
]
EntryOption = Annotated[
    int | None, typer.Option("--entry", metavar="NUMBER", help="Print one entry with its decision table.")
]
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="Version to copy. Default: the champion.")
]
ToHomeOption = Annotated[
    Path | None,
    typer.Option("--to-home", metavar="FOLDER", help="Copy to the MLflow store of this other home."),
]


def promote(
    config: ConfigOption,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    why: WhyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the challenger with the champion, and promote it if it passes the gate.

    Both are measured on the same users. If the gate refuses, stdout has the decision table, the message states the
    reason, the exit code is 3, and the champion keeps serving. Each decision is an entry of the promotion log.

    If another process changes the champion at the same time, the exit code is 2 and the message names its entry.

    Next: `recsys generate`.

    Example: `recsys promote --config configs/demo.yaml --dry-run`
    """
    if force != (why is not None):
        raise typer.BadParameter("--force needs a reason, and --why is only for --force; use both or neither")
    if force and dry_run:
        raise typer.BadParameter("--force and --dry-run exclude each other")
    settings = load_settings(config, "pipelines.promote")
    from recsys.config import home
    from recsys.pipelines.promote import NotPromoted, judge
    from recsys.pipelines.promote import promote as promote_pipeline

    if dry_run:
        judged = judge(settings, home())
        what = "would be promoted" if judged.promotable and judged.decision else "was judged"
        facts = {"dry_run": True, "version": judged.version.number, "promoted": judged.promotable}
        sentence = f"{judged.version.name} version {judged.version.number} {what}: {judged.reason}"
        _print_answer(
            judged.decision,
            {**facts, "reason": judged.reason},
            sentence if judged.promotable else "",
            as_json=as_json,
        )
        if not judged.promotable:
            raise NotPromoted(f"promote '{judged.version.name}' version {judged.version.number}: {judged.reason}")
        return
    try:
        promoted = promote_pipeline(settings, home(), why=why)
    except NotPromoted as refusal:
        facts = {"model": settings.model_name, "promoted": False, "reason": str(refusal)}
        _print_answer(refusal.decision, facts, "", as_json=as_json)
        raise
    version, entry = promoted.version, promoted.entry
    facts = {"model": version.name, "promoted": entry is not None, "champion": version.number}
    details = {"entry": entry.number if entry else None, "reason": promoted.reason}
    sentence = f"{version.name} version {version.number} is the champion: {promoted.reason}"
    _print_answer(promoted.decision, {**facts, **details}, sentence, as_json=as_json)
    if not as_json:
        print_next(name_command("generate", config))


def rollback(config: ConfigOption, to: ToOption = None, as_json: JsonOption = False) -> None:
    """Roll back to an earlier champion and publish its lists again.

    The lists are published for the date that readers see, if they were kept. `recsys promote` does not promote the
    replaced version again unless forced.

    Next: `recsys generate`, if the lists were not kept.

    Example: `recsys rollback --config configs/demo.yaml --to 3`
    """
    settings = load_settings(config, "pipelines.rollback")
    from recsys.config import home
    from recsys.pipelines.rollback import rollback as rollback_pipeline

    done = rollback_pipeline(settings, home(), to)
    if as_json:
        facts = {
            "champion": done.version,
            "replaced": done.replaced,
            "entry": done.entry.number if done.entry else None,
        }
        print_json({**facts, "run_date": done.run_date, "republished": done.republished})
        return
    if done.entry is None:
        what = f"version {done.version} is already the champion"
    elif done.replaced is None:
        what = f"version {done.version} is the champion again"
    else:
        what = f"rolled back from version {done.replaced} to {done.version}"
    print_text(what)
    if done.republished:
        print_text(f"readers see its lists for {done.run_date}")
    else:
        print_next(f"{name_command('generate', config)}, which publishes its lists")


def history(
    config: ConfigOption,
    on: OnOption = None,
    entry: EntryOption = None,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the promotion log: which version served when, who changed it, and why.

    Prints the serving version and the last ten entries, newest last; with `--full`, all of them. The log is verified
    from its first entry; if an entry was changed or is missing, the exit code is 2 and the message names it.

    Example: `recsys history --config configs/demo.yaml --on 2025-03-01`
    """
    if on is not None and entry is not None:
        raise typer.BadParameter("--on and --entry exclude each other; use one of them")
    settings = load_settings(config, "pipelines.history")
    from recsys.cli.promotions import decision_lines, decision_table, entry_lines, history_lines, served_lines
    from recsys.config import home
    from recsys.pipelines.history import find_served, parse_time, read_decision, read_history
    from recsys.progress import waiting

    if entry is not None:
        found, decision = read_decision(settings, home(), entry)
        if as_json:
            print_json({**found.to_dict(), "decision_table": decision.to_dict() if decision else None})
            return
        print_lines(*entry_lines(found), "")
        if decision:
            print_table(decision_table(decision))
            print_lines(*decision_lines(decision))
        return
    period = parse_time(on) if on else None
    with waiting("reading the log"):
        log = read_history(settings, home())
    if on and period:
        served = find_served(log.entries, *period)
        if as_json:
            print_json({"on": on, "served": [span.to_dict() for span in served]})
            return
        print_lines(*served_lines(on, served))
        return
    if as_json:
        print_json(log.to_dict())
        return
    print_lines(*history_lines(log, full=full))


def copy_version(
    config: ConfigOption, version: VersionOption = None, to_home: ToHomeOption = None, as_json: JsonOption = False
) -> None:
    """Copy a version to another MLflow store, for example from staging to production.

    The other store is the environment variable `RECSYS_TARGET_TRACKING_URI`, or the one of `--to-home`. Bundles keep
    their hashes; tags, metrics and files of the run are copied; the target's log gets an entry that names the origin.
    The copy becomes the target's `challenger`, to be promoted with `recsys promote` there.

    Next: `recsys promote`, with the other store as `MLFLOW_TRACKING_URI`.

    Example: `recsys copy-version --config configs/demo.yaml --version 3`
    """
    settings = load_settings(config, "pipelines.copy_version")
    from recsys.config import home
    from recsys.pipelines.copy_version import copy_version as copy_pipeline

    copied = copy_pipeline(settings, home(), version, to_home)
    if as_json:
        print_json(copied.to_dict())
        return
    verb = "had been copied as" if copied.existed else "has been copied as"
    print_text(
        f"{copied.model} version {copied.version} of {copied.source}",
        f"{verb} version {copied.copy} of {copied.target}, bundle {copied.bundle[:12]}",
    )
    print_next("recsys promote, with that store as MLFLOW_TRACKING_URI")


def _print_answer(decision: Decision | None, facts: dict[str, object], sentence: str, *, as_json: bool) -> None:
    """Print the answer and the decision table; as JSON, with the other facts."""
    from recsys.cli.promotions import decision_lines, decision_table

    if as_json:
        print_json({**facts, "decision": decision.to_dict() if decision else None})
        return
    if sentence:
        print_text(sentence)
    if decision:
        print_text("")
        print_table(decision_table(decision))
        print_lines(*decision_lines(decision))
