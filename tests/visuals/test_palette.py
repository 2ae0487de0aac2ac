"""The palette: roles for every outcome, and both themes complete."""

from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.visuals.palette import DARK, LIGHT, OUTCOME_ROLES, SOURCE_ROLES, colour_sources, write_css


def test_both_themes_define_the_same_roles_and_every_outcome_and_source_has_one() -> None:
    assert set(LIGHT) == set(DARK)
    assert tuple(OUTCOME_ROLES) == OUTCOMES
    assert {*OUTCOME_ROLES.values(), *SOURCE_ROLES.values(), "line-other"} <= set(LIGHT)
    assert len(set(OUTCOME_ROLES.values())) == len(OUTCOMES)
    assert colour_sources(["als", "my_plugin"]) == {"als": "line-1", "my_plugin": "line-other"}


def test_the_css_has_a_light_theme_and_a_dark_one_for_screens() -> None:
    light, dark = write_css().split("@media screen and (prefers-color-scheme: dark)")
    assert f"--accent: {LIGHT['accent']};" in light
    assert f"--accent: {DARK['accent']};" in dark
