"""`recsys init`: look at raw files and write a config that reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recsys.dataset.proposal.proposal import Proposal, propose
from recsys.dataset.proposal.questions import Decisions, Question
from recsys.errors import ConfigError
from recsys.progress import log_stage
from recsys.storage.files import replace_text


def run_init(
    paths: Sequence[str],
    out: Path,
    *,
    answers: Mapping[str, str],
    queries: Sequence[str] = (),
    ask: Callable[[Question], str] | None = None,
    force: bool = False,
) -> Proposal:
    """Propose a config for the files below the paths and write it.

    Args:
        paths: files, folders, patterns, addresses, or a database.
        out: the config file.
        answers: key of a question -> answer.
        queries: of the database, one for each table.
        ask: asks somebody; None where nobody can be asked.
        force: whether an existing file is replaced.

    Raises:
        ConfigError: the file exists, an answer is not possible, or queries and database do not fit.
        DataError: nothing in the files can be read as interactions and items.
    """
    if out.exists() and not force:
        raise ConfigError(f"{out}: already exists; choose another --out, or replace it with --force")
    with log_stage("init") as done:
        proposal = propose(paths, out.stem, Decisions(answers=answers, ask=ask), queries)
        count = len(proposal.questions) + len(proposal.checks)
        done(f"{count or 'no'} open question{'' if count == 1 else 's'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_text(out, proposal.text)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    return proposal
