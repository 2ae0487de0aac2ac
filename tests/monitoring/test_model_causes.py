"""Which cause is named when outcomes, features or vectors move."""

import pytest

from recsys.monitoring.cause import Movement, Picture
from recsys.monitoring.causes import CAUSES
from recsys.monitoring.reference import Expected

NORMAL = Expected(0.1, 0.08, None, 28)


def name_causes(moved: dict[str, str], figures: dict[str, float]) -> list[str]:
    movements = {
        name: Movement(name, figures.get(name, 0.0), NORMAL, direction, 2.0) for name, direction in moved.items()
    }
    expected = {f"outcomes.week.{name}_ndcg": NORMAL for name in ("sample", "blend", "popularity")}
    picture = Picture(movements, figures, (), expected)
    return [cause.name for cause in CAUSES if cause.holds(picture)]


def weeks(ours: float, blend: float, popularity: float) -> dict[str, float]:
    return {
        "outcomes.week.sample_ndcg": ours,
        "outcomes.week.blend_ndcg": blend,
        "outcomes.week.popularity_ndcg": popularity,
    }


FALLEN = {"outcomes.week.ndcg": "low"}


def test_only_ours_fell() -> None:
    assert name_causes(FALLEN, weeks(0.05, 0.1, 0.1))[0] == "lists_worse"


def test_all_fell() -> None:
    assert name_causes(FALLEN, weeks(0.05, 0.05, 0.06))[0] == "world_changed"


def test_the_sources_behind_blend_and_ranker_fell() -> None:
    lists_worse = next(cause for cause in CAUSES if cause.name == "lists_worse")
    expected = {f"outcomes.week.{name}_ndcg": NORMAL for name in ("sample", "blend", "popularity")}
    assert lists_worse.detail is not None
    stale = lists_worse.detail(Picture({}, weeks(0.05, 0.05, 0.1), (), expected))
    assert stale == "the blend of the same sources fell with them, so the fitted sources are out of date"
    ranker = lists_worse.detail(Picture({}, weeks(0.05, 0.1, 0.1), (), expected))
    assert ranker.endswith("so the fault is in the ranker, its features or the rules")
    assert lists_worse.detail(Picture({}, {}, ())) == ""


def test_no_hit_at_all() -> None:
    assert name_causes(FALLEN, weeks(0.0, 0.1, 0.1))[0] == "lists_worse"
    assert name_causes(FALLEN, weeks(0.0, 0.0, 0.0))[0] == "world_changed"


def test_without_baselines_nothing_is_claimed() -> None:
    assert name_causes(FALLEN, {}) == ["outcomes_low", *name_causes({}, {})]


@pytest.mark.parametrize(
    ("figure", "cause"),
    [
        ("model.feature_ks.als_z", "features_shifted"),
        ("model.feature_missing", "features_shifted"),
        ("model.score_ks", "scores_shifted"),
        ("model.vector_change", "encoder_changed"),
        ("model.centroid_shift", "catalogue_shifted"),
        ("identity.vector_moved", "meanings_moved"),
        ("data.new_texts", "many_new_texts"),
        ("lists.short_share", "fallback"),
    ],
)
def test_a_figure_alone(figure: str, cause: str) -> None:
    assert name_causes({figure: "high"}, {})[0] == cause


def test_which_causes_ask_for_a_training() -> None:
    assert {cause.name for cause in CAUSES if cause.retrain} == {
        *("lists_worse", "scores_shifted", "features_shifted", "catalogue_shifted", "many_new_texts"),
    }
