"""A month of the promotion log: promotions, refusals, a rollback, a forced promotion, an alias moved by hand.

    python tests/benchmarks/promotion_month.py

Commands, log and registry are the real ones, in a temporary MLflow store; versions have no bundles, the gate answers as
told, and the clock, users and machines are those of the story. Prints what `recsys history` prints, what served on one
day, and what `doctor` and `history` say while the alias is moved.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_versions import CONFIG, NAME, FakeGate, decide, make_version

from recsys.cli.promotions import entry_lines, history_lines, served_lines
from recsys.errors import RecsysError
from recsys.pipelines.history import find_served, parse_time, read_history
from recsys.pipelines.promote import promote
from recsys.pipelines.rollback import rollback
from recsys.registry.champion import note_champion
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import set_champion

SENTENCES = {
    "better": "better: ndcg@10 0.1842 against 0.1781 on 5,012 users: +0.0061 [+0.0022, +0.0100]",
    "as good": "as good: ndcg@10 0.1779 against 0.1786 on 5,003 users: -0.0007 [-0.0031, +0.0017]",
    "worse": "worse: ndcg@10 0.1690 against 0.1786 on 4,987 users: -0.0096 [-0.0131, -0.0061]",
    "cannot tell": "cannot tell: ndcg@10 0.1801 against 0.1786 on 312 users: +0.0015 [-0.0101, +0.0131]",
}
LOG = "recsys.registry.promotion_log.log"


class Clock(datetime):
    """A clock that is set by the story."""

    current: ClassVar[datetime] = datetime(2025, 3, 2, 6, 40, tzinfo=UTC)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.current


class Month:
    """The commands of a month, each at its time and by its user."""

    def __init__(self, home: Path, gate: FakeGate) -> None:
        self.home, self.gate = home, gate
        self.store: Store = connect(home, CONFIG)

    def at(self, day: int, hour: int, minute: int = 0) -> None:
        Clock.current = datetime(2025, 3, day, hour, minute, tzinfo=UTC)

    def train_and_promote(self, answer: str, spent: float = 0.0, why: str | None = None) -> None:
        """The weekly job: another window, another challenger, the gate's answer."""
        start = Clock.current.date() - timedelta(days=8)
        window = {"test_start": str(start), "test_end": str(start + timedelta(days=7))}
        make_version(self.store, snapshot=f"{Clock.current:%m%d}c0ffee", **window)
        self.gate.decision = decide(answer, spent=spent, sentence=SENTENCES[answer])
        self.promote(why)

    def promote(self, why: str | None = None) -> None:
        with suppress(RecsysError):
            promote(CONFIG, self.home, why=why)


def tell(home: Path, gate: FakeGate) -> None:
    """Run the month and print its log."""
    month = Month(home, gate)
    with patch(f"{LOG}.find_host", lambda: "training-1"), patch(f"{LOG}.find_user", lambda: "airflow"):
        month.at(2, 6, 40)
        month.train_and_promote("cannot tell")
        month.at(3, 9, 12)
        month.train_and_promote("better")
        month.at(9, 6, 44)
        month.train_and_promote("better")
        month.at(16, 6, 41)
        month.train_and_promote("worse")
    with patch(f"{LOG}.find_host", lambda: "laptop-7"), patch(f"{LOG}.find_user", lambda: "anna"):
        month.at(17, 15, 3)
        month.train_and_promote("cannot tell", why="the catalogue doubled on Saturday, the old model knows half of it")
        month.at(18, 3, 11)
        rollback(CONFIG, home)
    with patch(f"{LOG}.find_host", lambda: "training-1"), patch(f"{LOG}.find_user", lambda: "airflow"):
        month.at(18, 6, 40)
        month.promote()
        month.at(23, 6, 42)
        month.train_and_promote("as good", spent=0.004)
    month.at(25, 11, 30)
    set_champion(month.store, NAME, "2")
    print("--- 25 March, after somebody moved the alias")
    print("\n".join(history_lines(read_history(CONFIG, home))[:4]))
    with patch(f"{LOG}.find_host", lambda: "night-1"), patch(f"{LOG}.find_user", lambda: "airflow"):
        month.at(26, 2, 0)
        note_champion(month.store, home, NAME)
    with patch(f"{LOG}.find_host", lambda: "training-1"), patch(f"{LOG}.find_user", lambda: "airflow"):
        month.at(30, 6, 45)
        month.train_and_promote("better")
    history = read_history(CONFIG, home)
    print("\n--- recsys history")
    print("\n".join(history_lines(history, full=True)))
    print("\n--- recsys history --on 2025-03-18")
    print("\n".join(served_lines("2025-03-18", find_served(history.entries, *parse_time("2025-03-18")))))
    print("\n--- the forced promotion")
    print("\n".join(entry_lines(next(entry for entry in history.entries if entry.action == "force"))))


def main() -> None:
    """Tell the story in a temporary home."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, patch(f"{LOG}.datetime", Clock):
        tell(Path(folder), FakeGate.install(pytest.MonkeyPatch()))


if __name__ == "__main__":
    main()
