"""`recsys show`: published lists of users, with their histories and the reasons. Read-only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.recommendations import find_followed, read_recommendations
from recsys.artifacts.snapshots import read_snapshot
from recsys.config import Config
from recsys.dataset.pseudonyms import name_users
from recsys.dataset.windows import cut, resolve_end
from recsys.errors import ArtifactError, DataError
from recsys.tables import CHALLENGER


@dataclass(frozen=True)
class HistoryItem:
    """An item of a history.

    Attributes:
        item_id: as in the snapshot.
        title: without control characters.
        time: of the newest event on it, ISO; None without times.
        events: kinds of the events on it, the newest first, each once.
    """

    item_id: str
    title: str
    time: str | None
    events: str

    @property
    def shown_id(self) -> str:
        """The id without control characters."""
        return show_id(self.item_id)


@dataclass(frozen=True)
class ListRow:
    """A row of a published list, as in `Recommendations`, with the item's title."""

    rank: int
    item_id: str
    title: str
    score: float
    sources: tuple[str, ...]
    reason: str
    variant: str
    model_version: str


@dataclass(frozen=True)
class UserLists:
    """A user's history and list.

    Attributes:
        user_id: as in the snapshot.
        run_date: YYYY-MM-DD of the list.
        ordered: the history has an order, and its newest item is the first.
        history: newest first.
        rows: the list, best first; empty where the user got none.
    """

    user_id: str
    run_date: str
    ordered: bool
    history: tuple[HistoryItem, ...]
    rows: tuple[ListRow, ...]

    @property
    def shown_id(self) -> str:
        """The id without control characters."""
        return show_id(self.user_id)

    @property
    def canary(self) -> str | None:
        """Version of the challenger whose list it is; None: it is the champion's."""
        return next((row.model_version for row in self.rows if row.variant == CHALLENGER), None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "user_id": self.user_id,
            "run_date": self.run_date,
            "history": [asdict(item) for item in self.history],
            "list": [asdict(row) for row in self.rows],
        }


def show_users(config: Config, home: Path, run_date: str, users: int = 3, length: int = 5) -> list[UserLists]:
    """Return some users with their history and the first items of their list.

    The users are spread evenly from the shortest to the longest history, so the same lists always show the same users.

    Args:
        config: the names of the snapshot and its settings.
        home: the folder of snapshots and lists.
        run_date: YYYY-MM-DD of published lists.
        users: how many users at most.
        length: how many items of each list.

    Raises:
        ArtifactError: there is no snapshot, or the run date is not published.
    """
    known = _Known.read(config, home, run_date)
    lists = known.lists.filter(pl.col("rank") <= length)
    history = known.history.join(lists.select("user_id").unique(), on="user_id", how="semi")
    sizes = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size")).sort("size", "user_id")
    rows = [round((sizes.height - 1) * (number + 0.5) / users) for number in range(users)]
    chosen = list(dict.fromkeys(sizes["user_id"].gather(rows).to_list()))
    return [known.describe(user, length) for user in chosen]


def show_user(config: Config, home: Path, user: str, run_date: str | None) -> UserLists:
    """Return a user with the whole history and list.

    Args:
        config: the names of the snapshot and its settings.
        home: the folder of snapshots and lists.
        user: an id as in the raw files, or its pseudonym.
        run_date: YYYY-MM-DD of published lists; None: those that readers follow.

    Raises:
        ArtifactError: there is no snapshot, nothing is published, or the run date is not.
        DataError: the user has neither a history nor a list.
    """
    if run_date is None:
        followed = find_followed(home)
        run_date = followed.run_date
        if run_date is None:
            raise ArtifactError(
                f"lists in {home}: {followed.fault or 'none are published'}; run 'recsys generate' first"
            )
    known = _Known.read(config, home, run_date)
    names = dict.fromkeys([user, *name_users(config.dataset, pl.Series([user], dtype=pl.String))])
    for name in names:
        found = known.describe(name)
        if found.history or found.rows:
            return found
    raise DataError(
        f"user '{show_id(user)}': has no event before {run_date} and no list; use an id from the raw interactions, "
        "without surrounding blanks"
    )


@dataclass(frozen=True)
class _Known:
    """What a night knew: events before the run date, titles, and the lists."""

    run_date: str
    history: pl.DataFrame
    titles: dict[str, str]
    lists: pl.DataFrame

    @classmethod
    def read(cls, config: Config, home: Path, run_date: str) -> _Known:
        snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
        history = cut(snapshot.interactions, resolve_end(snapshot.interactions, run_date))
        titles = dict(snapshot.items.select("item_id", "title").iter_rows())
        return cls(run_date, history, titles, read_recommendations(home, run_date))

    def describe(self, user: str, length: int | None = None) -> UserLists:
        """Return a user's history and the first `length` rows of the list; all of them for None."""
        events = self.history.filter(pl.col("user_id") == user)
        newest = (
            events.sort("step", descending=True, maintain_order=True)
            .group_by("item_id", maintain_order=True)
            .agg(pl.col("step").max(), pl.col("time").max(), pl.col("event").unique(maintain_order=True))
            .sort(["step", "item_id"], descending=[True, False])
        )
        history = tuple(
            HistoryItem(
                row["item_id"],
                self._name(row["item_id"]),
                row["time"].isoformat(timespec="minutes").removesuffix("+00:00") if row["time"] else None,
                ", ".join(row["event"]),
            )
            for row in newest.iter_rows(named=True)
        )
        rows = self.lists.filter(pl.col("user_id") == user).sort("rank").head(length or self.lists.height)
        listed = tuple(
            ListRow(
                **{name: row[name] for name in ("rank", "item_id", "score", "reason", "variant", "model_version")},
                title=self._name(row["item_id"]),
                sources=tuple(row["sources"]),
            )
            for row in rows.iter_rows(named=True)
        )
        return UserLists(user, self.run_date, bool(events["step"].max()), history, listed)

    def _name(self, item: str) -> str:
        # An item may have left the catalogue since the night.
        return show_id(self.titles.get(item, item))


def show_id(identity: str) -> str:
    """Return a text without unprintable characters: ids are not cleaned, and may hold terminal control sequences."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in identity)
