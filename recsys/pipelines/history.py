"""`recsys history`: what served, since when, and why. Read-only, but for the home's copy of the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from recsys.config import Config
from recsys.errors import DataError, RegistryError
from recsys.registry.champion import Serving, compare_with_alias
from recsys.registry.gate.decision import Decision, parse_decision
from recsys.registry.promotion_log import Canary, Entry, PromotionLog
from recsys.registry.promotion_log.chain import changes_champion
from recsys.registry.tracking import connect


@dataclass(frozen=True)
class History:
    """The promotion log of a model, and what serves now.

    Attributes:
        model: name of the registered model.
        store: address of the MLflow store.
        entries: oldest first.
        serving: what the alias names, and whether the log agrees.
        anchor: version of the anchor.
        spent: loss budget used since the anchor.
        canary: the running one.
    """

    model: str
    store: str
    entries: tuple[Entry, ...]
    serving: Serving
    anchor: str | None
    spent: float
    canary: Canary | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "model": self.model,
            "store": self.store,
            "champion": self.serving.number,
            "state": self.serving.state,
            "problem": self.serving.describe(),
            "anchor": self.anchor,
            "spent": self.spent,
            "canary": asdict(self.canary) if self.canary else None,
            "entries": [entry.to_dict() for entry in self.entries],
        }


@dataclass(frozen=True)
class Served:
    """A version that served for a part of the asked time.

    Attributes:
        version: its number; None: none served.
        start: since when; None: since before the log begins.
        end: until when; None: it serves still.
        entry: number of the entry that started it; None: before the first.
    """

    version: str | None
    start: datetime | None
    end: datetime | None
    entry: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        start, end = (time.isoformat() if time else None for time in (self.start, self.end))
        return {"version": self.version, "start": start, "end": end, "entry": self.entry}


def read_history(config: Config, home: Path) -> History:
    """Read the log of the config's model and compare it with the registry.

    Raises:
        RegistryError: an entry is missing or was changed, and the message names it; or the store does not answer.
    """
    store = connect(home, config)
    log = PromotionLog.open(store, home, config.model_name)
    serving = compare_with_alias(store, log)
    return History(log.model, store.place, log.entries, serving, log.anchor, log.spent, log.canary)


def read_decision(config: Config, home: Path, number: int) -> tuple[Entry, Decision | None]:
    """Return an entry and its decision table; None where it has none.

    Raises:
        DataError: the log has no such entry.
        RegistryError: the table is missing, was changed, or was written by a recsys whose tables differ.
    """
    log = PromotionLog.open(connect(home, config), home, config.model_name)
    if not 1 <= number <= len(log.entries):
        raise DataError(f"{log.place}: no entry {number}; it has entries 1 to {len(log.entries)}")
    entry = log.entries[number - 1]
    text = log.read_decision(entry)
    if text is None:
        return entry, None
    try:
        return entry, parse_decision(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise RegistryError(
            f"{log.place}: the decision table of entry {number} was written by another version of recsys "
            f"({entry.code_version}) "
            f"and cannot be shown ({error})"
        ) from error


def parse_time(text: str) -> tuple[datetime, datetime]:
    """Return the first and the last instant of a day, or an instant twice; without a zone it is UTC.

    Raises:
        DataError: it is neither YYYY-MM-DD nor an ISO time.
    """
    try:
        if len(text) == len("2025-01-31"):
            start = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return start, start + timedelta(days=1) - timedelta(microseconds=1)
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"time '{text}': expected YYYY-MM-DD or an ISO time such as 2025-01-31T03:00") from error
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC), instant.astimezone(UTC)


def find_served(entries: Sequence[Entry], first: datetime, last: datetime) -> list[Served]:
    """Return what served between two instants, both included, oldest first.

    Lines that were taken over from an older log carry no time of their own: what served before they were taken over is
    unknown.
    """
    changes = [entry for entry in entries if changes_champion(entry)]
    untimed = [entry.number for entry in changes if entry.action == "imported"]
    known_from = max(untimed, default=0)
    timed = [entry for entry in changes if entry.number >= known_from]
    before = Served(None, None, timed[0].time if timed else None, None)
    spans = [before] + [
        Served(entry.to_version, entry.time, later.time if later else None, entry.number)
        for entry, later in zip(timed, [*timed[1:], None], strict=False)
    ]
    return [
        span for span in spans if (span.start is None or span.start <= last) and (span.end is None or span.end > first)
    ]
