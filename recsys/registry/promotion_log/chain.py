"""What the entries of a promotion log say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.registry.promotion_log.entry import Entry

_SERVING_ACTIONS = frozenset({"promote", "force", "rollback", "hand_made", "imported"})
_JUDGED_ACTIONS = frozenset({"promote", "refuse", "force"})


@dataclass(frozen=True)
class Canary:
    """A running canary.

    Attributes:
        version: that a share of the users gets.
        share: of the users, 0 to 1.
        key: of the hash that selects them; another key selects other users.
    """

    version: str
    share: float
    key: str


def changes_champion(entry: Entry) -> bool:
    """Return whether `to_version` serves from this entry on.

    Lines that were taken over late, from a second home on the same store, are history only.
    """
    return entry.action in _SERVING_ACTIONS and not entry.details.get("late", False)


def find_break(entries: Sequence[Entry]) -> tuple[int, str] | None:
    """Return the number of the first entry that breaks the chain, and why; None where the chain is whole."""
    previous_hash = ""
    for number, entry in enumerate(entries, start=1):
        if entry.number != number:
            return number, f"is missing; the next entry has number {entry.number}"
        if entry.hash != entry.compute_hash():
            return number, "was changed: its hash does not match its content"
        if entry.previous_hash != previous_hash:
            return number, "does not follow the entry before it, which was replaced"
        previous_hash = entry.hash
    return None


def find_serving_entry(entries: Sequence[Entry], until: datetime | None = None) -> Entry | None:
    """Return the newest entry that changed what serves.

    Args:
        entries: oldest first.
        until: only entries up to and including this instant.
    """
    known = (entry for entry in reversed(entries) if changes_champion(entry))
    return next((entry for entry in known if until is None or entry.time <= until), None)


def find_champion(entries: Sequence[Entry]) -> str | None:
    """Return the version that ought to serve.

    An alias that was deleted by hand leaves no champion behind, but the log still knows the last one.
    """
    known = (entry for entry in reversed(entries) if changes_champion(entry))
    return next((entry.to_version for entry in known if entry.to_version is not None), None)


def find_budget(entries: Sequence[Entry], version: str) -> tuple[str | None, float]:
    """Return the anchor and the spent budget as they were when a version began to serve.

    A version that the log does not know keeps the present ones.
    """
    for entry in reversed(entries):
        if entry.action in ("promote", "force") and entry.to_version == version:
            return entry.anchor, entry.spent
    return (entries[-1].anchor, entries[-1].spent) if entries else (None, 0.0)


def find_previous_champion(entries: Sequence[Entry], champion: str) -> str | None:
    """Return the version that was champion before the champion was promoted, or moved to by hand."""
    for entry in reversed(entries):
        promoted = entry.action in ("promote", "force", "hand_made") or (
            entry.action == "imported" and entry.details.get("action") != "rollback"
        )
        if promoted and entry.to_version == champion and entry.from_version not in (None, champion):
            return entry.from_version
    return None


def find_rollback(entries: Sequence[Entry], version: str) -> Entry | None:
    """Return the entry that rolled a version back, unless it served again since."""
    for entry in reversed(entries):
        if changes_champion(entry) and entry.to_version == version:
            return None
        if entry.action == "rollback" and entry.from_version == version:
            return entry
    return None


def find_canary(entries: Sequence[Entry]) -> Canary | None:
    """Return the running canary.

    It is started by the last `canary` entry and ended by `canary_stop`, or when its version becomes the champion or is
    rolled back.
    """
    canary: Canary | None = None
    for entry in entries:
        ended = changes_champion(entry) and canary and canary.version in (entry.from_version, entry.to_version)
        if entry.action == "canary" and entry.to_version is not None:
            canary = Canary(entry.to_version, float(entry.details["share"]), str(entry.details["key"]))
        elif entry.action == "canary_stop" or ended:
            canary = None
    return canary


def count_tries(entries: Sequence[Entry], window: str, besides: str | None = None) -> int:
    """Return how many versions, without one, the gate has judged on a test window; each counts once."""
    judged = (entry for entry in entries if entry.action in _JUDGED_ACTIONS and entry.window == window)
    return len({entry.to_version for entry in judged} - {besides})
