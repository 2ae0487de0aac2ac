"""From paths to a proposed config: sample, find the tables and columns, decide what is open, write it down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsys.config import parse_config
from recsys.config.yaml_text import parse_yaml
from recsys.dataset.proposal.draft import Draft
from recsys.dataset.proposal.event_settings import propose_interactions
from recsys.dataset.proposal.item_columns import propose_items
from recsys.dataset.proposal.later_settings import count_threads, propose_rest
from recsys.dataset.proposal.preview import Preview, make_preview
from recsys.dataset.proposal.questions import Decisions, Question
from recsys.dataset.proposal.roles import Roles, find_roles
from recsys.dataset.proposal.samples import Table, load_tables
from recsys.dataset.proposal.views import View, make_views
from recsys.dataset.proposal.yaml_writer import write_yaml
from recsys.errors import DataError
from recsys.progress import format_count


@dataclass(frozen=True)
class Proposal:
    """A config that is proposed.

    Attributes:
        text: the YAML file.
        content: its settings.
        preview: what it makes of the first rows.
        questions: what nobody answered; the file marks these settings with `# CHECK`.
        checks: what else somebody should look at; marked in the same way.
        notes: files that were not used, and why.
    """

    text: str
    content: dict[str, Any]
    preview: Preview
    questions: list[Question]
    checks: list[str]
    notes: list[str]


def propose(paths: Sequence[str], name: str, decisions: Decisions, queries: Sequence[str] = ()) -> Proposal:
    """Return the config proposed for the files below the paths; it is valid.

    Args:
        paths: files, folders, patterns, addresses, or a database.
        name: of the product.
        decisions: answers given, and how to ask for others.
        queries: of the database, one for each table.

    Raises:
        DataError: a path does not exist, or nothing in the files can be read as interactions and items.
        ConfigError: an answer is not possible, or queries and database do not fit.
    """
    tables, problems = load_tables(paths, decisions, queries)
    if not tables:
        reason = "; ".join(problems[:3]) or "no file has a row of data"
        raise DataError(f"{', '.join(paths)}: no table can be read: {reason}")
    views = [view for table in tables for view in make_views(table)]
    roles = find_roles(views, decisions)
    draft = Draft()
    draft.put("name", make_name(name))
    draft.put("seed", 0)
    draft.put("threads", count_threads(), "processors of this machine, at most 8")
    _propose_files(draft, "items", roles.items, decisions)
    items = propose_items(draft, roles)
    _propose_files(draft, "interactions", roles.interactions, decisions)
    events = propose_interactions(draft, roles, decisions)
    for key, setting in (("title", "title"), ("item_id", "item_id"), ("items", "item_id")):
        draft.note(f"dataset items columns {setting}", decisions.is_open(key))
    propose_rest(draft, roles, items, events, decisions)
    unused = [f"{table.name} is unused" for table in tables if table.name not in _names(roles)]
    unused += [f"the answer {key}={text} was not used" for key, text in decisions.unused.items()]
    _trim_fill_down(draft)
    text = write_yaml(draft, _header(paths, roles, decisions, has_checks=bool(draft.checks)))
    parse_config(parse_yaml(text), "proposed by recsys init")
    asked = tuple(question.text for question in decisions.open)
    checks = [line for lines in draft.checks.values() for line in lines if not line.startswith(asked)]
    return Proposal(
        text, draft.content(), make_preview(draft, roles, events), decisions.open, checks, unused + problems
    )


def make_name(text: str) -> str:
    """Return a name that a config may have, for any name of a file."""
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-") or "shop"


def _names(roles: Roles) -> set[str]:
    return {roles.items.table.name, roles.interactions.table.name}


def _propose_files(draft: Draft, what: str, view: View, decisions: Decisions) -> None:
    table = view.table
    shape = view.shape if what == "interactions" or view.unfolding is not None else dict(view.shape)
    used = {key: value for key, value in shape.items() if what == "interactions" or key in ("fill_down", "unfold")}
    rows = f"about {format_count(table.rows, 'row')}" if table.rows is not None else "rows not counted"
    rows = f"{format_count(table.rows, 'row')}" if table.whole and table.rows is not None else rows
    count = f"{format_count(len(table.files), 'file')}, " if len(table.files) > 1 else ""
    draft.put(f"dataset {what} path", table.path, f"{count}{rows}; {table.described}".strip("; "))
    draft.note(f"dataset {what} path", decisions.is_open(what))
    for key, value in table.form.items():
        draft.put(f"dataset {what} {key}", value)
    evidence = {
        "fill_down": "only filled on the first line of each order",
        "unfold": "its cells contain several events",
        "file_name": "a column from the file names",
    }
    for key, value in used.items():
        draft.put(f"dataset {what} {key}", value, evidence[key])


def _trim_fill_down(draft: Draft) -> None:
    """Fill only the columns that the proposal reads."""
    for what in ("items", "interactions"):
        path = ("dataset", what, "fill_down")
        if path not in draft.values:
            continue
        read = [
            value
            for key, value in draft.values.items()
            if key[:3] in {(*path[:2], "columns"), (*path[:2], "attributes")}
        ]
        used = {name for value in read for name in ([value] if isinstance(value, str) else value)}
        rules = draft.get(f"dataset {what} keep_rows") or []
        kept = [
            name for name in draft.values[path] if name in used or any(rule.startswith(f"{name} ") for rule in rules)
        ]
        draft.values[path] = kept
        if not kept:
            del draft.values[path]


def _header(paths: Sequence[str], roles: Roles, decisions: Decisions, *, has_checks: bool) -> list[str]:
    tables: list[Table] = [roles.interactions.table, roles.items.table]
    lines = [
        f"Proposed by 'recsys init {' '.join(paths)}' from a sample of the files.",
        "The comments show the evidence for each setting. Relative paths start at RECSYS_DATA.",
    ]
    if decisions.answered:
        lines.append("Answered: " + ", ".join(f"{key}={value}" for key, value in decisions.answered.items()))
    if roles.is_one_table:
        lines.append(f"Items and interactions both come from {tables[0].name}.")
    if has_checks:
        lines.append("Lines with CHECK are open questions: there is another way to read the files.")
    return lines
