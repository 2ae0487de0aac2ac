"""Showing lists to a person: users with their history and what they are recommended."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.table import Table
from rich.text import Text

from recsys.artifacts.recommendations import read_recommendations
from recsys.artifacts.snapshots import read_snapshot
from recsys.config import Config
from recsys.dataset.windows import cut, resolve_end

_TITLE_WIDTH = 48


def show_users(config: Config, home: Path, run_date: str, users: int = 3, length: int = 5) -> list[Table]:
    """Return one table per user: the newest items of the history beside the first of the list, with reasons.

    Users are taken evenly from the shortest to the longest history, so the same lists show the same users.
    """
    snapshot = read_snapshot(home, config.name, config.dataset.model_dump(mode="json"))
    lists = read_recommendations(home, run_date)
    titles = dict(snapshot.items.select("item_id", "title").iter_rows())
    end = resolve_end(snapshot.interactions, run_date)
    history = cut(snapshot.interactions, end).join(lists.select("user_id").unique(), on="user_id", how="semi")
    sizes = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size")).sort("size", "user_id")
    places = [round((sizes.height - 1) * (part + 0.5) / users) for part in range(users)]
    chosen = list(dict.fromkeys(sizes["user_id"].gather(places).to_list()))
    return [_show_user(user, history, lists, titles, length) for user in chosen]


def _show_user(user: str, history: pl.DataFrame, lists: pl.DataFrame, titles: dict[str, str], length: int) -> Table:
    newest = (
        history.filter(pl.col("user_id") == user)
        .group_by("item_id")
        .agg(pl.col("step").max())
        .sort(["step", "item_id"], descending=[True, False])["item_id"]
    )
    rows = lists.filter(pl.col("user_id") == user).head(length)
    # Texts, not strings: a catalogue's brackets must not be read as markup.
    order = ", newest first" if history["step"].max() else ""
    table = Table(
        title=Text(f"user {show_id(user)}: {len(newest)} items{order}"),
        title_justify="left",
    )
    for name in ("had", "rank", "gets", "because"):
        table.add_column(name, overflow="fold", justify="right" if name == "rank" else "left")
    recommended = list(rows.iter_rows(named=True))
    for place in range(max(len(recommended), min(length, len(newest)))):
        had = _short(titles[newest[place]]) if place < min(length, len(newest)) else ""
        row = recommended[place] if place < len(recommended) else None
        cells = (str(row["rank"]), _short(titles[row["item_id"]]), row["reason"]) if row else ("", "", "")
        table.add_row(*map(Text, (had, *cells)))
    return table


def show_id(identity: str) -> str:
    """Return an id as a terminal may show it: ingest cleans texts, not ids, and one may hold a terminal's commands."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in identity)


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 1] + "…"
