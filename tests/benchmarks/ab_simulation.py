"""How often the intervals of `recsys ab` hold, how often looking daily misleads, and what tests read like.

    python tests/benchmarks/ab_simulation.py
    python tests/benchmarks/ab_simulation.py --parts 2 5

Users act on their lists a Poisson number of times a day, at a rate of their own (gamma distributed), for 28 days; the
four weeks before tell the rate (CUPED). 500 simulations per row, fixed seeds. The last part publishes the lists of a
small shop and prints what `recsys ab` prints, for true lifts of 0, +5 % and −5 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from lists_of_two import make_config, make_shop

from recsys.cli.ab_tables import list_remarks, metric_table
from recsys.evaluation.confidence_sequence import sequence_width
from recsys.evaluation.two_samples import Sample, check_sample_ratio, compare
from recsys.monitoring.ab import RATIO_ALARM, Plan, find_smallest_lift
from recsys.monitoring.power import predict_days
from recsys.pipelines.ab import Question, run_ab

DAYS, CONFIDENCE = 28, 0.95
WIDTHS = np.array([sequence_width(day, DAYS, CONFIDENCE) for day in range(1, DAYS + 1)])
FIXED = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
Values = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Users whose rates per day are gamma distributed.

    Attributes:
        users: number of them.
        rate: mean number of hits per user and day.
        variety: squared relative spread of the rates; 0: all users alike.
        share: of the treatment.
    """

    users: int
    rate: float = 0.05
    variety: float = 1.0
    share: float = 0.5

    def draw(self, lift: float, seed: int, looks: int = DAYS) -> tuple[NDArray[np.int32], NDArray[np.bool_], Values]:
        """Return hits between looks (n_users, looks), who is treated, and log(1 + hits) of the four weeks before."""
        rng = np.random.default_rng(seed)
        spread = rng.gamma(1 / self.variety, self.variety, self.users) if self.variety else np.ones(self.users)
        treated = rng.random(self.users) < self.share
        rates = self.rate * spread
        expected = rates * np.where(treated, 1 + lift, 1.0) * DAYS / looks
        hits = rng.poisson(expected[:, None], (self.users, looks))
        return hits.astype(np.int32), treated, np.log1p(rng.poisson(DAYS * rates))

    def expect(self, metric: str, lift: float, days: int = DAYS) -> float:
        """Return the mean of a metric at a lift, over all possible users."""
        mean = days * self.rate * (1 + lift)
        if metric == "hits":
            return mean
        return 1 - (1 + mean * self.variety) ** (-1 / self.variety) if self.variety else 1 - float(np.exp(-mean))


MEASURES: dict[str, Callable[[NDArray[np.int32]], Values]] = {
    "hits": lambda hits: hits.astype(np.float64),
    "hit": lambda hits: (hits > 0).astype(np.float64),
}


def show_coverage(simulations: int) -> None:
    """Print how often each interval covers the true difference after 28 days, and how often it excludes 0."""
    print("\n1. Coverage of 95 % intervals after 28 days; in brackets the share of simulations that exclude 0")
    print(f"{'users':>6} {'metric':>6} {'lift':>6} {'fixed':>14} {'CUPED':>14} {'sequence':>14} {'variance left':>14}")
    for users in (200, 2000, 20_000):
        world = World(users)
        for metric in MEASURES:
            for lift in (0.0, 0.05, -0.05):
                rows = [_cover(world, metric, lift, seed) for seed in range(simulations)]
                covered, left = np.array([row[0] for row in rows]), np.mean([row[1] for row in rows])
                cells = [f"{covered[:, 0, k].mean():.3f} ({covered[:, 1, k].mean():.3f})" for k in range(3)]
                line = " ".join(f"{cell:>14}" for cell in (*cells, f"{left:.2f}"))
                print(f"{users:>6} {metric:>6} {lift:>+6.0%} {line}")


def _cover(world: World, metric: str, lift: float, seed: int) -> tuple[list[list[bool]], float]:
    hits, treated, before = world.draw(lift, seed, 1)
    values = MEASURES[metric](hits.sum(axis=1))
    truth = world.expect(metric, lift) - world.expect(metric, 0.0)
    plain = compare(Sample(values, treated), CONFIDENCE, None)
    adjusted = compare(Sample(values, treated, before), CONFIDENCE, None)
    half = WIDTHS[-1] * adjusted.standard_error
    ends = [
        (plain.low, plain.high),
        (adjusted.low, adjusted.high),
        (adjusted.difference - half, adjusted.difference + half),
    ]
    covers = [low <= truth <= high for low, high in ends]
    return [covers, [not low <= 0 <= high for low, high in ends]], float(adjusted.variance_left or 1.0)


def show_peeking(simulations: int) -> None:
    """Print how often at least one of 28 daily looks claims a difference where there is none."""
    print("\n2. False alarms in at least one of 28 daily looks, true lift 0")
    print(f"{'users':>6} {'metric':>6} {'users differ':>13} {'fixed interval':>15} {'sequence':>9}")
    for users in (200, 2000):
        for variety in (0.0, 1.0, 4.0):
            for metric in MEASURES:
                world = World(users, variety=variety)
                statistics = np.array([_looks(world, metric, 0.0, 10_000 + seed) for seed in range(simulations)])
                fixed, sequence = ((np.abs(statistics) > limit).any(axis=1).mean() for limit in (FIXED, WIDTHS))
                print(f"{users:>6} {metric:>6} {_VARIETY[variety]:>13} {fixed:>15.3f} {sequence:>9.3f}")


_VARIETY = {0.0: "not at all", 1.0: "much", 4.0: "very much"}


def _looks(world: World, metric: str, lift: float, seed: int) -> Values:
    """Return the difference in standard errors at each look, as `compare` gives it."""
    hits, treated, _ = world.draw(lift, seed)
    values = MEASURES[metric](hits.cumsum(axis=1))
    control, treatment = values[~treated], values[treated]
    variance = control.var(axis=0, ddof=1) / len(control) + treatment.var(axis=0, ddof=1) / len(treatment)
    difference = treatment.mean(axis=0) - control.mean(axis=0)
    statistics: Values = np.divide(difference, np.sqrt(variance), out=np.zeros(len(variance)), where=variance > 0)
    # `decide` asks for 20 users with an outcome.
    return np.where((values > 0).sum(axis=0) >= 20, statistics, 0.0)


def show_power(simulations: int) -> None:
    """Print how often the lift that shows in 80 % of tests, as predicted, is shown."""
    print("\n3. Power: a true lift as large as the smallest that was predicted to show in 80 % of tests")
    print(f"{'users':>6} {'metric':>6} {'looks':>6} {'lift':>7} {'shown':>7}")
    for users in (2000, 20_000):
        world = World(users)
        for metric in MEASURES:
            for looks in ("once", "daily"):
                lifts = [_predict_lift(world, metric, looks, 20_000 + seed) for seed in range(20)]
                lift = float(np.median(lifts))
                # A hit saturates: the lift of the rate is larger than that of the share of users.
                rate = _find_rate(world, metric, lift)
                shown = np.mean([_is_shown(world, metric, looks, rate, 30_000 + seed) for seed in range(simulations)])
                print(f"{users:>6} {metric:>6} {looks:>6} {lift:>7.1%} {shown:>7.3f}")


def _plan(looks: str) -> Plan:
    return Plan(looks=looks, confidence=CONFIDENCE, horizon_days=DAYS)  # type: ignore[arg-type]


def _predict_lift(world: World, metric: str, looks: str, seed: int) -> float:
    hits, treated, before = world.draw(0.0, seed, 1)
    sample = Sample(MEASURES[metric](hits.sum(axis=1)), treated, before)
    return float(find_smallest_lift(compare(sample, CONFIDENCE), DAYS, _plan(looks)) or np.nan)


def _find_rate(world: World, metric: str, lift: float) -> float:
    """Return the lift of the rate that gives a lift of the metric."""
    low, high = 0.0, 5.0
    wanted = (1 + lift) * world.expect(metric, 0.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if world.expect(metric, middle) < wanted else (low, middle)
    return low


def _is_shown(world: World, metric: str, looks: str, lift: float, seed: int) -> bool:
    hits, treated, before = world.draw(lift, seed, 1)
    effect = compare(Sample(MEASURES[metric](hits.sum(axis=1)), treated, before), CONFIDENCE, None)
    limit = FIXED if looks == "once" else WIDTHS[-1]
    return abs(effect.statistic) > limit


def show_prediction(simulations: int) -> None:
    """Print the days predicted after a week for a wished lift, next to the days that it took."""
    print("\n4. Days until a wished lift would show, predicted after 7 days, next to those that it took (20,000 users)")
    print(f"{'metric':>6} {'users differ':>13} {'wished':>7} {'took':>6} {'predicted, median [80 % of tests]':>34}")
    for metric in MEASURES:
        for variety in (0.0, 1.0):
            took, world = 21, World(20_000, variety=variety)
            paths = np.array([_list_lifts(world, metric, 40_000 + seed, took) for seed in range(simulations)])
            wished = float(np.median(paths[:, -1]))
            days = [predict_days(range(1, 8), path[:7], wished) for path in paths]
            low, middle, high = np.quantile([np.inf if day is None else day for day in days], [0.1, 0.5, 0.9])
            predicted = f"{middle:.0f} [{low:.0f}, {high:.0f}]"
            print(f"{metric:>6} {_VARIETY[variety]:>13} {wished:>7.1%} {took:>6} {predicted:>34}")


def _list_lifts(world: World, metric: str, seed: int, later: int) -> list[float]:
    """Return the smallest lift after each of the first seven days, and after a later day."""
    hits, treated, before = world.draw(0.0, seed)
    values = MEASURES[metric](hits.cumsum(axis=1))
    samples = [Sample(values[:, day - 1], treated, before).without_useless_covariate() for day in (*range(1, 8), later)]
    return [float(compare(sample, CONFIDENCE).smallest_lift or np.nan) for sample in samples]


def show_sample_ratio(simulations: int) -> None:
    """Print how often the numbers of users raise an alarm."""
    many = 40 * simulations
    print(
        f"\n5. Sample-ratio alarms (p < 0.001), where a share of the treatment's users is lost; {many:,} simulations of"
    )
    print(f"no loss, {simulations:,} of the others")
    print(f"{'users':>7} {'share':>6} {'no loss':>9} {'5 % lost':>9} {'20 % lost':>10}")
    rng = np.random.default_rng(0)
    for users, share in ((800, 0.5), (5000, 0.1), (20_000, 0.5), (20_000, 0.05)):
        alarms = []
        for lost, draws in ((0.0, many), (0.05, simulations), (0.2, simulations)):
            planned = rng.binomial(users, share, draws)
            pairs = np.stack([users - planned, rng.binomial(planned, 1 - lost)], axis=1)
            different, counts = np.unique(pairs, axis=0, return_counts=True)
            found = [check_sample_ratio(int(a), int(b), share) < RATIO_ALARM for a, b in different]
            alarms.append(float(np.average(found, weights=counts)))
        print(f"{users:>7} {share:>6.2f} {alarms[0]:>9.4f} {alarms[1]:>9.3f} {alarms[2]:>10.3f}")


def show_readouts(users: int, nights: int) -> None:
    """Print what the command prints, for three true lifts."""
    print(f"\n6. What `recsys ab OUTCOMES --metric hits --effect 0.03` prints: {users:,} users, {nights} nights")
    config, console = make_config(), Console(width=110)
    for effect in (0.0, 0.05, -0.05):
        print(f"\n--- true lift {effect:+.0%}")
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            events = make_shop(home, config, users=users, nights=nights, effect=effect, seed=7)
            path = Path(folder) / "outcomes.csv"
            events.write_csv(path)
            question = Question(Plan(lift=0.03), metric="hits")
            result = run_ab(config, home, str(path), question, datetime(2026, 1, 1, tzinfo=UTC))
        console.print(metric_table(result))
        print(result.sentence)
        print("\n".join(f"{name}: {text}" for name, text in list_remarks(result).items()))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--users", type=int, default=30_000, help="users of the shop that is read out")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6], help="numbers of the tables")
    given = parser.parse_args()
    parts: list[tuple[Callable[..., None], tuple[int, ...]]] = [
        (show_coverage, (given.simulations,)),
        (show_peeking, (given.simulations,)),
        (show_power, (given.simulations,)),
        (show_prediction, (min(given.simulations, 20),)),
        (show_sample_ratio, (given.simulations,)),
        (show_readouts, (given.users, 14)),
    ]
    for show, arguments in (parts[number - 1] for number in given.parts):
        start = time.process_time()
        show(*arguments)
        print(f"({time.process_time() - start:.0f} s of CPU)", flush=True)


if __name__ == "__main__":
    main()
