"""The embedding map: a page with a dot per item, close to the items with similar text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.embedding_neighbors import project_to_plane
from recsys.progress import format_count
from recsys.visuals.html import bundle_plotting, embed_json, hash_script
from recsys.visuals.palette import LIGHT, PALETTE

# With more dots they overlap and the page is slow.
_MAX_DOTS = 4_000
# The minimum number of dots for items without interactions, where there are that many.
_MIN_COLD_DOTS = 1_000
# Groups that get a colour.
_MAX_GROUPS = len(PALETTE)
_OTHER = "other"
_WARM, _COLD = "with interactions", "without interactions"
_MAX_CHARACTERS = 200

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Embedding map</title>
<style>
html, body {{ height: 100%; margin: 0; font-family: system-ui, sans-serif; color: #1f2937; background: #fff; }}
body {{ display: flex; flex-direction: column; overflow: hidden; }}
header {{ padding: 0.6rem 1rem; }}
h1 {{ font-size: 1rem; margin: 0; }}
p {{ margin: 0.2rem 0 0; font-size: 0.8rem; }}
#map {{ flex: 1; min-height: 0; width: 100%; overflow: hidden; }}
#vg-tooltip-element {{ max-width: 26rem; overflow-wrap: anywhere; unicode-bidi: plaintext; }}
#vg-tooltip-element h2 {{ font-size: 0.85rem; margin: 0 0 0.3rem; unicode-bidi: plaintext; }}
</style>
</head>
<body>
<header>
<h1>Embedding map</h1>
<p>{count} Items with similar texts are close to each other. Hover over a dot for its title, drag to move, scroll to zoom,
double-click to reset, click a group in the legend to highlight it.</p>
</header>
<div id="map"></div>
<script type="application/json" id="chart">{chart}</script>
<script>{plotting}</script>
<script>{draw}</script>
</body>
</html>
"""  # noqa: E501 - a policy is one line

# The expression interpreter works without eval, which the policy of the page forbids.
_DRAW = """vegaEmbed("#map", JSON.parse(document.getElementById("chart").textContent),
{ mode: "vega-lite", renderer: "canvas", actions: false, ast: true })
.then(() => { document.documentElement.dataset.drawn = "1"; });"""


def render_embedding_map(
    embeddings: NDArray[np.float32],
    titles: Sequence[str],
    groups: Sequence[str] | None,
    weights: NDArray[np.float32],
    cache: Path | None = None,
) -> str:
    """Return a self-contained page with one dot per item, which shows titles on hover and can be moved and zoomed.

    Of a large catalogue it shows the items with the most users, and evenly spaced items among those without users. The
    same arguments give the same bytes.

    Args:
        embeddings: `(n_items, embedding_size)` float32.
        titles: `(n_items)`, any text.
        groups: `(n_items)`, the group that gives each item its colour, grey where empty; None: all items are grey.
        weights: `(n_items)` number of users who interacted with each item.
        cache: of the plotting library, for `bundle_plotting`.
    """
    shown = _select_items(weights)
    points = _compute_positions(embeddings[shown])
    users = weights[shown].astype(np.int64)
    dots = pl.DataFrame(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "title": _shorten_texts(titles, shown),
            "group": _shorten_texts([""] * len(titles) if groups is None else groups, shown),
            "users": users,
            "state": np.where(users > 0, _WARM, _COLD),
        }
    )
    names = _select_groups(dots["group"])
    dots = dots.with_columns(pl.when(pl.col("group").is_in(names)).then("group").otherwise(pl.lit(_OTHER)))
    plotting = bundle_plotting(cache)
    total = format_count(len(titles), "item")
    return _PAGE.format(
        count=f"{len(shown):,} of {total}." if len(shown) < len(titles) else f"{total}.",
        chart=embed_json(_build_chart(dots, names)),
        plotting=plotting,
        draw=_DRAW,
        hashes=" ".join(f"'sha256-{hash_script(text)}'" for text in (plotting, _DRAW)),
    )


def group_items(items: pl.DataFrame, columns: Sequence[str]) -> list[str] | None:
    """Return each item's value in the first column that has any values; of a list (tags), its first member.

    Args:
        items: `Items`.
        columns: of the items.

    Returns:
        `(n_items)` strings, empty where the item has no value; None where no column has values.
    """
    for column in columns:
        values = items[column]
        if isinstance(values.dtype, pl.List):
            values = values.list.first()
        values = values.fill_null("").str.strip_chars()
        if (values != "").any():
            return values.to_list()
    return None


def _select_items(weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the numbers of the items to show, ascending; of equal weights the smaller item number is preferred."""
    if len(weights) <= _MAX_DOTS:
        return np.arange(len(weights))
    warm, cold = np.flatnonzero(weights > 0), np.flatnonzero(weights <= 0)
    n_cold = min(len(cold), max(_MIN_COLD_DOTS, _MAX_DOTS - len(warm)))
    most_popular = warm[np.argsort(-weights[warm], kind="stable")[: _MAX_DOTS - n_cold]]
    evenly_spaced = cold[np.arange(n_cold) * len(cold) // max(1, n_cold)]
    return np.sort(np.concatenate([most_popular, evenly_spaced]))


def _shorten_texts(texts: Sequence[str], shown: NDArray[np.int64]) -> pl.Series:
    """Return the texts of the shown items, cut where long: some catalogues have descriptions as titles."""
    selected = pl.Series(texts, dtype=pl.String).gather(shown)
    return selected.zip_with(selected.str.len_chars() <= _MAX_CHARACTERS, selected.str.head(_MAX_CHARACTERS) + "…")


def _compute_positions(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the position of each item on the map, -1 … 1, rounded to three decimals: finer steps are not visible."""
    if not len(embeddings):
        return np.zeros((0, 2))
    points = project_to_plane(embeddings)
    positions: NDArray[np.float64] = np.round(points / max(float(np.abs(points).max()), 1e-12), 3)
    # Adding 0.0 turns negative zeros, whose sign depends on the last bit, into zeros.
    return positions + 0.0


def _select_groups(groups: pl.Series) -> list[str]:
    """Return the groups that get a colour, the largest first, groups of equal size by name."""
    counts = groups.filter(groups != "").alias("group").value_counts(name="items")
    return counts.sort(["items", "group"], descending=[True, False])["group"].head(_MAX_GROUPS).to_list()


def _build_chart(dots: pl.DataFrame, names: list[str]) -> dict[str, Any]:
    """Return the Vega-Lite specification of the map."""
    domain = [name for name in names if name != _OTHER]
    rest = [_OTHER] if (dots["group"] == _OTHER).any() else []
    colours = [*PALETTE[: len(domain)], *[LIGHT["faint"] for _ in rest]]
    legend = {"title": None, "labelLimit": 180, "symbolOpacity": 1}
    axis = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False, "padding": 12}}
    tooltip = [("title", "title"), ("group", "group"), ("users", "users")]
    return {
        "description": "Map of the items' embeddings",
        "width": "container",
        "height": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {"font": "system-ui, sans-serif", "view": {"stroke": None}},
        "data": {"values": dots.to_dicts()},
        "params": [
            {"name": "moved", "select": "interval", "bind": "scales"},
            {"name": "chosen", "select": {"type": "point", "fields": ["group"]}, "bind": "legend"},
        ],
        "mark": {"type": "point", "filled": True, "size": 36, "strokeWidth": 0},
        "encoding": {
            "x": {"field": "x", **axis},
            "y": {"field": "y", **axis},
            "color": {
                "field": "group",
                "type": "nominal",
                "scale": {"domain": [*domain, *rest], "range": colours},
                "legend": {**legend, "symbolType": "circle"} if domain else None,
            },
            "shape": {
                "field": "state",
                "type": "nominal",
                "scale": {"domain": [_WARM, _COLD], "range": ["circle", "triangle-up"]},
                "legend": legend,
            },
            "opacity": {"condition": {"param": "chosen", "value": 0.75}, "value": 0.05},
            "tooltip": [{"field": field, "type": "nominal", "title": title} for field, title in tooltip],
        },
    }
