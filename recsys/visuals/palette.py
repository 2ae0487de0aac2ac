"""The colours of everything that is drawn: report, monitor's page, plots of runs and notebooks.

The base is the palette of Okabe and Ito (2008), which people with red-green blindness can distinguish. A thing has the
same colour wherever it appears: ours, a source, an outcome of a positive. A test simulates deuteranopia and demands a
distance between any two colours of a chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ORANGE, SKY, GREEN, YELLOW = "#e69f00", "#56b4e9", "#009e73", "#f0e442"
BLUE, VERMILLION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"
PALE_GREY = "#c9cdd3"

# Groups without a meaning of their own, such as categories on a map, in this order.
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, "#4b5563")

# Sources with a colour of their own; all others share the grey `line-other`, and are named at the ends of their lines.
SOURCE_ROLES = {
    "als": "line-1",
    "item_to_item": "line-2",
    "transitions": "line-3",
    "ease": "line-4",
    "text": "line-5",
    "popular": "line-6",
}
OTHER_SOURCE = "line-other"

# What became of a positive, in pipeline order; `listed` is the success, so it has the colour of ours.
OUTCOME_ROLES = {
    "not recommendable": "outcome-1",
    "not proposed": "outcome-2",
    "cut at merge": "outcome-3",
    "ranked below n": "outcome-4",
    "lost to a rule": "outcome-5",
    "listed": "accent",
}

_SAME = {
    "line-1": ORANGE,
    "line-2": GREEN,
    "line-3": VERMILLION,
    "line-4": PURPLE,
    "line-5": SKY,
    "line-6": BLUE,
    "outcome-1": PALE_GREY,
    "outcome-2": VERMILLION,
    "outcome-3": YELLOW,
    "outcome-4": PURPLE,
    "outcome-5": GREEN,
    "on-outcome": "#111418",
    "blend": ORANGE,
    "popularity": GREEN,
}

LIGHT: Mapping[str, str] = {
    "page": "#f7f7f4",
    "surface": "#ffffff",
    "ink": "#1b2027",
    "soft-ink": "#5a6270",
    "rule": "#e3e4e1",
    "accent": BLUE,
    "accent-ink": "#00639c",
    "accent-wash": "#e9f3f9",
    "on-accent": "#ffffff",
    "muted": "#868d99",
    "faint": "#b6bbc3",
    "worse": VERMILLION,
    "worse-ink": "#a84a00",
    "band": "#e2ebe4",
    "line-other": "#4b5563",
    **_SAME,
}

DARK: Mapping[str, str] = {
    "page": "#12151a",
    "surface": "#1a1e25",
    "ink": "#f4f5f7",
    "soft-ink": "#a5adba",
    "rule": "#2d333d",
    "accent": SKY,
    "accent-ink": "#7cc5ee",
    "accent-wash": "#1d2c3a",
    "on-accent": "#111418",
    "muted": "#8b93a1",
    "faint": "#565e6b",
    "worse": VERMILLION,
    "worse-ink": "#ff9a5c",
    "band": "#24352f",
    "line-other": "#c3c9d2",
    **_SAME,
}


def write_css() -> str:
    """Return both themes as CSS variables; a page follows the reader's system, and prints in the light one."""
    light, dark = (" ".join(f"--{name}: {colour};" for name, colour in theme.items()) for theme in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {dark} }} }}\n"
    )


def colour_sources(sources: Iterable[str]) -> dict[str, str]:
    """Return the role of each source's colour."""
    return {source: SOURCE_ROLES.get(source, OTHER_SOURCE) for source in sources}
