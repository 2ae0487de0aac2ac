"""The only package that imports mlflow: track, register, gate, promotion log, aliases, fetch."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before mlflow is imported: no telemetry, no progress bars.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At the end of a run it prints addresses to stdout, with the password of MLFLOW_TRACKING_URI.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def _ensure_home() -> None:
    """Give a user without a home, as in a container, a private and empty one until the process ends.

    mlflow asks for the home when it is imported, and reads credentials from it; so it must not be a folder that others
    can write to, such as /tmp.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = folder = tempfile.mkdtemp(prefix="recsys-no-home-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


_ensure_home()
