"""Verdicts of the notebooks follow from intervals."""

import numpy as np
import polars as pl
import pytest

from recsys.config import EvaluationConfig
from recsys.evaluation.answers import (
    describe_cold_items,
    describe_data,
    describe_neighbours,
    describe_new_users,
    describe_text_steps,
)

CONFIG = EvaluationConfig(bootstrap_samples=200)
USERS = [f"u{number:03}" for number in range(200)]
ROW = {"metric": "recall", "n": 10, "users": 60, "positives": 90, "enough": True, "low": 0.0, "high": 0.2}


def make_user_metrics(**means: float) -> pl.DataFrame:
    """Values that vary by user, the same way for every model, around each model's mean."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=(len(means), len(USERS)))
    frames = [
        pl.DataFrame({"user_id": USERS, "value": mean + noise[number]}).select(
            pl.lit(model).alias("model"),
            "user_id",
            pl.lit("ndcg").alias("metric"),
            pl.lit(10, dtype=pl.UInt16).alias("n"),
            "value",
        )
        for number, (model, mean) in enumerate(means.items())
    ]
    return pl.concat(frames)


def test_each_step_of_the_text_source_has_its_own_line_and_verdict() -> None:
    values = make_user_metrics(ours=0.9, text_zero_shot=0.5, text_fine_tuned=0.4, text=0.501)
    head, *lines = describe_text_steps(values, CONFIG, 0)
    assert head == "ndcg@10 of lists from text alone; each step is paired by user:"
    assert [line.split(": ")[::2] for line in lines] == [
        ["fine-tuning", "worse"],
        ["interest model on top", "better"],
        ["both together", "no clear difference"],
    ]
    assert lines[0] == "fine-tuning: -0.0953 [-0.1048, -0.0852], p = 0.005, 200 users: worse"


def test_steps_that_were_not_measured_are_left_out() -> None:
    lines = describe_text_steps(make_user_metrics(ours=0.9, text_fine_tuned=0.4, text=0.5), CONFIG, 0)
    assert [line.split(":")[0] for line in lines[1:]] == ["interest model on top"]
    lines = describe_text_steps(make_user_metrics(ours=0.9, text_zero_shot=0.4, text=0.5), CONFIG, 0)
    assert [line.split(":")[0] for line in lines[1:]] == ["interest model on top"]
    assert describe_text_steps(make_user_metrics(ours=0.9), CONFIG, 0) == [
        "The text source was not measured step by step."
    ]


@pytest.mark.parametrize(
    ("after", "moved"), [(0.9, "closer together"), (0.1, "farther apart"), (0.5, "about as close as before")]
)
def test_neighbours(after: float, moved: str) -> None:
    spread = np.random.default_rng(1).normal(scale=0.1, size=(2, 300))
    text = describe_neighbours(after + spread[0], 0.5 + spread[1], 0.2, "genre", CONFIG, 0)
    assert text.startswith(f"Items of one genre are {moved}: ")
    assert "(20.0% by chance)" in text


@pytest.mark.parametrize(
    ("users", "verdict"), [(600, "There is enough data to evaluate a recommender"), (20, "There is little data")]
)
def test_data(users: int, verdict: str) -> None:
    flags = {"without_history": False, "cold": False, "recommendable": True}
    rows = [{"user_id": f"u{number}", **flags} for number in range(users)]
    rows.append({"user_id": "new", **flags, "without_history": True})
    lengths, item_users = np.array([1, 2, 3]), np.array([90, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    lines = describe_data(pl.DataFrame(rows), lengths, item_users, CONFIG, 0)
    assert lines[0].startswith(f"{verdict}: {users} users can be measured")
    assert "100.0% [100.0%, 100.0%] had earlier events" in lines[2]
    assert lines[3] == (
        "The median user has 2 items. The most popular tenth of the items accounts for 90% of the user-item pairs, so "
        "popularity is a strong baseline."
    )


def compare(model: str, mean: float, low: float, high: float, **changes: object) -> dict[str, object]:
    ends = {"difference": (low + high) / 2, "difference_low": low, "difference_high": high, "p_value": 0.01}
    return ROW | {"model": model, "mean": mean} | ends | changes


class TestCold:
    segments = pl.DataFrame(
        [
            ROW | {"model": "ours", "mean": 0.1, "difference_low": None, "difference_high": None},
            compare("text", 0.12, -0.05, 0.01),
            compare("als", 0.0, 0.05, 0.15),
        ],
        infer_schema_length=None,
    )
    proposed = pl.DataFrame({"source": ["union", "text"], "mean": [0.5, 0.4], "low": [0.4, 0.3], "high": [0.6, 0.5]})
    outcomes = pl.DataFrame({"outcome": ["listed", "not proposed"], "positives": [9, 81], "share": [0.1, 0.9]})
    metrics = pl.DataFrame(
        [{"model": "ours", "metric": "cold_share", "n": 10, "mean": 0.05, "low": 0.04, "high": 0.06}]
    )

    def test_ours_against_models_without_texts(self) -> None:
        answer = describe_cold_items(
            self.segments, self.proposed, self.outcomes, self.metrics, ["als", "popular"], CONFIG
        )
        assert answer == (
            "Cold items (90 positives of 60 users): ours is ahead of the best model without texts (als), with a "
            "recall@10 of 0.100 [0.000, 0.200] against 0.000 [0.000, 0.200]; the best text-only model (text) has 0.120 "
            "[0.000, 0.200]. text proposes most of them: 40.0% [30.0%, 50.0%] of a user's. Most others are lost as "
            "'not proposed' (90% of all). Cold items fill 5.0% [4.0%, 6.0%] of lists."
        )

    def test_none_in_the_test_window(self) -> None:
        answer = describe_cold_items(self.segments.clear(), self.proposed, self.outcomes, self.metrics, ["als"], CONFIG)
        assert answer == "Cold items: the test window has no cold positives, so they cannot be measured."

    def test_new_users_are_few(self) -> None:
        few = {"metric": "ndcg", "enough": False}
        rows = [ROW | few | {"model": "ours", "mean": 0.1}, compare("blend", 0.2, -0.3, -0.1, **few)]
        answer = describe_new_users(pl.DataFrame(rows, infer_schema_length=None), CONFIG)
        assert answer.startswith("New users: ours is behind the best baseline (blend): ndcg@10 0.100 [0.000, 0.200] ")
        assert answer.endswith("p = 0.010, 60 users. Fewer than 30 users: not conclusive.")
        assert describe_new_users(self.segments, CONFIG) == "New users: none has a positive in the test window."
