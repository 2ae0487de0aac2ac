"""What serves: the alias `champion`, and the promotion log that it follows.

A change is claimed in the log first. Then the aliases follow, and last the entry is confirmed. A process that dies in
between leaves an unfinished change, which the next command that changes the champion finishes. Any other difference
between alias and log was made by hand; it is recorded, and what serves is what the alias names.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recsys.errors import RegistryError
from recsys.registry.promotion_log.entry import Entry, describe_change
from recsys.registry.promotion_log.log import PromotionLog
from recsys.registry.tracking import Store
from recsys.registry.versions import (
    ANCHOR,
    CHALLENGER,
    CHAMPION,
    Version,
    find_number,
    find_version,
    mark_version,
    remove_alias,
    set_alias,
)

logger = logging.getLogger(__name__)

State = Literal["none", "agreed", "unconfirmed", "unfinished", "moved", "deleted"]
_CHANGES = ("promote", "force", "rollback")


@dataclass(frozen=True)
class Serving:
    """What serves, and whether the log agrees.

    Attributes:
        state: `none`: nothing was ever promoted. `agreed`: alias and log name the same version. `unconfirmed`: they do,
            but the command that made the change died before its end. `unfinished`: it died before it moved the alias.
            `moved`: the alias was set by hand. `deleted`: the alias was deleted by hand.
        version: that the alias names; None: there is no alias.
        entry: the newest entry of the log that changed what serves.
        champion: the version that ought to serve, by the log.
    """

    state: State
    version: Version | None
    entry: Entry | None
    champion: str | None

    @property
    def number(self) -> str | None:
        """Number of the version that the alias names."""
        return self.version.number if self.version else None

    def describe(self) -> str | None:
        """Return what is wrong and what to do; None where nothing is."""
        entry = self.entry
        logged = f"version {self.champion} (entry {entry.number})" if entry and self.champion else "no champion"
        if self.state == "unfinished" and entry:
            what, command = ("rollback to", "rollback") if entry.action == "rollback" else ("promotion of", "promote")
            return (
                f"unfinished {what} version {entry.to_version} (entry {entry.number}, {entry.author}): "
                f"{_name(self.number)} still serves; 'recsys {command}' finishes it"
            )
        if self.state == "unconfirmed" and entry and entry.action in _CHANGES:
            return (
                f"version {entry.to_version} serves, but the command that promoted it was interrupted (entry "
                f"{entry.number}, {entry.author}); the next promotion or rollback completes it"
            )
        if self.state == "moved":
            return (
                f"alias 'champion' was moved by hand: {_name(self.number)} serves, the log has {logged}; the next "
                "promotion, rollback or nightly batch records it"
            )
        if self.state == "deleted":
            return (
                f"alias 'champion' was deleted by hand, the log has {logged}; set it again with "
                f"'recsys rollback --to {self.champion}'"
            )
        return None


def compare_with_alias(store: Store, log: PromotionLog) -> Serving:
    """Compare the alias `champion` with the log, which is read again where they differ. Read-only.

    Raises:
        RegistryError: the registry does not answer, or the log is damaged.
    """
    while True:
        serving = _compare(log, find_version(store, log.model, CHAMPION))
        if serving.state not in ("moved", "deleted"):
            return serving
        # Another process may have changed both after the log was read.
        seen = (log.head, log.confirmed)
        log.refresh()
        if (log.head, log.confirmed) == seen:
            return serving


def settle(store: Store, log: PromotionLog, *, allow_deleted: bool = False) -> tuple[Serving, Entry | None]:
    """Bring alias and log together before a command changes the champion.

    An unfinished change is finished; a change that was made by hand is recorded.

    Args:
        store: from `connect`.
        log: of the model.
        allow_deleted: the command sets the alias, so it may be missing.

    Returns:
        What serves now, and the change that was finished, if there was one.

    Raises:
        RegistryError: the log knows a champion and the alias was deleted; or the registry does not answer.
    """
    serving = compare_with_alias(store, log)
    finished = None
    if serving.state in ("unfinished", "unconfirmed"):
        if serving.state == "unfinished" and _was_deleted(store, log, serving):
            _record_by_hand(log, serving)
        else:
            finished = serving.entry
            follow(store, log)
            if finished and finished.action in _CHANGES:
                logger.warning("%s: completed the interrupted change: %s", log.place, describe_change(finished))
        _confirm_head(log)
    elif serving.state == "moved":
        _record_by_hand(log, serving)
        _confirm_head(log)
    elif serving.state == "deleted":
        # Recorded once.
        if serving.entry is None or serving.entry.to_version is not None:
            _record_by_hand(log, serving)
        if not allow_deleted:
            raise RegistryError(f"{log.place}: {serving.describe()}")
    return compare_with_alias(store, log), finished


def follow(store: Store, log: PromotionLog) -> Entry:
    """Let the aliases and tags follow the log's newest change, and return its entry; `log.confirm` comes after this.

    Raises:
        RegistryError: the registry does not answer, or the version was deleted.
    """
    while True:
        head = log.head
        if head is None or head.to_version is None:
            raise RegistryError(f"{log.place}: it has no champion; run 'recsys promote'")
        set_alias(store, log.model, CHAMPION, head.to_version)
        # Another process may have added an entry, and moved the alias, before this one moved it.
        log.refresh()
        if log.head == head:
            break
    _follow_with_others(store, log, head)
    return head


def note_champion(store: Store, home: Path, model: str) -> Entry | None:
    """Return the log's entry for what serves tonight; what is wrong is a warning, so that the lists are made anyway.

    A change of the alias by hand is recorded. None where the log has no entry for what serves.
    """
    try:
        log = PromotionLog.open(store, home, model)
        serving = compare_with_alias(store, log)
        problem = serving.describe()
        if problem:
            logger.warning("%s: %s", log.place, problem)
        if serving.state == "moved":
            _record_by_hand(log, serving)
            _confirm_head(log)
            serving = compare_with_alias(store, log)
    except RegistryError as error:
        logger.warning("%s; the lists are made with the version that has the alias 'champion'", error)
        return None
    return serving.entry if serving.state in ("agreed", "unconfirmed") else None


def find_missing_champion(store: Store, home: Path, model: str) -> str | None:
    """Return what to do where there is no alias `champion`: the log may know what it named.

    Raises:
        RegistryError: the log is damaged, or the store does not answer.
    """
    return compare_with_alias(store, PromotionLog.open(store, home, model, read_only=True)).describe()


def _compare(log: PromotionLog, version: Version | None) -> Serving:
    head = log.head
    number = version.number if version else None
    confirmed = head is not None and head.number in log.confirmed
    state: State
    if head is None:
        state = "none" if version is None else "moved"
    elif number is None and head.to_version is None:
        state = "deleted"
    elif number == head.to_version:
        state = "agreed" if confirmed else "unconfirmed"
    elif number == head.from_version and not confirmed and head.action in _CHANGES:
        state = "unfinished"
    else:
        state = "deleted" if number is None else "moved"
    return Serving(state, version, head, log.champion)


def _was_deleted(store: Store, log: PromotionLog, serving: Serving) -> bool:
    number = serving.entry.to_version if serving.entry else None
    return number is not None and find_number(store, log.model, number) is None


def _record_by_hand(log: PromotionLog, serving: Serving) -> None:
    number = serving.number
    if number is None:
        reason = "the alias 'champion' had been deleted"
    else:
        before = f"the log had version {serving.champion}" if serving.champion else "the log had no champion"
        reason = f"the alias 'champion' had been moved to version {number}; {before}"
    anchor, spent = log.find_budget(number) if number else (log.anchor, log.spent)
    log.append("hand_made", to_version=number, reason=reason, anchor=anchor, spent=spent)
    logger.warning("%s: recorded: %s", log.place, reason)


def _confirm_head(log: PromotionLog) -> None:
    if log.head:
        log.confirm(log.head)


def _follow_with_others(store: Store, log: PromotionLog, head: Entry) -> None:
    """Set the alias `anchor`, take `challenger` from what was promoted or rolled back, and set the tags."""
    name = log.model
    if head.anchor and find_number(store, name, head.anchor):
        set_alias(store, name, ANCHOR, head.anchor)
    if head.to_version and head.action in ("promote", "force"):
        remove_alias(store, name, CHALLENGER, head.to_version)
    if head.to_version and head.action == "force":
        mark_version(store, name, head.to_version, "forced", f"entry {head.number}: {head.reason}")
    if head.from_version and head.action == "rollback":
        remove_alias(store, name, CHALLENGER, head.from_version)
        mark_version(store, name, head.from_version, "rolled_back", f"entry {head.number}: {head.reason}")


def _name(number: str | None) -> str:
    return f"version {number}" if number else "no version"
