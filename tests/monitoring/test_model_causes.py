"""Which cause is named when outcomes, features or vectors move."""

import pytest

from recsys.monitoring.cause import Movement, Picture
from recsys.monitoring.causes import CAUSES
from recsys.monitoring.falls import Loss
from recsys.monitoring.reference import Expected

NORMAL = Expected(0.1, 0.08, None, 28)


def name_causes(moved: dict[str, str], losses: dict[str, Loss]) -> list[str]:
    movements = {name: Movement(name, 0.0, NORMAL, direction, 2.0) for name, direction in moved.items()}
    picture = Picture(movements, {}, (), losses)
    return [cause.name for cause in CAUSES if cause.holds(picture)]


def lose(ours: float, blend: float, popularity: float, error: float = 0.05) -> dict[str, Loss]:
    return {
        name: Loss(share, error) for name, share in (("sample", ours), ("blend", blend), ("popularity", popularity))
    }


FALLEN = {"outcomes.week.ndcg": "low"}


def test_only_ours_fell() -> None:
    assert name_causes(FALLEN, lose(0.5, 0.0, 0.0))[0] == "lists_worse"


def test_all_fell() -> None:
    assert name_causes(FALLEN, lose(0.5, 0.5, 0.4))[0] == "world_changed"


def test_the_sources_behind_blend_and_ranker_fell() -> None:
    lists_worse = next(cause for cause in CAUSES if cause.name == "lists_worse")
    assert lists_worse.detail is not None
    stale = lists_worse.detail(Picture({}, {}, (), lose(0.5, 0.5, 0.0)))
    assert stale == "the blend of the same sources fell too, so the fitted sources are out of date"
    ranker = lists_worse.detail(Picture({}, {}, (), lose(0.5, 0.0, 0.0)))
    assert ranker.endswith("so the fault is in the ranker, its features or the rules")
    assert lists_worse.detail(Picture({}, {}, ())) == ""


def test_too_few_nights_or_no_baselines_say_nothing() -> None:
    for losses in (lose(0.5, 0.5, 0.2), lose(0.9, 0.9, 0.9, error=0.5), {}):
        assert name_causes(FALLEN, losses) == ["outcomes_low", *name_causes({}, {})]


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
        ("data.vectors_missing.image", "vectors_missing"),
        ("lists.short_share", "fallback"),
    ],
)
def test_a_figure_alone(figure: str, cause: str) -> None:
    assert name_causes({figure: "high"}, {})[0] == cause


def test_which_causes_ask_for_a_training() -> None:
    assert {cause.name for cause in CAUSES if cause.retrain} == {
        *("lists_worse", "scores_shifted", "features_shifted", "catalogue_shifted", "many_new_texts"),
    }
