"""Identity: whether the ids of users and items still mean what they meant in the last good night."""

from __future__ import annotations

import polars as pl

from recsys.monitoring.figures import Figures, Observed, average_by_item_column
from recsys.monitoring.sketches import Sketches, shorten_texts

_WORDS = r"\p{Han}|[\p{L}\p{N}]+"
# Two texts with a smaller share of common words are different texts.
_UNLIKE = 0.2
_FEW_ITEMS = 10


def watch_identity(figures: Figures, observed: Observed, pairs: pl.DataFrame, last: Sketches | None) -> None:
    """Add the figures of the area `identity`; without a last good night there are none.

    `identity.text_changed` is the share of sampled items with another title or description, `identity.text_unlike` of
    those whose text has hardly a word in common with the last one, `identity.text_moved` of those whose title now
    belongs to another item. `identity.history_overlap` is the mean share of a sampled user's items that are still in
    the user's history, over users that are still there and items that are still in the catalogue.

    Args:
        figures: to add to.
        observed: the night.
        pairs: of `EventCounts`.
        last: samples of the last good night.
    """
    if last is None:
        return
    if last.texts.height:
        _watch_texts(figures, observed, last.texts)
    if last.histories.height:
        _watch_histories(figures, observed.items, pairs, last.histories)


def _watch_texts(figures: Figures, observed: Observed, last: pl.DataFrame) -> None:
    sampled = observed.items.join(last, on="item_id", how="semi")
    both = shorten_texts(sampled).join(last, on="item_id", suffix="_before")
    if both.height:
        changed = (pl.col("title") != pl.col("title_before")) | (pl.col("description") != pl.col("description_before"))
        now, before = _words("title", "description"), _words("title_before", "description_before")
        common = now.list.set_intersection(before).list.len()
        either = now.list.set_union(before).list.len()
        marked = both.select(
            "item_id",
            changed=changed,
            unlike=changed & (common < _UNLIKE * either),
        )
        for name in ("changed", "unlike"):
            segments = average_by_item_column(marked, observed.items, observed.item_columns, pl.col(name).mean())
            figures.add(f"identity.text_{name}", marked.select(pl.col(name).mean()).item(), segments)
    # Titles that only one item had, and where they are now.
    unique = last.filter(pl.col("title").is_first_distinct() & pl.col("title").is_last_distinct())
    titles = shorten_texts(observed.items).select("title", "item_id")
    owners = titles.group_by("title").agg(owners="item_id")
    found = unique.select("item_id", "title").join(owners, on="title")
    elsewhere = found.filter(~pl.col("owners").list.contains(pl.col("item_id")))
    if unique.height:
        figures.add("identity.text_moved", elsewhere.height / unique.height)


def _words(title: str, description: str) -> pl.Expr:
    text = pl.concat_str(title, description, separator=" ").str.to_lowercase()
    return text.str.extract_all(_WORDS).list.unique()


def _watch_histories(figures: Figures, items: pl.DataFrame, pairs: pl.DataFrame, last: pl.DataFrame) -> None:
    here = pairs.select(pl.col("user_id").unique())
    comparable = last.join(here, on="user_id", how="semi").join(items, on="item_id", how="semi")
    found = comparable.join(
        pairs.select("user_id", "item_id", kept=pl.lit(True)), on=["user_id", "item_id"], how="left"
    )
    users = found.group_by("user_id").agg(overlap=pl.col("kept").is_not_null().mean(), items=pl.len()).sort("user_id")
    if not users.height:
        return
    many = pl.when(pl.col("items") < _FEW_ITEMS).then(pl.lit("few items")).otherwise(pl.lit("many items"))
    parts = users.group_by(many.alias("users")).agg(pl.col("overlap").mean()).sort("users")
    figures.add(
        "identity.history_overlap",
        users.select(pl.col("overlap").mean()).item(),
        {f"users: {name}": share for name, share in parts.iter_rows()},
    )
