"""Every `recsys` command line in README and docs/ uses commands and options that exist."""

from pathlib import Path

import pytest
from command_lines import ROOT, CommandLine, find_command_lines, find_fault

# Each changelog entry is about its own version.
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "airflow_dags").glob("*.md")),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_and_options_exist(path: Path) -> None:
    faults = [f"{line}: {fault}" for line in find_command_lines(path) if (fault := find_fault(line))]
    assert not faults, "\n".join(faults)


def test_most_commands_are_shown_somewhere() -> None:
    shown = {line.words[0] for path in PAGES for line in find_command_lines(path)}
    assert {"init", "doctor", "ingest", "train", "promote", "generate", "monitor", "rollback", "report"} <= shown


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("generate", "--config", "x.yaml", "--run-date", "2025-01-01"), None),
        (("generat",), "no command"),
        (("generate", "--rundate", "2025-01-01"), "No such option"),
        (("generate", "--config"), "requires an argument"),
    ],
)
def test_faults_are_found(words: tuple[str, ...], fault: str | None) -> None:
    answer = find_fault(CommandLine("page.md", words, inline=False))
    assert (answer is None) if fault is None else (fault.lower() in (answer or "").lower())
