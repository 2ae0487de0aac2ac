"""Commands called as a shell calls them: what a call returns, and which arguments each command needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys.cli.commands import ENTRIES

COMMANDS = [entry.name for entry in ENTRIES]
WITHOUT_CONFIG = ("demo-data", "init", "restore")
# Arguments that a command needs besides its config.
REQUIRED = {
    "forget": ("--user", "u1"),
    "tune": ("--space", Path(__file__).parents[2] / "configs" / "spaces" / "demo.yaml"),
    "search": ("a crew lost in space",),
    "export": ("--out", "encoder"),
    "backup": ("backup",),
    "pseudonyms": ("--out", "users.csv"),
    "show": ("u0000001",),
}
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def expect(answer: Answer, *parts: str, code: int = 2) -> None:
    """Check that an error is one message on stderr with all parts, without a traceback, and nothing on stdout."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.count("error: " if code == 2 else "refused: ") == 1
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err, answer.err
