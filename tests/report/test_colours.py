"""Colours of one chart stay apart for people with deuteranopia, the most common colour blindness, in both themes."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_page import Reader

from recsys.visuals.palette import DARK, LIGHT, PALETTE

# Machado, Oliveira and Fernandes (2009), deuteranopia of severity 1, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
# In CIELAB; a difference of 2 is just visible side by side. The palette of Okabe and Ito has 17.
LEAST = 15.0
# Backgrounds, lines of axes, and numbers written on bars.
GROUNDS = {"surface", "page", "rule", "soft-ink", "on-accent", "on-outcome"}
THEMES = {"light": LIGHT, "dark": DARK}


def see(colour: str) -> NDArray[np.float64]:
    """A colour in CIELAB as people with deuteranopia see it."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    relative = TO_XYZ @ np.clip(DEUTERANOPIA @ linear, 0, 1) / WHITE
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def find_near(colours: set[str]) -> dict[tuple[str, str], float]:
    """Pairs of colours that are too close."""
    distances = {pair: float(np.linalg.norm(see(pair[0]) - see(pair[1]))) for pair in combinations(sorted(colours), 2)}
    return {pair: distance for pair, distance in distances.items() if distance < LEAST}


def test_the_simulation_merges_red_and_green_and_keeps_black_and_white() -> None:
    assert np.linalg.norm(see("#c85a00") - see("#7d8000")) < LEAST
    assert find_near({"#000000", "#ffffff"}) == {}


@pytest.mark.parametrize("theme", THEMES)
def test_colours_of_one_chart_stay_apart(handmade_page: Path, theme: str) -> None:
    charts = Reader(handmade_page.read_text("utf-8")).json("charts")["charts"]
    used = {
        name: set(re.findall(r"var\(--([a-z0-9-]+)\)", json.dumps(spec))) - GROUNDS for name, spec in charts.items()
    }
    assert {"outcome-1", "outcome-2", "outcome-3", "outcome-4", "accent"} <= used["outcomes"]
    assert len(used["depths"]) > 5
    near = {name: find_near({THEMES[theme][role] for role in roles}) for name, roles in used.items()}
    assert {name: pairs for name, pairs in near.items() if pairs} == {}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(
    "roles",
    [
        ("outcome-1", "outcome-2", "outcome-3", "outcome-4", "outcome-5", "accent"),
        ("line-1", "line-2", "line-3", "line-4", "line-5", "line-6", "line-other", "ink"),
        ("accent", "blend", "popularity", "worse"),
    ],
    ids=["outcomes", "sources", "monitor"],
)
def test_colours_that_may_meet_stay_apart(theme: str, roles: tuple[str, ...]) -> None:
    assert find_near({THEMES[theme][role] for role in roles}) == {}


def test_colours_of_plots_stay_apart() -> None:
    assert find_near(set(PALETTE)) == {}
