"""The command that proposes a config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import JsonOption
from recsys.cli.output import name_command, print_facts, print_json, print_lines, print_next, print_text
from recsys.cli.setup import set_threads

if TYPE_CHECKING:
    from recsys.dataset.proposal.preview import Preview
    from recsys.dataset.proposal.questions import Question


def init(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders or addresses of an export.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Config file to write.")] = Path("shop.yaml"),
    answer: Annotated[
        list[str] | None,
        typer.Option(
            "--answer", "-a", metavar="KEY=VALUE", help="Answer to a question, such as user=customer_no; repeatable."
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", metavar="SQL", help="SQL query on the database, one for each table; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing config file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect raw files and write a config that reads them.

    The command reads a bounded sample of each file and explains each setting in a comment. If the files are ambiguous,
    it asks on a terminal; otherwise it assumes the safer reading and marks the line with `# CHECK`.

    Next: `recsys doctor` and `recsys run`.

    Example: `recsys init export/ --out shop.yaml --answer user=customer_no`
    """
    set_threads(2)
    from recsys.dataset.proposal.questions import parse_answers
    from recsys.pipelines.init import run_init

    can_ask = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    proposal = run_init(
        paths,
        out,
        answers=parse_answers(answer or []),
        queries=query or [],
        ask=_ask if can_ask else None,
        force=force,
    )
    if as_json:
        print_json(
            {
                "file": str(out),
                "config": proposal.content,
                "questions": [vars(question) for question in proposal.questions],
                "checks": proposal.checks,
                "preview": vars(proposal.preview),
                "notes": proposal.notes,
            }
        )
        return
    print_lines(f"config  {out}")
    for question in proposal.questions:
        print_facts({"CHECK ": f"{question.text} Assumed: {question.chosen}; change with {question.alternatives}"})
    for check in proposal.checks:
        print_facts({"CHECK ": check})
    for note in proposal.notes:
        print_facts({"note  ": note})
    print_text("", *_describe(proposal.preview))
    print_next(name_command("doctor", out), name_command("run", out))


def _ask(question: Question) -> str:
    """Ask on the terminal until an answer is one of the options; an empty one is the choice proposed."""
    typer.echo(f"\n{question.text}", err=True)
    if question.evidence:
        typer.echo(f"  {question.evidence}", err=True)
    shown = question.options[:9]
    for number, option in enumerate(shown, 1):
        typer.echo(f"  {number}  {option}{'  (proposed)' if option == question.chosen else ''}", err=True)
    while True:
        text = typer.prompt("Number or answer", default=question.chosen, err=True, show_default=True).strip()
        if text in question.options:
            return str(text)
        if text.isdecimal() and 1 <= int(text) <= len(shown):
            return shown[int(text) - 1]
        typer.echo(f"'{text}' is not one of the answers", err=True)


def _describe(preview: Preview) -> list[str]:
    """Return the preview as lines: items, a history and the time span."""
    lines = ["Items as they would be read:"]
    for item in preview.items:
        rest = "; ".join(f"{name}: {text}" for name, text in item.items() if name not in ("item_id", "title"))
        lines.append(f"  {item.get('item_id', '')}  {item.get('title', '')}" + (f"  ({rest})" if rest else ""))
    lines.append(f"History of user {preview.user}:")
    for event in preview.history:
        facts = "  ".join(event[name] for name in ("time", "order", "event", "value") if name in event)
        lines.append(f"  {facts}  {event['item']}  {event['title']}".replace("    ", "  "))
    lines.append("Times: " + (f"{preview.span[0]} to {preview.span[1]} in the sample" if preview.span else "none"))
    return lines
