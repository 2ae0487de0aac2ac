"""Reads the blocks of README and docs/, and runs the commands of a page in their order, in one shell.

Commands are in blocks that start with ```bash, or with ```console, where they follow the prompt `$ ` and other lines
are output. In pages about deployment, ```bash setup only sets variables that differ from machine to machine, for which
the test gives other values; and ```bash server is a service, which runs until the page ends. A block below
`<!-- not executed: REASON -->` is left out.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Any fenced block; in lists it is indented.
BLOCK = re.compile(
    r"(?:^<!-- not executed: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[^\s`]*)(?: +(?P<kind>[^\n]*))?\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_SHELL = {"bash", "console"}
_PROMPT = re.compile(r"^\$ (?P<command>[^\n]*(?:\\\n[^\n]*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        language: after the backquotes, such as bash, python or console; empty without one.
        kind: setup, server, or empty.
        text: as on the page, without the indent.
        reason: why it is not executed; empty: it is.
    """

    language: str
    kind: str
    text: str
    reason: str

    @property
    def commands(self) -> str:
        """The commands of a shell block, without prompts and output."""
        if self.language == "console":
            return "".join(f"{found['command']}\n" for found in _PROMPT.finditer(self.text))
        return self.text

    @property
    def names(self) -> set[str]:
        """The variables that a block sets."""
        return set(re.findall(r"(?:^|(?<= ))([A-Z_]+)=", self.commands, re.MULTILINE))


def read_blocks(page: str, languages: set[str] = _SHELL) -> list[Block]:
    """Return the blocks of a page with some languages, in order; the page's path starts at the project's folder."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(found["language"], found["kind"] or "", textwrap.dedent(found["text"]), found["reason"] or "")
        for found in BLOCK.finditer(text)
        if found["language"] in languages
    ]


def split_commands(block: Block) -> list[str]:
    """Return the commands of a shell block one by one; a backslash at the end of a line continues it."""
    lines = re.sub(r"\\\n", lambda found: "\0", block.commands).splitlines()
    return [line.replace("\0", "\\\n") for line in lines if line.strip()]


def write_script(blocks: list[Block], values: Mapping[str, str]) -> str:
    """Return the executed blocks as one script; every value that a setup block sets must be given."""
    parts, given = ["set -euo pipefail"], set[str]()
    for number, block in enumerate(blocks):
        if block.reason:
            continue
        if block.kind == "setup":
            missing = block.names - values.keys()
            assert not missing, f"no values for {sorted(missing)}"
            given |= block.names
        elif block.kind == "server":
            # Started again if it fails, as systemd and schedulers do: on a busy machine Ray gives up after 30 seconds.
            attempts = f"for attempt in 1 2 3; do (\n{block.commands}\n) && break; sleep 2; done"
            parts.append(f"({attempts}) > server-{number}.log 2>&1 &")
        else:
            parts.append(f"echo '== block {number}' >&2\n{block.commands}")
    assert given == values.keys(), f"the page sets no {sorted(values.keys() - given)}"
    return "\n".join(parts)


def run_page(page: str, values: Mapping[str, str], folder: Path, seconds: float = 800) -> str:
    """Run a page in a folder that looks like a checkout, and return what it printed.

    Raises:
        AssertionError: a command failed; the message has the output and the logs of the services.
    """
    for name in ("schedules", "airflow_dags"):
        (folder / name).symlink_to(ROOT / name)
    return run_script(page, write_script(read_blocks(page), values), values, folder, seconds)


def run_script(page: str, script: str, values: Mapping[str, str], folder: Path, seconds: float) -> str:
    """Run the script of a page in a folder, with values in the environment, and return what it printed.

    Raises:
        AssertionError: a command failed; the message has the output and the logs of the services.
    """
    binaries = str(Path(sys.executable).parent)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "RECSYS", "MLFLOW"))},
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep),
        "PYTHONWARNINGS": "ignore",
        **values,
    }
    output, errors = folder / "stdout.log", folder / "stderr.log"
    with output.open("wb") as out, errors.open("wb") as err:
        # What the page starts is a session of its own, which ends with the page.
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True
        )
    try:
        process.wait(timeout=seconds)
    finally:
        end_session(process.pid)
        process.wait()
    logs = "\n".join(f"== {log.name}\n{log.read_text('utf-8')[-3000:]}" for log in sorted(folder.glob("*.log")))
    assert process.returncode == 0, f"{page}: exit code {process.returncode}\n{logs}"
    return output.read_text("utf-8")


def end_session(session: int) -> None:
    """End every process of a session, whatever its group: services leave their group, but not their session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in list_processes(session):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        end = time.monotonic() + 5
        while list_processes(session) and time.monotonic() < end:
            time.sleep(0.05)


def list_processes(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # After the name, which may hold anything: state, parent, group, session.
            state, _, _, number = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(folder.name))
    return found
