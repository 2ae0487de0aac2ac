import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniature import settings
from shell import THREADS, Answer, Call

from recsys.cli import app as cli
from recsys.progress import console


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raw_in_place: Path, tmp_path: Path
) -> Call:
    """Run a command as the shell would; the home is an empty one unless given."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in THREADS:
        # The command line sets them; monkeypatch restores them after the test.
        monkeypatch.setenv(name, os.environ.get(name, "1"))

    def run(*arguments: object, home: Path = tmp_path / "new home") -> Answer:
        monkeypatch.setenv("RECSYS_HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["recsys", *map(str, arguments)])
        level = logging.getLogger("recsys").level
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            logging.getLogger("recsys").setLevel(level)
            console.quiet = False
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Write the miniature's settings, with some sections replaced, and return the file."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "mini.yaml"
        path.write_text(yaml.safe_dump({**settings(), **sections}, allow_unicode=True), encoding="utf-8")
        return path

    return write


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on stdin."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
