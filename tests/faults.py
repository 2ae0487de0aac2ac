"""What tests break things with: processes that are killed, and a record of what was pushed to the disk."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


def put(**files: str) -> Callable[[Path], None]:
    """Return a function that fills a folder with text files."""

    def fill(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    return fill


def start(code: str, *arguments: Path | str) -> subprocess.Popen[str]:
    """Run code in another process, which prints a word when it is where the test wants it."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def await_word(process: subprocess.Popen[str], word: str) -> None:
    """Wait until the process prints the word."""
    assert process.stdout is not None
    assert process.stdout.readline() == word + "\n"


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the process as a machine that runs out of memory does."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


class DiskLog:
    """What was synced and renamed, in order: ("sync", path) and ("rename", target)."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path]] = []
        fsync, replace, rename = os.fsync, Path.replace, Path.rename

        def log_sync(descriptor: int) -> None:
            self.events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
            fsync(descriptor)

        def log_replace(path: Path, target: Path) -> Path:
            self.events.append(("rename", Path(target)))
            return replace(path, target)

        def log_rename(path: Path, target: Path) -> Path:
            self.events.append(("rename", Path(target)))
            return rename(path, target)

        patch.setattr(os, "fsync", log_sync)
        patch.setattr(Path, "replace", log_replace)
        patch.setattr(Path, "rename", log_rename)

    def check_file(self, path: Path) -> None:
        """Check that a file was synced before it had its name, and its folder afterwards."""
        renamed = self.events.index(("rename", path))
        staging = [synced for kind, synced in self.events[:renamed] if kind == "sync"]
        assert any(synced.parent == path.parent and synced.name.startswith(f".{path.name}.") for synced in staging)
        assert ("sync", path.parent) in self.events[renamed:]
