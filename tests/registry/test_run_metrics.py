"""What a training measured, by its names in MLflow."""

import polars as pl
import pytest
from miniature import Trained

from recsys.artifacts.runs import Run, read_run
from recsys.registry.names import encode_name
from recsys.registry.run_metrics import name_curves, name_measured, name_metrics


@pytest.fixture(scope="module")
def run(trained: Trained) -> Run:
    return read_run(trained.home, trained.config.name)


@pytest.fixture(scope="module")
def named(run: Run) -> dict[str, dict[str, float]]:
    return name_metrics(run.metrics, run.segments, run.catalogue, 10)


def test_ours_is_compared_with_the_blend_and_each_baseline_with_ours(named: dict[str, dict[str, float]]) -> None:
    ours = {name for name in named["ours"] if name.startswith("vs_blend/")}
    assert {name.removeprefix("vs_blend/") for name in ours} == {
        name.removeprefix("ours_minus_this/") for name in named["als"] if name.startswith("ours_minus_this/")
    }
    assert named["ours"]["vs_blend/ndcg_at_10"] == pytest.approx(
        named["ours"]["ndcg_at_10"] - named["blend"]["ndcg_at_10"]
    )
    assert not [name for name in ours if "_at_5" in name]


def test_cold_items_are_one_group(named: dict[str, dict[str, float]], run: Run) -> None:
    cold = run.segments.filter(
        pl.col("model") == "text",
        pl.col("dimension") == "items",
        pl.col("segment") == "cold",
        pl.col("metric") == "recall",
    )
    assert named["text"]["cold/recall_at_10"] == cold["mean"][0]
    assert named["text"]["cold/recall_at_10_high"] == cold["high"][0]
    assert "cold/share_at_10" in named["text"]


def test_a_run_without_blend_or_cold_items(run: Run) -> None:
    alone = run.metrics.filter(pl.col("model") == "ours"), run.segments.clear(), run.catalogue
    names = name_metrics(*alone, 10)["ours"]
    assert not [name for name in names if name.startswith(("vs_blend", "cold/recall"))]


def test_losses_say_what_was_lost_and_where(run: Run) -> None:
    numbers = name_measured(run.measured)
    losses = run.measured["losses"]
    assert numbers["lost/by_ranking_ndcg_at_10"] == losses["ranker"][0]
    assert numbers["lost/by_retrieval_ndcg_at_10"] == losses["retrieval"][0]
    assert 0 < numbers["candidates/union_recall"] <= 1


def test_every_name_is_one_that_mlflow_takes(named: dict[str, dict[str, float]], run: Run) -> None:
    names = {name for numbers in named.values() for name in numbers} | set(name_measured(run.measured))
    for name in names | set(name_curves(run.curves)):
        group, _, last = name.rpartition("/")
        assert (encode_name(group), encode_name(last)) == (group, last)
        assert group.count("/") == 0
