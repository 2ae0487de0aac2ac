import numpy as np
import polars as pl
import pytest
from miniature import change, settings

from recsys.config import Config, parse_config
from recsys.registry.gate import Decision, decide
from recsys.tables import UserMetrics, check

USERS = 200


@pytest.fixture(scope="module")
def config() -> Config:
    # The lower bound may be a loss of up to 5 % of the rival's mean.
    return change(parse_config(settings(), "test"), registry={"max_relative_loss": 0.05})


def metrics(values: object, metric: str = "ndcg", n: int = 10, first_user: int = 0) -> pl.DataFrame:
    numbers = np.asarray(values, dtype=np.float64)
    frame = pl.DataFrame(
        {
            "model": "ours",
            "user_id": [f"u{number + first_user:04d}" for number in range(len(numbers))],
            "metric": metric,
            "n": pl.Series([n] * len(numbers), dtype=pl.UInt16),
            "value": numbers,
        }
    )
    return check(UserMetrics, frame, "test metrics", "fix the test")


def noise(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(0.0, 0.05, USERS)


BASE = np.random.default_rng(9).uniform(0.2, 0.8, USERS)


def test_clearly_better_is_promoted(config: Config) -> None:
    decision = decide(metrics(BASE + 0.1 + noise(0)), metrics(BASE), "champion version 3", config)
    assert decision.promoted
    assert decision.users == USERS
    assert decision.rival == "champion version 3"
    assert decision.low < decision.difference < decision.high
    assert decision.difference == pytest.approx(0.1, abs=0.02)
    assert decision.low > 0.05


def test_clearly_worse_is_refused_with_the_numbers(config: Config) -> None:
    worse = BASE - 0.1 + noise(0)
    decision = decide(metrics(worse), metrics(BASE), "champion version 3", config)
    assert not decision.promoted
    for number in (
        f"ndcg@10 {worse.mean():.4f} against {BASE.mean():.4f} of champion version 3 on 200 users",
        f"{decision.difference:+.4f} [{decision.low:+.4f}, {decision.high:+.4f}]",
        f"lower bound exceeds the allowed loss of {0.05 * BASE.mean():.4f}",
    ):
        assert number in decision.reason


def test_a_better_mean_with_a_wide_interval_is_refused(config: Config) -> None:
    # One user gains much, the others lose a little: the mean is better, but the interval is wide.
    ours = BASE - 0.04
    ours[0] += 9.0
    decision = decide(metrics(ours), metrics(BASE), "champion", config)
    assert decision.difference > 0
    assert not decision.promoted


def test_only_the_mean_of_a_first_champion_counts(config: Config) -> None:
    unsure = BASE - 0.04
    unsure[0] += 9.0
    decision = decide(metrics(unsure), metrics(BASE), "popular", config, first=True)
    assert decision.promoted
    assert decision.low < -0.05 * BASE.mean()
    assert "mean is within the allowed loss of" in decision.reason
    worse = decide(metrics(BASE * 0.94), metrics(BASE), "popular", config, first=True)
    assert not worse.promoted
    assert "mean exceeds the allowed loss of" in worse.reason


def test_a_small_certain_loss_is_promoted(config: Config) -> None:
    decision = decide(metrics(BASE * 0.97), metrics(BASE), "champion", config)
    assert decision.high < 0
    assert decision.promoted
    assert not decide(metrics(BASE * 0.94), metrics(BASE), "champion", config).promoted


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_is_promoted(loss: float, value: float, config: Config) -> None:
    strict = change(config, registry={"max_relative_loss": loss})
    decision = decide(metrics([value] * 5), metrics([value] * 5), "champion", strict)
    assert decision.promoted
    assert (decision.low, decision.difference, decision.high) == (0.0, 0.0, 0.0)


def test_only_shared_users_and_the_config_metric_count(config: Config) -> None:
    ours = pl.concat([metrics([0.5] * 10), metrics([0.0] * 10, metric="recall"), metrics([0.0] * 10, n=5)])
    # Users 5 to 9 are shared; the rival has only misses for its other users.
    theirs = pl.concat([metrics([0.4] * 5, first_user=5), metrics([0.0] * 90, first_user=10)])
    decision = decide(ours, theirs, "champion", config)
    assert decision.users == 5
    assert decision.difference == pytest.approx(0.1)
    assert "against 0.4000 of champion on 5 users" in decision.reason


@pytest.mark.parametrize(
    "theirs",
    [metrics([0.5] * 3, first_user=50), metrics([0.5] * 3, n=20), metrics([0.5]).clear()],
    ids=["users", "n", "none"],
)
def test_nothing_shared_is_refused(theirs: pl.DataFrame, config: Config) -> None:
    decision = decide(metrics([0.5] * 3), theirs, "champion version 3", config)
    assert decision == Decision(
        False, "no user has ndcg@10 with both the challenger and champion version 3", "champion version 3", 0, 0, 0, 0
    )


def test_the_order_of_the_rows_changes_nothing(config: Config) -> None:
    ours, theirs = metrics(BASE + noise(1)), metrics(BASE)
    assert decide(ours.reverse(), theirs, "c", config) == decide(ours, theirs.sample(fraction=1, seed=3), "c", config)


def test_the_upper_bound_of_a_first_champion_does_not_count(config: Config) -> None:
    # The interval of the difference reaches far above zero, but its mean is a loss of 10 %.
    spread = np.random.default_rng(4).normal(0.0, 1.5, USERS)
    unsure = BASE - 0.1 * BASE.mean() + spread - spread.mean()
    decision = decide(metrics(unsure), metrics(BASE), "popular", config, first=True)
    assert decision.high > 0
    assert decision.difference < -0.05 * BASE.mean()
    assert not decision.promoted


def test_the_interval_has_the_confidence_of_the_config(config: Config) -> None:
    spread = np.random.default_rng(5).normal(0.0, 0.1, USERS)
    ours = BASE - 0.02 + spread - spread.mean()
    sure, unsure = (
        decide(metrics(ours), metrics(BASE), "champion", change(config, evaluation={"confidence": confidence}))
        for confidence in (0.999, 0.2)
    )
    assert sure.difference == unsure.difference
    assert sure.low < unsure.low < unsure.high < sure.high
    # It decides: at 20 % confidence the lower bound is within the allowed loss, at 99.9 % it is not.
    assert (sure.promoted, unsure.promoted) == (False, True)
