"""One entry of the promotion log: its fields, its text, its hash."""

from __future__ import annotations

import getpass
import json
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from recsys.errors import RegistryError
from recsys.storage.files import hash_text

Action = Literal["promote", "refuse", "rollback", "force", "hand_made", "canary", "canary_stop", "imported", "copy"]
ACTIONS: tuple[str, ...] = get_args(Action)
# MLflow cuts longer parameters (6,000) without an error.
MAX_CHARACTERS = 5_900
_MAX_REASON = 1_500


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        number: 1 for the first; without gaps.
        time: when it was written, in UTC, by the clock of the host.
        who: the user.
        host: name of the machine.
        action: what happened.
        model: name of the registered model.
        from_version: the champion until then; None: there was none, or it is unknown.
        to_version: the version that the action is about: promoted, refused, rolled back to, given to the canary.
        reason: why, in one sentence.
        decision: SHA-256 of the decision table, which is a file of the log; None: there is none.
        snapshot: the snapshot that the version learned from, where known.
        code_version: of the package that wrote the entry, with the git commit where it runs from a checkout.
        anchor: version of the anchor after the entry.
        spent: part of the loss budget that the promotions since the anchor have used, after the entry.
        window: the test window that the gate judged on; tries are counted by it.
        details: facts of one kind of action, such as the share of a canary.
        previous_hash: hash of the entry before; empty for the first.
        hash: SHA-256 of all other fields.
    """

    number: int
    time: datetime
    who: str
    host: str
    action: Action
    model: str
    from_version: str | None
    to_version: str | None
    reason: str
    decision: str | None
    snapshot: str | None
    code_version: str
    anchor: str | None
    spent: float
    window: str | None
    details: Mapping[str, Any]
    previous_hash: str
    hash: str = ""

    @property
    def author(self) -> str:
        """User and machine, as in `anna@training-2`."""
        return f"{self.who}@{self.host}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**content, "time": self.time.isoformat(), "details": dict(self.details)}

    def to_text(self) -> str:
        """Return the one text that this entry has."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def compute_hash(self) -> str:
        """Return the hash that the entry should have."""
        return hash_text(replace(self, hash="").to_text())

    def sealed(self) -> Entry:
        """Return the entry with its hash; a reason that is too long for MLflow is shortened first.

        Raises:
            RegistryError: the other fields are too long.
        """
        reason = " ".join(self.reason.split())
        short = replace(self, reason=reason if len(reason) <= _MAX_REASON else reason[: _MAX_REASON - 1] + "…")
        entry = replace(short, hash=short.compute_hash())
        if len(entry.to_text()) > MAX_CHARACTERS:
            raise RegistryError(
                f"promotion log of '{self.model}': the details of '{self.action}' have a length of "
                f"{len(entry.to_text()):,}, expected at most {MAX_CHARACTERS:,} characters; shorten them"
            )
        return entry


def parse_entry(text: str) -> Entry:
    """Return the entry that a text holds; its hash is not checked.

    Raises:
        ValueError: it is no entry.
    """
    content = json.loads(text)
    names = {field.name for field in fields(Entry)}
    if not isinstance(content, dict) or set(content) != names:
        raise ValueError("the fields do not match those of an entry")
    text_fields = ("who", "host", "model", "reason", "code_version", "previous_hash", "hash")
    optional = ("from_version", "to_version", "decision", "snapshot", "anchor", "window")
    spent = content["spent"]
    valid = (
        all(isinstance(content[name], str) for name in text_fields)
        and all(content[name] is None or isinstance(content[name], str) for name in optional)
        and type(content["number"]) is int
        and content["action"] in ACTIONS
        and isinstance(content["details"], dict)
        and isinstance(spent, int | float)
        and math.isfinite(spent)
    )
    if not valid:
        raise ValueError("a field has an unexpected value")
    time = datetime.fromisoformat(content["time"])
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return Entry(**{**content, "time": time.astimezone(UTC), "spent": float(spent)})


def describe_change(entry: Entry) -> str:
    """Return what an entry did to the champion, as in `version 5 was promoted`."""
    if entry.to_version is None:
        return "the alias 'champion' was deleted by hand"
    verbs = {
        "promote": "was promoted",
        "force": "was promoted by force",
        "rollback": "was rolled back to",
        "hand_made": "was given the alias 'champion' by hand",
        "imported": "was imported from an older log",
    }
    return f"version {entry.to_version} {verbs.get(entry.action, f'had {entry.action}')}"


def find_user() -> str:
    """Return the name of the user; in a container without an account, the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"


def find_host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()
