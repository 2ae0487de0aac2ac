"""Nights in processes of their own, which tests kill. They are forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from recsys.config import Config, EngineConfig, parse_config
from recsys.engines import Engine, make_engine
from recsys.pipelines.generate import generate
from recsys.pipelines.night_lists import Part
from recsys.pipelines.night_parts import generate_part

# What a night imports, some of it only when it is needed.
_IMPORTED = (
    "recsys.pipelines.generate",
    "accelerate",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
)


class NightProcess:
    """A running night, or a part of one."""

    def __init__(self, config: Config, home: Path, day: str, now: datetime, part: Part | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_IMPORTED))
        self._begun, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_make_night, args=(config.resolved(), home, day, now, part, sender))
        # The process that is forked keeps the environment in which it was started.
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true"):
            self._process.start()
        sender.close()

    def wait_for_shards(self) -> None:
        """Wait until it starts making shards."""
        assert self._begun.poll(60)
        self._begun.recv()

    def is_running(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> int:
        """Send SIGKILL and return the exit code: that of the night if it had already ended."""
        self._process.kill()
        return self.wait()

    def wait(self) -> int:
        """Return the exit code once it has ended."""
        self._process.join()
        self._begun.close()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _make_night(
    settings: dict[str, Any], home: Path, day: str, now: datetime, part: Part | None, begun: Connection
) -> None:
    config = parse_config(settings, "test")

    def report(settings: EngineConfig, threads: int) -> Engine:
        begun.send(None)
        return make_engine(settings, threads)

    with mock.patch("recsys.pipelines.night_lists.make_engine", report):
        if part:
            generate_part(config, home, day, part, now)
        else:
            generate(config, home, day, now)
