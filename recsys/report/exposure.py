"""The panel on exposure: which items the lists show most, and how popular those are."""

from __future__ import annotations

import polars as pl

from recsys.config import SegmentsConfig
from recsys.progress import format_count
from recsys.report.chart_style import ACCENT, FAINT, MUTED, Spec, category, colours, finish, layer, mark, quantity
from recsys.report.grids import Grid, Row, write_share
from recsys.report.layout import Figure, Panel, Stat

_MOST = 15
# Groups of items by their number of users: (name, share of the catalogue where the group ends).
_GROUPS = (("top 1%", 0.01), ("next 9%", 0.1), ("next 40%", 0.5), ("lower half", 1.0))
_NO_USERS = "no users yet"
_NAMES = (*(name for name, _ in _GROUPS), _NO_USERS)
_SHARES = {"catalogue": FAINT, "interactions": MUTED, "lists": ACCENT}


def show_exposure(
    lists: pl.DataFrame, history: pl.DataFrame, items: pl.DataFrame, segments: SegmentsConfig, whose: str
) -> Panel:
    """Show the items that lists show most, and the popularity of what they show.

    Args:
        lists: `user_id`, `item_id`, at least.
        history: `Interactions` that the lists were made from.
        items: `Items`.
        segments: where new and heavy users begin.
        whose: whose lists these are, a few words.
    """
    ranked = _rank_items(lists, history, items)
    rows, users = lists.height, lists["user_id"].n_unique()
    top = ranked.sort("shown", "users", "item_id", descending=[True, True, False])
    most = int(top["shown"].head(10).sum())
    newcomers = int(ranked.filter(pl.col("group") == _NO_USERS)["shown"].sum())
    return Panel(
        "exposure",
        "Exposure",
        "Which items do the lists show, and do they only repeat what is popular?",
        stats=(
            Stat(write_share(most / max(1, rows)), "of all rows", "are filled by the 10 most shown items"),
            Stat(
                f"{int((ranked['shown'] > 0).sum()):,}",
                "different items shown",
                f"of {format_count(ranked.height, 'item')} that may be recommended",
            ),
            Stat(write_share(newcomers / max(1, rows)), "of all rows", "are items without users yet"),
        ),
        figures=(
            Figure(
                "exposure",
                "Share of each group of items, from popular to unknown",
                draw_exposure(_share_groups(ranked)),
                _list_groups(_share_groups(ranked)),
                tuple((colour, name) for name, colour in _SHARES.items()),
            ),
        ),
        grids=(_list_most(top.head(_MOST), users), _list_users(lists, history, ranked, segments)),
        notes=(
            f"{whose}. Groups are by number of users. Where the lists only follow popularity, their bars are far above "
            "those of the interactions on the left, and far below them on the right.",
        ),
    )


def _rank_items(lists: pl.DataFrame, history: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return `item_id`, `title`, `users`, `shown`, `group` of the items that may be recommended or are shown."""
    users = history.group_by("item_id").agg(pl.col("user_id").n_unique().alias("users"))
    shown = lists.group_by("item_id").agg(pl.len().alias("shown"))
    named = items.select("item_id", "title", "available")
    ranked = named.join(users, on="item_id", how="left").join(shown, on="item_id", how="left")
    ranked = ranked.with_columns(pl.col("users", "shown").fill_null(0).cast(pl.Int64))
    ranked = ranked.filter(pl.col("available") | (pl.col("shown") > 0)).sort(
        "users", "item_id", descending=[True, False]
    )
    # The most popular item is always in the first group, however small the catalogue is.
    place = pl.int_range(pl.len()) / pl.len()
    group = pl.lit(_GROUPS[-1][0])
    for name, end in reversed(_GROUPS[:-1]):
        group = pl.when(place < end).then(pl.lit(name)).otherwise(group)
    return ranked.with_columns(pl.when(pl.col("users") == 0).then(pl.lit(_NO_USERS)).otherwise(group).alias("group"))


def _share_groups(ranked: pl.DataFrame) -> pl.DataFrame:
    """Return `group`, `of`, `share`: of the catalogue, of all user-item pairs and of the rows of the lists."""
    sums = ranked.group_by("group").agg(
        pl.len().alias("catalogue"), pl.col("users").sum().alias("interactions"), pl.col("shown").sum().alias("lists")
    )
    shares = sums.with_columns(pl.col(name) / pl.max_horizontal(pl.col(name).sum(), 1) for name in _SHARES)
    return (
        shares.unpivot(list(_SHARES), index="group", variable_name="of", value_name="share")
        .filter(pl.col("group").is_in(_NAMES))
        .sort(pl.col("of").cast(pl.Enum(list(_SHARES))), pl.col("group").cast(pl.Enum(_NAMES)))
    )


def draw_exposure(shares: pl.DataFrame) -> Spec:
    """Draw bars of the shares, side by side in each group.

    Args:
        shares: `group`, `of`, `share`.
    """
    angle = {"expr": "width < 330 ? -40 : 0"}
    bars = mark(
        "bar",
        {"cornerRadiusEnd": 2},
        x=category("group", title="items by number of users", sort=list(_NAMES), axis={"labelAngle": angle}),
        xOffset=category("of", sort=list(_SHARES)),
        y=quantity("share", title="share", axis={"format": "%", "tickCount": 5}),
        color=colours("of", _SHARES),
        tooltip=[category("group"), category("of"), quantity("share", format=".1%")],
    )
    description = "Share of catalogue, interactions and lists in each group of items by number of users"
    return finish(layer(shares, bars), description, 220)


def _list_groups(shares: pl.DataFrame) -> Grid:
    wide = shares.pivot("of", index="group", values="share").select("group", *_SHARES)
    rows = (Row((name, *(write_share(value) for value in values))) for name, *values in wide.iter_rows())
    return Grid("Share of each group of items", ("items", *_SHARES), tuple(rows))


def _list_most(top: pl.DataFrame, users: int) -> Grid:
    rows = (
        Row((row["title"].strip() or row["item_id"], write_share(row["shown"] / max(1, users)), f"{row['users']:,}"))
        for row in top.iter_rows(named=True)
        if row["shown"]
    )
    return Grid("The items in most lists", ("item", "in share of lists", "users so far"), tuple(rows))


def _list_users(lists: pl.DataFrame, history: pl.DataFrame, ranked: pl.DataFrame, segments: SegmentsConfig) -> Grid:
    """Lay out how popular the lists of new, light and heavy users are."""
    sizes = history.group_by("user_id").agg(pl.col("item_id").n_unique().alias("size"))
    size = pl.col("size").fill_null(0)
    names = {
        "new": f"new: at most {format_count(segments.new_user_items, 'item')}",
        "light": "light",
        "heavy": f"heavy: more than {format_count(segments.heavy_user_items, 'item')}",
    }
    kind = (
        pl.when(size <= segments.new_user_items)
        .then(pl.lit("new"))
        .when(size > segments.heavy_user_items)
        .then(pl.lit("heavy"))
        .otherwise(pl.lit("light"))
    )
    popular = pl.col("group") == _GROUPS[0][0]
    table = (
        lists.select("user_id", "item_id")
        .join(sizes, on="user_id", how="left")
        .join(ranked.select("item_id", "users", "group"), on="item_id", how="left")
        .group_by(kind.alias("kind"))
        .agg(
            pl.col("user_id").n_unique().alias("n"),
            pl.col("item_id").n_unique().alias("different"),
            popular.mean().alias("top"),
            pl.col("users").median().alias("median"),
        )
    )
    found = {row["kind"]: row for row in table.iter_rows(named=True)}
    rows = tuple(
        Row((name, f"{row['n']:,}", f"{row['different']:,}", write_share(row["top"]), f"{row['median'] or 0:,.0f}"))
        for kind_name, name in names.items()
        if (row := found.get(kind_name))
    )
    head = ("users", "number", "different items", "rows of the top 1%", "median users per item")
    return Grid("What new and heavy users are shown", head, rows)
