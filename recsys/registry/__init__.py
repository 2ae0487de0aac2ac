"""The only package that imports mlflow: track, register, gate, promotion log, aliases, fetch."""

import os

# Before mlflow is imported: no telemetry, no progress bars.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
