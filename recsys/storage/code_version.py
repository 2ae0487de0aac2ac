"""Which recsys is running: its version and, where it is run from a checkout, the git commit.

The version comes from the installation, which takes it from the git tags (setuptools-scm). An editable installation
keeps the version of the day it was made, so the commit is what identifies the code of a checkout.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from recsys import __version__

# Key of the facts of a folder, a run and a version: the code version that wrote it.
WRITTEN_BY = "recsys"
_GIT_SECONDS = 5


@cache
def find_code_version() -> str:
    """Return the package's version, and the git commit where the package is run from a checkout."""
    commit = _ask_checkout("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return f"{__version__}+{commit}" if commit else __version__


@cache
def find_commit() -> str:
    """Return the whole hash of the git commit that the package is run from; empty outside a checkout."""
    return _ask_checkout("rev-parse", "HEAD")


def _ask_checkout(*arguments: str) -> str:
    """Return git's answer about the package's checkout; empty where the package is not part of one."""
    package = Path(__file__).parents[1]
    return _ask_git(package, "ls-files", "--error-unmatch", "errors.py") and _ask_git(package, *arguments)


def _ask_git(folder: Path, *arguments: str) -> str:
    """Return git's answer; empty where there is no git, no checkout, or no answer in time."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
