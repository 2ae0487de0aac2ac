"""Settings of engines: where work runs that can be divided into tasks."""

from __future__ import annotations

from typing import Literal

from recsys.config.section import Count, Section


class EngineConfig(Section):
    """Where tasks run."""

    kind: Literal["local", "ray"] = "local"
    """local: processes on this machine. ray: the cluster at RECSYS_RAY_ADDRESS, or a new one on this machine."""
    workers: Count = 1
    """Number of processes of the local engine, each with the config's threads; 1: everything in the main process."""

    @property
    def here(self) -> bool:
        """Whether the main process does all the work."""
        return self.kind == "local" and self.workers == 1
