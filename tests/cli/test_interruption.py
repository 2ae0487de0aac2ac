"""Ctrl-C and SIGTERM in the middle of real commands: one line, its exit code, and a command that can be repeated."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from miniature import LAST_DAY, RUN_DATE, Trained
from shell import Call

# Stops every command where it takes its first lock, when everything is imported.
_STOP_AT_LOCK = """
import sys, time
from recsys.storage import locks
def stop(*_):
    print("here", flush=True)
    time.sleep(60)
locks.lock = stop
from recsys.cli.app import main
main()
"""


def start(code: list[str], *arguments: object, home: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "RECSYS_HOME": str(home)}
    command = [sys.executable, *code, *map(str, arguments)]
    pipe = subprocess.PIPE
    # Tests that a shell runs in the background ignore Ctrl-C, and so would this process.
    with_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=with_interrupts)


def stop(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send a signal and return the exit code and the last line on stderr, which has no traceback."""
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, err.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "number", "line"),
    [
        ("ingest", signal.SIGTERM, "terminated: no snapshot was written; the current snapshot is unchanged; run the"),
        ("train", signal.SIGINT, "interrupted: nothing was registered; fine-tuning continues from its last checkpoint"),
        ("monitor", signal.SIGTERM, "terminated: the night was not judged; run the same command again"),
        ("run", signal.SIGINT, f"interrupted: finished steps and shards are kept; .*; readers follow {RUN_DATE}"),
    ],
)
def test_a_long_command_says_what_is_kept(
    command: str, number: int, line: str, trained: Trained, raw_in_place: Path, write_config: Callable[..., Path]
) -> None:
    process = start(["-c", _STOP_AT_LOCK], command, "-c", write_config(), home=trained.home)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    code, last = stop(process, number)
    assert code == (130 if number == signal.SIGINT else 143)
    assert re.match(line, last), last


def test_a_night_that_is_terminated_keeps_its_shards_and_continues(
    trained_copy: Path, raw_in_place: Path, write_config: Callable[..., Path], call: Call
) -> None:
    config = write_config(generation={"shard_size": 1})
    night = ("generate", "-c", config, "--run-date", LAST_DAY)
    process = start(["-m", "recsys.cli"], *night, home=trained_copy)
    shards = trained_copy / "recommendations" / f".run_date={LAST_DAY}.shards"
    for _ in range(6000):
        if len(list(shards.glob("part-*.json"))) > 2 or process.poll() is not None:
            break
        time.sleep(0.01)
    code, last = stop(process, signal.SIGTERM)
    expected = f"finished shards are kept; run the same command again to continue; readers follow {RUN_DATE}"
    assert (code, last) == (143, f"terminated: {expected}")
    assert len(list(shards.glob("part-*.json"))) > 2
    kept = (shards / "part-00000.parquet").stat().st_ino
    assert call(*night, home=trained_copy).code == 0
    folder = trained_copy / "recommendations" / f"run_date={LAST_DAY}"
    assert (folder / "part-00000.parquet").stat().st_ino == kept
    assert (trained_copy / "recommendations" / "CURRENT").read_text() == f"run_date={LAST_DAY}\n"
