"""`recsys show`: published lists of some users, with their histories and the reasons."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.table import Table
from rich.text import Text

from recsys.artifacts.recommendations import read_recommendations
from recsys.artifacts.snapshots import read_snapshot
from recsys.config import Config
from recsys.dataset.windows import cut, resolve_end
from recsys.progress import format_count
from recsys.serving.variants import CHALLENGER

_TITLE_WIDTH = 48


def show_users(config: Config, home: Path, run_date: str, users: int = 3, length: int = 5) -> list[Table]:
    """Return one table per user: the newest items of the history next to the first items of the list, with reasons.

    The users are spread evenly from the shortest to the longest history, so the same lists always show the same users.

    Args:
        config: the names of the snapshot and its settings.
        home: the folder of snapshots and lists.
        run_date: YYYY-MM-DD of published lists.
        users: how many users at most.
        length: how many items of each history and list.

    Raises:
        ArtifactError: there is no snapshot, or the run date is not published.
    """
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    lists = read_recommendations(home, run_date)
    titles = dict(snapshot.items.select("item_id", "title").iter_rows())
    end = resolve_end(snapshot.interactions, run_date)
    history = cut(snapshot.interactions, end).join(lists.select("user_id").unique(), on="user_id", how="semi")
    sizes = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size")).sort("size", "user_id")
    rows = [round((sizes.height - 1) * (number + 0.5) / users) for number in range(users)]
    chosen = list(dict.fromkeys(sizes["user_id"].gather(rows).to_list()))
    return [_show_user(user, history, lists, titles, length) for user in chosen]


def _show_user(user: str, history: pl.DataFrame, lists: pl.DataFrame, titles: dict[str, str], length: int) -> Table:
    newest = (
        history.filter(pl.col("user_id") == user)
        .group_by("item_id")
        .agg(pl.col("step").max())
        .sort(["step", "item_id"], descending=[True, False])["item_id"]
    )
    rows = lists.filter(pl.col("user_id") == user).head(length)
    # Texts, not strings: brackets in a title must not be read as markup.
    order = ", newest first" if history["step"].max() else ""
    versions = rows.filter(pl.col("variant") == CHALLENGER)["model_version"]
    canary = f", list of challenger version {versions[0]}" if len(versions) else ""
    table = Table(
        title=Text(f"user {show_id(user)}: {format_count(len(newest), 'item')}{order}{canary}"),
        title_justify="left",
    )
    for name in ("history", "rank", "recommended", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name == "rank" else "left")
    recommended = list(rows.iter_rows(named=True))
    shown = min(length, len(newest))
    for index in range(max(len(recommended), shown)):
        consumed = _short(titles[newest[index]]) if index < shown else ""
        row = recommended[index] if index < len(recommended) else None
        cells = (str(row["rank"]), _short(titles[row["item_id"]]), row["reason"]) if row else ("", "", "")
        table.add_row(*map(Text, (consumed, *cells)))
    return table


def show_id(identity: str) -> str:
    """Return an id without unprintable characters: ids are not cleaned, and may hold terminal control sequences."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in identity)


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 1] + "…"
