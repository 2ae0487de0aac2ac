"""What every peer's program has in common: reading the task, fitting, clocking, and writing lists.

A program is run by the interpreter of its own environment as `PYTHON with_….py task.json`, so this file imports only
what all environments have. The task names the rows to fit on, the users who need lists, and settings to try one after
another. Each yields lists and a line of `done.json` with what they cost. Seconds are of the processor, summed over
threads, so that other work on the machine does not count.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DONE = "done.json"

Settings = dict[str, Any]
# The ids of n_users x n items, best first, None in the empty places of short lists.
Lists = list[list[str | None]]


@dataclass(frozen=True)
class Task:
    """What to fit on, and for whom.

    Attributes:
        model: one of those that the program has.
        settings: to try in turn.
        users: ids of the users who need lists, in order.
        items: `item_id`, `title`, `text` of the whole catalogue.
        rows: `user_id`, `item_id`, `order`, `weight`, sorted by `order`, which says what happened before what; time
            itself would leave ties.
        n: length of the lists.
        repeats: lists may hold what the user has.
        threads: to use.
        seconds: no further settings are tried after this many seconds.
        held_out: how a training that needs labels of its own should hold them out: `kind` (`last`, `time`, `random`)
            and `share` of the rows.
        folder: of the task.
        cache: folder of the set, for what several programs compute alike.
        borrowed: seconds and peak of what was taken from the cache; they count as if it had been computed.
    """

    model: str
    settings: list[Settings]
    users: list[str]
    items: pa.Table
    rows: pa.Table
    n: int
    repeats: bool
    threads: int
    seconds: float
    held_out: Settings
    folder: Path
    cache: Path
    borrowed: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "peak": 0.0})

    @classmethod
    def read(cls, path: Path) -> Task:
        """Read `task.json` and the tables that it names."""
        content = json.loads(path.read_text(encoding="utf-8"))
        tables = {name: pq.read_table(content.pop(name)) for name in ("users", "items", "rows")}
        users = tables.pop("users")["user_id"].to_pylist()
        cache = Path(content.pop("cache"))
        return cls(**content, **tables, users=users, folder=path.parent, cache=cache)

    def number_histories(self) -> dict[str, list[int]]:
        """Return each user's items, oldest first, as numbers of the rows of `items`."""
        numbers = {item: number for number, item in enumerate(self.items["item_id"].to_pylist())}
        histories: dict[str, list[int]] = {}
        for user, item in zip(self.column("user_id"), self.column("item_id"), strict=True):
            histories.setdefault(user, []).append(numbers[item])
        return histories

    def column(self, name: str) -> Any:
        """Return a column of the rows as a numpy array; ids as objects."""
        return self.rows[name].to_numpy()

    def matrix(self) -> tuple[Any, list[str], list[str]]:
        """Return the users x items matrix of summed weights, with the ids of its rows and columns."""
        from scipy.sparse import csr_matrix

        user_ids, users = np.unique(self.column("user_id").astype(str), return_inverse=True)
        item_ids, items = np.unique(self.column("item_id").astype(str), return_inverse=True)
        weights = self.column("weight").astype(np.float32)
        matrix = csr_matrix((weights, (users, items)), shape=(len(user_ids), len(item_ids)))
        return matrix, user_ids.tolist(), item_ids.tolist()


# Makes the lists of the task's users.
Recommend = Callable[[], Lists]
# Yields what was fitted, with the settings that it stands for; more than once where one training passes several.
Fit = Callable[[Task, Settings], Iterator[tuple[Settings, Recommend]]]


def main(fits: dict[str, Fit]) -> None:
    """Carry out the task whose file the command line names."""
    warnings.simplefilter("ignore")
    task = Task.read(Path(sys.argv[1]))
    started = time.process_time()
    done: list[dict[str, Any]] = []
    for settings in task.settings:
        # Whatever was begun before the seconds are over is finished.
        if done and time.process_time() - started > task.seconds:
            break
        _follow(fits[task.model](task, settings), task, done, started + task.seconds)


def _follow(fitted: Iterator[tuple[Settings, Recommend]], task: Task, done: list[dict[str, Any]], until: float) -> None:
    training = 0.0
    while True:
        started = time.process_time()
        found = next(fitted, None)
        training += time.process_time() - started
        if found is None:
            return
        settings, recommend = found
        started = time.process_time()
        lists = recommend()
        recommending = time.process_time() - started
        peak = max(measure_peak(), task.borrowed["peak"])
        name = f"lists-{len(done)}.parquet"
        write_lists(task.users, lists, task.folder / name)
        done.append(
            {
                "settings": settings,
                "lists": name,
                "train": training + task.borrowed["seconds"],
                "recommend": recommending,
                "peak": peak,
            },
        )
        # At once: whoever stops the program for its time keeps what it found.
        (task.folder / DONE).write_text(json.dumps(done), encoding="utf-8")
        if time.process_time() > until:
            return


def measure_peak() -> float:
    """Return the largest memory so far in GB; `ru_maxrss` would count that of the process which started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def write_lists(users: list[str], lists: Lists, path: Path) -> None:
    """Write `user_id`, `rank` from 1, `item_id`."""
    rows = [
        (user, rank, item)
        for user, row in zip(users, lists, strict=True)
        for rank, item in enumerate((item for item in row if item is not None), start=1)
    ]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    types = {"user_id": pa.string(), "rank": pa.int64(), "item_id": pa.string()}
    table = pa.table({name: pa.array(values, type=types[name]) for name, values in zip(types, columns, strict=True)})
    pq.write_table(table, path)


def take_best(scores: Any, item_ids: list[str], n: int) -> Lists:
    """Return the best n of each row of scores; -inf is not recommended, equal scores go to the smaller index."""
    n = min(n, scores.shape[1])
    best = np.argpartition(-scores, n - 1, axis=1)[:, :n] if n < scores.shape[1] else np.argsort(-scores, axis=1)
    best.sort(axis=1)
    values = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
    return [
        [item_ids[item] if value > -np.inf else None for item, value in zip(row, row_values, strict=True)]
        for row, row_values in zip(best, values, strict=True)
    ]
