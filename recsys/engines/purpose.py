"""What an engine is used for, so that its errors name the right setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Purpose:
    """What the tasks of an engine are part of.

    Attributes:
        section: of the config that names the engine.
        kept: what an error leaves for the next run.
        advice: what takes less memory.
    """

    section: str
    kept: str
    advice: str


NIGHT = Purpose(
    "generation.engine",
    "finished shards are kept",
    "fewer generation.engine.workers or a smaller generation.shard_size",
)
FITTING = Purpose(
    "collab.engine",
    "snapshot and checkpoints are kept",
    "fewer collab.engine.workers",
)
