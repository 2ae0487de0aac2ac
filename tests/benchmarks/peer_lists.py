"""Tables and lists of `peers.py`: what peers are given, whether their lists are fair, and what everybody reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import Config
from recsys.dataset.windows import Window, Windows
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS, score_users, summarise
from recsys.evaluation.metrics import count_positives, find_hits
from recsys.progress import format_count

_PAIR = ["user_id", "item_id"]
METRICS = ("ndcg", "recall", "hit_rate")


@dataclass(frozen=True)
class Problem:
    """Rows to learn from, and users whose lists are compared with what they took.

    Attributes:
        rows: `user_id`, `item_id`, `order`, `weight`, sorted by `order`: the window's history.
        positives: `user_id`, `item_id` of users with a history.
        items: `item_id`, `title`, `text`.
        repeats: lists may hold what the user has.
        n: length of the lists.
    """

    rows: pl.DataFrame
    positives: pl.DataFrame
    items: pl.DataFrame
    repeats: bool
    n: int

    @classmethod
    def of(cls, window: Window, items: pl.DataFrame, config: Config) -> Problem:
        """Take a window's history and positives.

        Raises:
            DataError: the history has rows of a kind that peers' programs do not know.
        """
        history = window.history.join(items.select("item_id"), on="item_id", how="semi")
        if not history["consumed"].all() or not items["available"].all():
            raise DataError(
                f"{config.name}: some rows are history only, or some items are not available, which peers' programs "
                "do not know; choose a config in which every row is consumed and every item can be shown"
            )
        in_order = ["step", "user_id"] if history["time"].null_count() else ["time", "step", "user_id"]
        rows = history.sort(in_order).with_row_index("order").select(*_PAIR, pl.col("order").cast(pl.Int64), "weight")
        positives = window.positives.select(_PAIR)
        positives = positives.join(items.select("item_id"), on="item_id", how="semi")
        positives = positives.join(rows.select("user_id").unique(), on="user_id", how="semi").sort(_PAIR)
        texts = items.select("item_id", "title", pl.col("description").alias("text"))
        return cls(rows, positives, texts, config.dataset.repeats, config.evaluation.n)

    @property
    def users(self) -> pl.Series:
        """Ids of the users who need lists, sorted."""
        return self.positives["user_id"].unique().sort()

    def write(self, folder: Path) -> dict[str, str]:
        """Write what a program may see, and return the paths by name."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"rows": self.rows, "users": self.users.to_frame(), "items": self.items}
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet")
        return {name: str(folder / f"{name}.parquet") for name in tables}

    def number(self, model: str, lists: pl.DataFrame) -> NDArray[np.int32]:
        """Return lists as (n_users, n) item indexes, -1 in empty places.

        Args:
            model: whose lists.
            lists: `user_id`, `rank` from 1, `item_id`.

        Raises:
            DataError: they hold an item that the user has, an item twice, an unknown user or item, or ranks with gaps.
        """
        lists = lists.select("user_id", pl.col("rank").cast(pl.Int64), "item_id")
        self._check(model, lists)
        users = pl.DataFrame({"user_id": self.users}).with_row_index("user")
        items = self.items.select("item_id").with_row_index("item")
        at = lists.join(users, on="user_id").join(items, on="item_id")
        numbered = np.full((users.height, self.n), -1, dtype=np.int32)
        numbered[at["user"].to_numpy(), at["rank"].to_numpy() - 1] = at["item"].to_numpy()
        return numbered

    def _check(self, model: str, lists: pl.DataFrame) -> None:
        wrong = {
            "of unknown users": lists.filter(~pl.col("user_id").is_in(self.users.implode())),
            "with unknown items": lists.join(self.items, on="item_id", how="anti"),
            "with an item twice": lists.filter(pl.struct(_PAIR).is_duplicated()),
            "with ranks that do not count from 1 to n": lists.filter(
                (pl.col("rank").sort() != pl.int_range(1, pl.len() + 1)).any().over("user_id")
                | (pl.col("rank") > self.n)
            ),
        }
        if not self.repeats:
            wrong["with items that the user already has"] = lists.join(self.rows, on=_PAIR, how="semi")
        for what, rows in wrong.items():
            if rows.height:
                first = rows.row(0, named=True)
                raise DataError(
                    f"lists of '{model}': {format_count(rows.height, 'row')} {what}, such as user "
                    f"'{first['user_id']}', item '{first['item_id']}', expected none; correct its program"
                )

    def score(self, model: str, lists: pl.DataFrame) -> pl.DataFrame:
        """Return the `UserMetrics` of lists."""
        matrix = self._mark_positives()
        hits = find_hits(self.number(model, lists), matrix)
        found = score_users(model, self.users, hits, count_positives(matrix), [self.n])
        return found.filter(pl.col("metric").is_in(METRICS))

    def _mark_positives(self) -> csr_array:
        users = pl.DataFrame({"user_id": self.users}).with_row_index("user")
        items = self.items.select("item_id").with_row_index("item")
        at = self.positives.join(users, on="user_id").join(items, on="item_id")
        ones = np.ones(at.height, dtype=np.uint8)
        return csr_array((ones, (at["user"].to_numpy(), at["item"].to_numpy())), shape=(users.height, items.height))

    def reach(self, lists: pl.DataFrame) -> float:
        """Return the mean nDCG of lists."""
        values = self.score("tried", lists).filter(pl.col("metric") == "ndcg")["value"].mean()
        return float(values)  # type: ignore[arg-type]


def describe_holdout(windows: Windows, config: Config) -> dict[str, Any]:
    """Return how a training that needs labels of its own holds them out, as the config's protocol does."""
    newest = windows.measurement_fold.labels[0]
    share = 1.0 - newest.history.height / windows.test.history.height
    kinds = {"global_time": "time", "leave_last_out": "last"}
    return {"kind": kinds.get(config.windows.protocol, "random"), "share": share}


def compare(scores: Mapping[str, pl.DataFrame], config: Config) -> pl.DataFrame:
    """Return the `MetricTable` of everybody's scores, ours first."""
    return summarise(pl.concat(scores.values()), OURS, config.evaluation, config.seed)


def tabulate(table: pl.DataFrame, costs: Mapping[str, Mapping[str, Any]], n: int) -> list[str]:
    """Return a Markdown table: quality, differences and costs of everybody.

    Args:
        table: `MetricTable`.
        costs: by name, with `train`, `recommend`, `peak`, `chosen`, for peers `tuning`; or only
            `failed`: why there are no lists.
        n: length of the lists.
    """
    lines = [
        f"| | nDCG@{n} | ours − peer | recall@{n} | hit rate@{n} "
        "| tuning, CPU s | train, CPU s | recommend, CPU s | peak | settings |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |",
    ]
    for model, cost in costs.items():
        if "failed" in cost:
            lines.append(f"| {model} | – | – | – | – | – | – | – | – | {cost['failed']} |")
            continue
        own = {row["metric"]: row for row in table.filter(pl.col("model") == model).iter_rows(named=True)}
        ndcg = own["ndcg"]
        cells = [
            model,
            f"{ndcg['mean']:.4f} [{ndcg['low']:.4f}, {ndcg['high']:.4f}]",
            ""
            if ndcg["difference"] is None
            else f"{ndcg['difference']:+.4f} [{ndcg['difference_low']:+.4f}, {ndcg['difference_high']:+.4f}]",
            f"{own['recall']['mean']:.4f}",
            f"{own['hit_rate']['mean']:.4f}",
            f"{cost['tuning']:.0f}" if "tuning" in cost else "",
            f"{cost['train']:.1f}",
            f"{cost['recommend']:.1f}",
            f"{cost['peak']:.1f} GB",
            cost["chosen"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
