"""Text-based recommender: encoder, collaborative filtering and a learned ranking, run every night.

This package is the whole public surface: README, docs and notebooks import from here and from nowhere else. Functions
take a config (a `Config` or the path of its YAML file) and, optionally, the home folder. `docs/reference/api.md` shows
each name in use.

Names are loaded on first use, so `import recsys` costs milliseconds and does not import torch, MLflow or LightGBM.
"""

from importlib import import_module
from os import environ as _environ
from typing import TYPE_CHECKING

__all__ = [
    "ArtifactError",
    "Bundle",
    "CheckpointError",
    "Comparison",
    "Config",
    "ConfigError",
    "DataError",
    "Encoder",
    "EngineError",
    "Generated",
    "Ingested",
    "Promotion",
    "RecsysError",
    "Refused",
    "RegistryError",
    "Run",
    "Snapshot",
    "analysis",
    "compare",
    "evaluate",
    "generate",
    "generate_range",
    "ingest",
    "load_config",
    "open_bundle",
    "open_pretrained",
    "open_run",
    "open_snapshot",
    "plots",
    "promote",
    "read_lists",
    "read_rejected",
    "recommend",
    "rollback",
    "train",
]

if TYPE_CHECKING:
    __version__: str
    from recsys import analysis as analysis
    from recsys import plots as plots
    from recsys.api import (
        Promotion,
        compare,
        evaluate,
        generate,
        generate_range,
        ingest,
        load_config,
        open_bundle,
        open_pretrained,
        open_run,
        open_snapshot,
        promote,
        read_lists,
        read_rejected,
        recommend,
        rollback,
        train,
    )
    from recsys.artifacts.runs import Run
    from recsys.artifacts.snapshots import Snapshot
    from recsys.config import Config
    from recsys.dataset.ingestion import Ingested
    from recsys.errors import (
        ArtifactError,
        CheckpointError,
        ConfigError,
        DataError,
        EngineError,
        RecsysError,
        Refused,
        RegistryError,
    )
    from recsys.pipelines.compare import Comparison
    from recsys.pipelines.generate import Generated
    from recsys.serving.bundle import Bundle
    from recsys.text.encoder import Encoder
else:
    _NAMESPACES = ("analysis", "plots")
    # Where names are defined that are neither functions of `recsys.api` nor errors.
    _MODULES = {
        "Bundle": "recsys.serving.bundle",
        "Comparison": "recsys.pipelines.compare",
        "Config": "recsys.config",
        "Encoder": "recsys.text.encoder",
        "Generated": "recsys.pipelines.generate",
        "Ingested": "recsys.dataset.ingestion",
        "Refused": "recsys.errors",
        "Run": "recsys.artifacts.runs",
        "Snapshot": "recsys.artifacts.snapshots",
    }

    # Hidden from mypy, which would otherwise accept any name.
    def __getattr__(name: str) -> object:
        """Load a public name on first use; see PEP 562."""
        if name == "__version__":
            return import_module("recsys.extras").find_version()
        if name not in __all__:
            raise AttributeError(f"module 'recsys' has no attribute '{name}'; its public names are in recsys.__all__")
        if name in _NAMESPACES:
            return import_module(f"recsys.{name}")
        module = _MODULES.get(name, "recsys.errors" if name.endswith("Error") else "recsys.api")
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """List the public names."""
        return sorted({*globals(), *__all__})


# Threads of OpenMP (torch, LightGBM, implicit) that wait for others spin for a while before they sleep. If another
# program keeps a processor busy, they spin until it lets the last thread run, and a training takes twice as long. With
# few rounds it is as fast on an idle machine. GNU's library reads this when the first of them is imported.
if "OMP_WAIT_POLICY" not in _environ:
    _environ.setdefault("GOMP_SPINCOUNT", "1000")
