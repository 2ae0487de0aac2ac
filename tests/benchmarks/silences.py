"""What a command shows on a terminal while it works: silences, spinners without an estimate, and bars with one.

Runs a command on a pseudo-terminal of 80 columns and prints a row per stretch of time with the same kind of display:
`silent` (nothing is written), `spinner` (the time so far), `bar` (the time left), `log` (lines in quick succession).

    python tests/benchmarks/silences.py --over 2 -- recsys report --config configs/demo.yaml
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]+")
# Live displays refresh several times a second; a shorter gap than this is not a silence.
_REFRESH = 0.5


@dataclass(frozen=True)
class Stretch:
    """A stretch of time with one kind of display.

    Attributes:
        start: seconds since the command began.
        seconds: how long it lasted.
        kind: `silent`, `spinner`, `bar` or `log`.
        text: the last visible text in it, or before a silence.
    """

    start: float
    seconds: float
    kind: str
    text: str


def classify(text: str) -> str:
    """Return the kind of display that visible text belongs to."""
    if re.search(r"\bleft\b", text) and re.search(r"\d+:\d\d:\d\d|-:--:--", text):
        return "bar"
    return "spinner" if "…" in text and re.search(r"\d+:\d\d:\d\d", text) else "log"


def merge(chunks: Sequence[tuple[float, str]], end: float) -> Iterator[Stretch]:
    """Yield the stretches of timed output until the command's end."""
    start, kind, text, last = 0.0, "log", "(start)", 0.0
    for moment, raw in (*chunks, (end, "")):
        if moment - last > _REFRESH:
            if last > start:
                yield Stretch(start, last - start, kind, text)
            yield Stretch(last, moment - last, "silent", text)
            start = moment
        shown = " ".join(part for part in _ESCAPES.split(raw) if part.strip())
        found = classify(shown) if shown else kind
        if found != kind and moment > start:
            yield Stretch(start, moment - start, kind, text)
            start = moment
        kind, last = found, moment
        text = shown or text
    if end > start:
        yield Stretch(start, end - start, kind, text)


def record(command: Sequence[str]) -> tuple[list[tuple[float, str]], float, int]:
    """Run a command on a pseudo-terminal; return its output by time, its seconds and its exit code."""
    begun = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(COLUMNS="80", LINES="40", TERM="xterm-256color")
        os.execvp(command[0], list(command))
    chunks: list[tuple[float, str]] = []
    while True:
        select.select([terminal], [], [])
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the other side is closed.
            break
        if not data:
            break
        chunks.append((time.monotonic() - begun, data.decode("utf-8", "replace")))
    _, status = os.waitpid(child, 0)
    return chunks, time.monotonic() - begun, os.waitstatus_to_exitcode(status)


def main() -> None:
    """Run the command and print the stretches that last long enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--over", type=float, default=2.0, metavar="SECONDS", help="shortest stretch to print")
    parser.add_argument("--all", action="store_true", help="print bars and logs too, not only silences and spinners")
    parser.add_argument("--raw", metavar="FILE", help="write the raw output to this file")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    chunks, seconds, code = record(arguments.command)
    if arguments.raw:
        Path(arguments.raw).write_text("".join(text for _, text in chunks), encoding="utf-8")
    sys.stdout.write(f"exit code {code} after {seconds:.1f} s\n")
    for part in merge(chunks, seconds):
        if part.seconds >= arguments.over and (arguments.all or part.kind in ("silent", "spinner")):
            sys.stdout.write(f"{part.start:7.1f} s  {part.seconds:6.1f} s  {part.kind:<8}{part.text[:100]}\n")


if __name__ == "__main__":
    main()
