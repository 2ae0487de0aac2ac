"""The `recsys` command as a process of the worker. This file defines no DAG.

The worker's environment decides which installation runs, so Airflow itself needs no machine-learning package:

- `RECSYS_COMMAND`: the command line, default `recsys` from the PATH. It is split into words as a shell does it (quotes
  group, nothing is expanded), and no shell is involved, so it may also start a container:
  `docker run --rm -v /srv/recsys:/srv/recsys -e RECSYS_HOME=/srv/recsys/home registry/recsys:1.4 recsys`;
- `RECSYS_CONFIG`: the configuration, as the command sees it (default: `configs/demo.yaml` of this checkout);
- `RECSYS_HOME`, `RECSYS_DATA`, `MLFLOW_TRACKING_URI`: as for the command line; relative paths start from this checkout.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk.exceptions import AirflowFailException

CHECKOUT = Path(__file__).resolve().parents[1]
_REASON_LENGTH = 1000
_SECONDS_TO_END = 3
_PR_SET_PDEATHSIG = 1
# Linux has it.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass(frozen=True)
class Answer:
    """What a command left.

    Attributes:
        code: exit code; 128 + N after signal N, as shells have it.
        facts: its JSON object; empty without one.
        reason: the last line of stderr.
    """

    code: int
    facts: Mapping[str, Any]
    reason: str


class RecsysProcess:
    """A `recsys` command that runs, is logged, and can be ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, stage: str, arguments: Sequence[str], log: logging.Logger) -> Answer:
        """Run `RECSYS_COMMAND STAGE --config RECSYS_CONFIG ARGUMENTS` without a shell, and log what it prints.

        Raises:
            AirflowFailException: the command cannot be started; another try would not help.
        """
        config = os.environ.get("RECSYS_CONFIG") or "configs/demo.yaml"
        words = [*_split_command(), stage, "--config", config, *arguments]
        log.info("command: %s", shlex.join(words))
        self._process = process = _start(words)
        output: list[str] = []
        reader = Thread(target=lambda: output.extend(process.stdout or ()), daemon=True)
        reader.start()
        last = ""
        for line in process.stderr or ():
            log.info("%s", line.rstrip())
            last = line.strip() or last
        code = process.wait()
        reader.join()
        for line in output:
            log.info("%s", line.rstrip())
        return Answer(code if code >= 0 else 128 - code, _parse("".join(output)), last[:_REASON_LENGTH])

    def end(self) -> None:
        """End the command and what it started."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def find_mlflow() -> str | None:
    """Return the address of the MLflow server without its credentials; None for a store that is no server."""
    parts = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if parts.scheme not in ("http", "https"):
        return None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _split_command() -> list[str]:
    text = os.environ.get("RECSYS_COMMAND") or "recsys"
    try:
        return shlex.split(text)
    except ValueError as error:
        raise AirflowFailException(f"RECSYS_COMMAND '{text}': {error}; close the quotes") from error


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            words,
            cwd=CHECKOUT,
            # The password of Airflow's own database is none of the command's business.
            env={name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_end_with_parent if _PRCTL else None,
        )
    except OSError as error:
        raise AirflowFailException(
            f"RECSYS_COMMAND: '{words[0]}' cannot be started ({error.strerror}); give the path of an executable"
        ) from error


def _end_with_parent() -> None:
    """Let the command end with the task's process, even a killed one: it must not keep a lock from the next try."""
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _parse(output: str) -> dict[str, Any]:
    try:
        facts = json.loads(output)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
