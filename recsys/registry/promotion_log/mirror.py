"""The copy of a promotion log in a home: it shows whether the store's log was shortened or changed since.

One file holds the logs of every model and store that this home has worked with: an entry per line, with the store's
address without password.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import ArtifactError, RegistryError
from recsys.registry.promotion_log.entry import Entry, parse_entry
from recsys.storage.files import replace_text
from recsys.storage.home import promotion_log_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    place: str = ""
    entry: Entry | None = None


class Mirror:
    """A home's copy of one model's log in one store.

    Attributes:
        path: of the file.
        entries: of this model and store, by number, as the home saw them last.
    """

    def __init__(self, home: Path, place: str, model: str) -> None:
        """Read the file; a line that is no entry is skipped with a warning.

        Args:
            home: the folder that everything is written to.
            place: address of the store, without password.
            model: name of the registered model.
        """
        self.path = promotion_log_file(home)
        self._place, self._model = place, model
        self._lines = _read_lines(self.path)
        mine = [line.entry for line in self._lines if line.entry and self._is_mine(line)]
        self.entries: Mapping[int, Entry] = {entry.number: entry for entry in mine}

    def compare(self, entries: Sequence[Entry]) -> None:
        """Check that the store still has what the home saw.

        Raises:
            RegistryError: an entry is missing from the store, or is another one.
        """
        for number, seen in sorted(self.entries.items()):
            if number > len(entries):
                found = f"entry {number} is missing: the store has only {len(entries)}"
            elif entries[number - 1].hash != seen.hash:
                found = f"entry {number} is not the entry that this home saw on {seen.time:%Y-%m-%d}"
            else:
                continue
            raise RegistryError(
                f"promotion log of '{self._model}' in {self._place}: {found}; restore the store from a backup, or, if "
                f"this is another store at the same address, move {self.path} away"
            )

    def write(self, entries: Sequence[Entry]) -> None:
        """Bring the file up to date; one that cannot be written is left as it is, with a warning."""
        if [self.entries.get(entry.number) for entry in entries] == list(entries):
            return
        kept = [line.text for line in self._lines if not (line.entry and self._is_mine(line))]
        mine = [
            json.dumps({"store": self._place, **entry.to_dict()}, sort_keys=True, ensure_ascii=False)
            for entry in entries
        ]
        try:
            replace_text(self.path, "".join(f"{line}\n" for line in [*kept, *mine]))
        except ArtifactError as error:
            logger.warning("promotion log: this home's copy is not up to date: %s", error)
        self.entries = {entry.number: entry for entry in entries}

    def _is_mine(self, line: _Line) -> bool:
        return line.entry is not None and (line.place, line.entry.model) == (self._place, self._model)


def _read_lines(path: Path) -> list[_Line]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("promotion log: this home's copy %s cannot be read (%s)", path, error.strerror)
        return []
    texts = content.decode("utf-8", errors="replace").split("\n")
    lines = [_read_line(number, text) for number, text in enumerate(texts, start=1) if text.strip()]
    for line in lines:
        if line.entry is None:
            logger.warning("promotion log: line %d of %s is not a valid entry; skipped", line.number, path)
    # A damaged line warns once; the next writing leaves it out.
    return [line for line in lines if line.entry is not None]


def _read_line(number: int, text: str) -> _Line:
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        content = json.loads(text)
        if isinstance(content, dict):
            place = content.pop("store")
            return _Line(number, text, str(place), parse_entry(json.dumps(content)))
    return _Line(number, text)
