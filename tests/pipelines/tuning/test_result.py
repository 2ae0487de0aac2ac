"""The winner of a search, and which trials are pruned."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature import settings

from recsys.config import Config, parse_config
from recsys.errors import DataError
from recsys.pipelines.tuning.result import (
    Trial,
    Tuned,
    Verdict,
    describe_search,
    judge,
    summarise_search,
)
from recsys.pipelines.tuning.trials import Score, compare_scores, find_prune_reason

USERS = 400
BASE = np.random.default_rng(0).uniform(0.2, 0.6, USERS)


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(settings(), "test")


def score(shift: float, seconds: float, noise: float = 0.01, seed: int = 1) -> Score:
    """A trial whose users gain `shift` on average, with noise of mean zero."""
    jitter = np.random.default_rng(seed).normal(0.0, noise, USERS)
    users = pl.DataFrame({"user_id": [f"u{number:03d}" for number in range(USERS)]})
    return Score(users.with_columns(pl.Series("value", BASE + shift + jitter - jitter.mean())), seconds)


def decide(scores: list[Score], config: Config) -> Verdict:
    trials = [
        Trial(number, "complete", {"ranking.min_data_in_leaf": number} if number else {}, float(one.values.mean()),
              seconds=one.seconds, rung=2)
        for number, one in enumerate(scores)
    ]  # fmt: skip
    lost = [Trial(90, "pruned", {"ranking.min_data_in_leaf": 90}, 0.9, seconds=0.1, rung=1), Trial(91, "failed", {})]
    return judge([*trials, *lost], dict(enumerate(scores)), config)


def test_the_fastest_trial_as_good_as_the_best_wins(config: Config) -> None:
    # 1 is the best; 2 is as good within the noise and faster; 3 is even faster but clearly worse.
    found = decide([score(-0.05, 9.0), score(0.001, 8.0), score(0.0, 5.0, seed=2), score(-0.05, 1.0)], config)
    assert (found.best.number, found.winner.number) == (1, 2)
    assert [trial.number for trial in found.front] == [3, 2, 1]
    assert found.behind[2].low < 0 <= found.behind[2].high
    assert found.behind[3].high < 0
    assert found.reason.startswith("trial 2 wins: it is as good as the best, trial 1, within the interval (-0.0010 [")
    assert found.reason.endswith("and faster: 5.0 s against 8.0 s")
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0.05)


def test_among_equal_run_times_the_higher_quality_wins(config: Config) -> None:
    found = decide([score(0.0, 5.0), score(0.001, 5.2, seed=2), score(-0.05, 1.0)], config)
    assert found.winner.number == found.best.number == 1
    assert "it is the best, and no faster trial is equally good within the interval" in found.reason


def test_the_original_config_may_win(config: Config) -> None:
    found = decide([score(0.1, 1.0), score(0.0, 2.0)], config)
    assert (found.winner.number, found.gain) == (0, None)
    assert [trial.number for trial in found.front] == [0]


@pytest.mark.parametrize(
    ("shift", "seconds", "noise", "ends"),
    [
        (-0.05, 2.0, 0.01, True),
        # Clearly worse, but faster: it may be on the front.
        (-0.05, 1.5, 0.01, False),
        # A small difference does not count as faster.
        (-0.05, 1.95, 0.01, True),
        # Slower, and worse by less than the interval.
        (-0.001, 9.0, 0.2, False),
        (0.05, 9.0, 0.01, False),
    ],
)
def test_a_trial_is_pruned_if_it_is_clearly_worse_and_not_faster(
    shift: float, seconds: float, noise: float, ends: bool, config: Config
) -> None:
    reason = find_prune_reason(score(shift, seconds, noise, seed=3), score(0.0, 2.0), config)
    assert (reason is not None) == ends
    if reason:
        assert f"{shift:+.4f} [" in reason
        assert f"in {seconds:.1f} s against 2.0 s" in reason


def test_other_users_are_refused(config: Config) -> None:
    one = score(0.0, 1.0)
    with pytest.raises(DataError, match="400 and 399 users that differ"):
        compare_scores(one, Score(one.users.tail(-1), 1.0), config)


def test_the_printed_result(config: Config) -> None:
    verdict = decide([score(-0.05, 9.0), score(0.0, 5.0)], config)
    trials = [verdict.winner, Trial(0, "complete", {}, 0.35, seconds=9.0, rung=2), Trial(2, "failed", {}, reason="no")]
    tuned = Tuned("mini-1", trials, verdict, 400, "2025-01-27T00:00", {"ranking.min_data_in_leaf": 30}, Path("w.yaml"))
    lines = summarise_search(tuned)
    assert "  ranking.min_data_in_leaf: 30 -> 1" in lines
    assert lines[1].startswith("against the original config: +0.0500 [")
    assert lines[-1] == "written to w.yaml; a training with it measures it on the test window"
    assert describe_search(tuned)["front"] == [1]
    stays = decide([score(0.1, 1.0), score(0.0, 2.0)], config)
    kept = Tuned("mini-1", trials, stays, 400, "", {}, Path("w.yaml"))
    assert summarise_search(kept)[-1] == "no better setting found; w.yaml is a copy of your config"
