"""`PromotionLog`: reading a model's log and adding to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recsys.errors import RegistryError
from recsys.registry.promotion_log.chain import (
    Canary,
    count_tries,
    find_break,
    find_budget,
    find_canary,
    find_champion,
    find_previous_champion,
    find_rollback,
    find_serving_entry,
)
from recsys.registry.promotion_log.entry import (
    Action,
    Entry,
    describe_change,
    find_host,
    find_user,
    parse_entry,
)
from recsys.registry.promotion_log.log_run import LogRun
from recsys.registry.promotion_log.mirror import Mirror
from recsys.registry.promotion_log.old_ledger import OldEntry, read_old_ledger, retire_old_ledger
from recsys.registry.tracking import Store
from recsys.storage.code_version import find_code_version
from recsys.storage.files import encode_json, sqlite_url
from recsys.storage.home import mlflow_database, old_ledger_file
from recsys.storage.locks import lock

logger = logging.getLogger(__name__)

_HERE: Final = "the home's own store"


class PromotionLog:
    """The log of one registered model, checked from the first entry to the last.

    Attributes:
        model: name of the registered model.
        entries: oldest first.
        confirmed: numbers of the entries that the alias `champion` was seen to follow.
    """

    def __init__(self, store: Store, home: Path, model: str, *, read_only: bool) -> None:
        """See `open`."""
        self.model = model
        self._store, self._home, self._read_only = store, home, read_only
        self._run: LogRun | None = None
        self.entries: tuple[Entry, ...] = ()
        self.confirmed: frozenset[int] = frozenset()

    @classmethod
    def open(cls, store: Store, home: Path, model: str, *, read_only: bool = False) -> PromotionLog:
        """Read the log, check it, and bring the home's copy up to date.

        The `ledger.jsonl` of an older version is taken over first, the lines of every model in it. A log that has no
        entry yet is not created by reading it.

        Args:
            store: from `connect`.
            home: holds the copy.
            model: name of the registered model.
            read_only: write nothing, not even the copy.

        Raises:
            RegistryError: the log was deleted, an entry was changed or is missing (the message names the first), or
                the store does not answer.
        """
        log = cls(store, home, model, read_only=read_only)
        if not read_only and old_ledger_file(home).exists():
            _take_over(store, home)
        log.refresh()
        return log

    def refresh(self) -> None:
        """Read the log again.

        Raises:
            RegistryError: as for `open`.
        """
        # The copy first: another process may add an entry to both in between, and the store must not be the older one.
        mirror = Mirror(self._home, self._place, self.model)
        if self._run is None:
            self._run = LogRun.find(self._store, self.model)
        texts, confirmed = self._run.read() if self._run else ({}, frozenset[int]())
        entries = self._parse(texts)
        mirror.compare(entries)
        if not self._read_only:
            mirror.write(entries)
        self.entries, self.confirmed = entries, confirmed

    @property
    def place(self) -> str:
        """Where the log is kept, for messages."""
        return f"promotion log of '{self.model}' in {self._store.place}"

    @property
    def head(self) -> Entry | None:
        """The newest entry that changed what serves."""
        return find_serving_entry(self.entries)

    @property
    def champion(self) -> str | None:
        """The version that ought to serve; None: none was ever promoted."""
        return find_champion(self.entries)

    @property
    def serving(self) -> str | None:
        """The version that serves according to the log; None: none yet, or the alias was deleted by hand."""
        return self.head.to_version if self.head else None

    @property
    def anchor(self) -> str | None:
        """The version that a challenger is compared with in addition to the champion."""
        return self.entries[-1].anchor if self.entries else None

    @property
    def spent(self) -> float:
        """The part of the loss budget that was used since the anchor."""
        return self.entries[-1].spent if self.entries else 0.0

    @property
    def canary(self) -> Canary | None:
        """The running canary."""
        return find_canary(self.entries)

    @property
    def previous_champion(self) -> str | None:
        """The version that a rollback returns to."""
        champion = self.champion
        return find_previous_champion(self.entries, champion) if champion else None

    def count_tries(self, window: str, besides: str | None = None) -> int:
        """Return how many versions the gate has judged on a test window; one that is tried again counts once.

        Args:
            window: as in the entries.
            besides: a version that does not count, because it is judged now.
        """
        return count_tries(self.entries, window, besides)

    def find_serving(self, instant: datetime) -> Entry | None:
        """Return the entry after which a version served at an instant."""
        return find_serving_entry(self.entries, instant)

    def was_rolled_back(self, version: str) -> Entry | None:
        """Return the entry that rolled a version back, unless it was promoted again since."""
        return find_rollback(self.entries, version)

    def find_budget(self, version: str) -> tuple[str | None, float]:
        """Return the anchor and the spent budget as they were when a version began to serve."""
        return find_budget(self.entries, version)

    def append(
        self,
        action: Action,
        *,
        to_version: str | None,
        from_version: str | None = None,
        reason: str = "",
        decision: Mapping[str, Any] | None = None,
        snapshot: str | None = None,
        anchor: str | None = None,
        spent: float | None = None,
        window: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Add an entry and return it.

        If another process adds an entry at the same time, this one gets the next number; but if that entry changed
        what serves, this one was decided on a state that has passed, and is not written.

        Args:
            action: what happened.
            to_version: the version that it is about.
            from_version: None: what serves.
            reason: one sentence.
            decision: table of the gate, which is stored as a file of the log's run.
            snapshot: that the version learned from.
            anchor: after the entry; None: as before.
            spent: after the entry; None: as before.
            window: the test window that the gate judged on.
            details: facts of one kind of action; a canary needs `share` and `key`.

        Raises:
            RegistryError: another process changed the champion meanwhile, or the store does not answer.
        """
        run = self._run or LogRun.find_or_create(self._store, self.model)
        self._run = run
        digest = run.write_decision(encode_json(decision)) if decision is not None else None
        expected = self.head
        while True:
            draft = Entry(
                number=len(self.entries) + 1,
                time=datetime.now(UTC),
                who=find_user(),
                host=find_host(),
                action=action,
                model=self.model,
                from_version=self.serving if from_version is None else from_version,
                to_version=to_version,
                reason=reason,
                decision=digest,
                snapshot=snapshot,
                code_version=find_code_version(),
                anchor=self.anchor if anchor is None else anchor,
                spent=self.spent if spent is None else spent,
                window=window,
                details=details or {},
                previous_hash=self.entries[-1].hash if self.entries else "",
            )
            entry = draft.sealed()
            won = run.claim(entry.number, entry.to_text())
            self.refresh()
            if won:
                return entry
            if self.head != expected:
                self._refuse_late(action, self.head)

    def confirm(self, entry: Entry) -> None:
        """Record that the alias follows an entry.

        Raises:
            RegistryError: the store does not answer.
        """
        if self._run and entry.number not in self.confirmed:
            self._run.confirm(entry.number)
            self.confirmed |= {entry.number}

    def read_decision(self, entry: Entry) -> str | None:
        """Return the JSON of an entry's decision table; None where it has none.

        Raises:
            RegistryError: it is missing, or it was changed.
        """
        return self._run.read_decision(entry.decision) if self._run and entry.decision else None

    @property
    def _place(self) -> str:
        """The store as the home's copy names it: a home that was moved still has its own store."""
        return _HERE if self._store.uri == sqlite_url(mlflow_database(self._home)) else self._store.place

    def _parse(self, texts: Mapping[int, str]) -> tuple[Entry, ...]:
        entries = []
        for number, text in texts.items():
            try:
                entries.append(parse_entry(text))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise self._broken(number, f"cannot be read ({error})") from error
        found = find_break(entries)
        if found:
            raise self._broken(*found)
        return tuple(entries)

    def _broken(self, number: int, why: str) -> RegistryError:
        return RegistryError(f"{self.place}: entry {number} {why}; restore the store from a backup")

    def _refuse_late(self, action: Action, winner: Entry | None) -> None:
        what = "the log was changed" if winner is None else describe_change(winner)
        by = f" (entry {winner.number}, {winner.author})" if winner else ""
        raise RegistryError(f"{action.replace('_', ' ')} '{self.model}': {what} meanwhile{by}; run again")


def _take_over(store: Store, home: Path) -> None:
    """Append the lines of an old ledger to the logs of their models, and rename the file.

    Lines that are in a log already are not appended again: the process may have died in between.
    """
    with lock(home, "promotion_log"):
        lines, skipped = read_old_ledger(home)
        for model in dict.fromkeys(line.model for line in lines):
            log = PromotionLog(store, home, model, read_only=False)
            log.refresh()
            known = {entry.details.get("line_hash") for entry in log.entries if entry.action == "imported"}
            for line in lines:
                if line.model == model and line.identity not in known:
                    _import(log, line, home, skipped)
        if old_ledger_file(home).exists():
            retire_old_ledger(home, len(lines), skipped)


def _import(log: PromotionLog, line: OldEntry, home: Path, skipped: int) -> None:
    elsewhere = any(entry.details.get("home") != str(home) for entry in log.entries)
    log.append(
        "imported",
        from_version=line.previous,
        to_version=line.version,
        reason=line.reason,
        details={
            "action": line.action,
            "home": str(home),
            "line": line.line,
            "line_hash": line.identity,
            "skipped_lines": skipped,
            # Another home has a log here already; this one's history does not change what serves.
            "late": elsewhere,
        },
    )
