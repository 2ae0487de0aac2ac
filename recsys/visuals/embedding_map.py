"""The embedding map: a page on which every dot is an item, near to those whose texts the encoder finds alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.embedding_neighbors import project_to_plane
from recsys.visuals.html import bundle_plotting, embed_json, hash_script
from recsys.visuals.plots import GREY, PALETTE

# More dots hide each other and make the page slow.
_AT_MOST = 4_000
# Of the dots, the least that items nobody touched get where there are so many.
_UNTOUCHED = 1_000
# Groups with a colour of their own; the palette has as many.
_GROUPS = len(PALETTE)
_OTHER = "other"
_WARM, _COLD = "touched by users", "not yet touched"
_CHARACTERS = 200

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
<p>{told} Near each other: texts that the encoder finds alike. Point at a dot for its title, drag to move, turn the wheel
to come closer, double-click to go back, click a group in the legend to see it alone.</p>
</header>
<div id="map"></div>
<script type="application/json" id="chart">{chart}</script>
<script>{plotting}</script>
<script>{draw}</script>
</body>
</html>
"""  # noqa: E501 - a policy is one line

# The expression interpreter needs no eval, which the page's policy forbids.
_DRAW = """vegaEmbed("#map", JSON.parse(document.getElementById("chart").textContent),
{ mode: "vega-lite", renderer: "canvas", actions: false, ast: true })
.then(() => { document.documentElement.dataset.drawn = "1"; });"""


def render_embedding_map(
    embeddings: NDArray[np.float32], titles: Sequence[str], groups: Sequence[str] | None, weights: NDArray[np.float32]
) -> str:
    """Return a page that holds all it needs: one dot per item, its title under the pointer, to be moved and magnified.

    Of a large catalogue it shows the most touched items, and of those that nobody touched every so many-th. The same
    arguments give the same bytes.

    Args:
        embeddings: `(n_items, embedding_size)` float32.
        titles: `(n_items)`, any text.
        groups: `(n_items)`, what the items are coloured by, the empty ones grey; None: all have one colour.
        weights: `(n_items)` users who touched each item.
    """
    shown = _choose_items(weights)
    points = _place(embeddings[shown])
    users = weights[shown].astype(np.int64)
    dots = pl.DataFrame(
        {
            "x": points[:, 0],
            "y": points[:, 1],
            "title": _shorten(titles, shown),
            "group": _shorten([""] * len(titles) if groups is None else groups, shown),
            "users": users,
            "state": np.where(users > 0, _WARM, _COLD),
        }
    )
    names = _name_groups(dots["group"])
    dots = dots.with_columns(pl.when(pl.col("group").is_in(names)).then("group").otherwise(pl.lit(_OTHER)))
    plotting = bundle_plotting()
    return _PAGE.format(
        told=f"{len(shown):,} of {len(titles):,} items." if len(shown) < len(titles) else f"{len(titles):,} items.",
        chart=embed_json(_specify(dots, names)),
        plotting=plotting,
        draw=_DRAW,
        hashes=" ".join(f"'sha256-{hash_script(text)}'" for text in (plotting, _DRAW)),
    )


def group_items(items: pl.DataFrame, columns: Sequence[str]) -> list[str] | None:
    """Return each item's value in the first of the columns that says anything, of a list (tags) the first.

    Args:
        items: `Items`.
        columns: of the items.

    Returns:
        `(n_items)` strings, empty where there is none; None where no column says anything.
    """
    for column in columns:
        values = items[column]
        if isinstance(values.dtype, pl.List):
            values = values.list.first()
        values = values.fill_null("").str.strip_chars()
        if (values != "").any():
            return values.to_list()
    return None


def _choose_items(weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the numbers of the items to show, in order of their numbers; of equal weights the smaller comes first."""
    if len(weights) <= _AT_MOST:
        return np.arange(len(weights))
    touched, untouched = np.flatnonzero(weights > 0), np.flatnonzero(weights <= 0)
    few = min(len(untouched), max(_UNTOUCHED, _AT_MOST - len(touched)))
    most = touched[np.argsort(-weights[touched], kind="stable")[: _AT_MOST - few]]
    even = untouched[np.arange(few) * len(untouched) // max(1, few)]
    return np.sort(np.concatenate([most, even]))


def _shorten(texts: Sequence[str], shown: NDArray[np.int64]) -> pl.Series:
    """Return the chosen texts, the long ones cut: some catalogues have their descriptions as titles."""
    chosen = pl.Series(texts, dtype=pl.String).gather(shown)
    return chosen.zip_with(chosen.str.len_chars() <= _CHARACTERS, chosen.str.head(_CHARACTERS) + "…")


def _place(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return where the items lie, in thousandths of the widest distance from the middle: an eye sees no more."""
    if not len(embeddings):
        return np.zeros((0, 2))
    points = project_to_plane(embeddings)
    placed: NDArray[np.float64] = np.round(points / max(float(np.abs(points).max()), 1e-12), 3)
    # No negative zeros, which would depend on the last bit.
    return placed + 0.0


def _name_groups(groups: pl.Series) -> list[str]:
    """Return the groups that get a colour, the largest first, equals by name."""
    counts = groups.filter(groups != "").alias("group").value_counts(name="items")
    return counts.sort(["items", "group"], descending=[True, False])["group"].head(_GROUPS).to_list()


def _specify(dots: pl.DataFrame, names: list[str]) -> dict[str, Any]:
    """Return the chart in Vega-Lite's own words."""
    domain = [name for name in names if name != _OTHER]
    rest = [_OTHER] if (dots["group"] == _OTHER).any() else []
    colours = [*PALETTE[: len(domain)], *[GREY for _ in rest]]
    legend = {"title": None, "labelLimit": 180, "symbolOpacity": 1}
    axis = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False, "padding": 12}}
    told = [("title", "title"), ("group", "group"), ("users", "users who touched it")]
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
            "tooltip": [{"field": field, "type": "nominal", "title": title} for field, title in told],
        },
    }
