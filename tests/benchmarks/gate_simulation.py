"""Simulations of the promotion gate: coverage of intervals, 50 weeks of worse challengers, and the chance to pass.

By hand, from the project's root (a few minutes on one core, the same numbers every time):

    python tests/benchmarks/gate_simulation.py

The simulated metric is nDCG@10 of users with one positive: 0, or 1 / log2(1 + rank). Every user has a hit with the
probability of the table. For half the users two models have equal lists. For the other half the better model has a hit
wherever the worse one has, with a share of `SHARED`; the rest are hits at independent ranks. The whole difference in
quality is in that half. The new gate runs as `recsys promote` runs it: `recsys.registry.gate.decide.decide`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from recsys.config import GateConfig
from recsys.evaluation.paired import Pairs, pair_values
from recsys.registry.gate.case import Case, Rival
from recsys.registry.gate.decide import decide

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

# The value of a user: no hit, or a hit at rank 1 … 10.
GAINS = np.concatenate([[0.0], 1.0 / np.log2(np.arange(2, 12))])
CELLS = len(GAINS)
# A pair of values by cell of the flattened table, ours by row.
OURS, THEIRS = np.repeat(GAINS, CELLS), np.tile(GAINS, CELLS)
DIFFERENCES = OURS - THEIRS
EQUAL, SHARED = 0.5, 0.85
CONFIDENCE = 0.95
GATE = GateConfig()
WEEKS = 50


# --- the world ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def make_world(hit_rate: float, qualities: tuple[float, ...], equal: float = EQUAL, shared: float = SHARED) -> Numbers:
    """Return the probability of each combination of values of several models, flattened.

    Args:
        hit_rate: of a model of quality 1.
        qualities: of each model, as a factor of the hit rate.
        equal: share of users with equal lists.
        shared: share of the other users where the better model has the hits of the worse.
    """
    models, ranks = len(qualities), np.arange(1, CELLS)
    base = hit_rate * qualities[0]
    chances = [max(0.0, base * (1.0 + (quality / qualities[0] - 1.0) / (1.0 - equal))) for quality in qualities]
    table = np.zeros((CELLS,) * models)
    table[(0,) * models] += equal * (1.0 - base)
    table[(ranks,) * models] += equal * base / len(ranks)
    together, below = (1.0 - equal) * shared, 0.0
    hitting = [True] * models
    for model in np.argsort(chances, kind="stable"):
        cell = tuple(ranks if hits else np.zeros_like(ranks) for hits in hitting)
        table[cell] += together * (chances[model] - below) / len(ranks)
        hitting[model], below = False, chances[model]
    table[(0,) * models] += together * (1.0 - below)
    apart = np.ones(())
    for chance in chances:
        apart = np.multiply.outer(apart, np.concatenate([[1.0 - chance], np.full(len(ranks), chance / len(ranks))]))
    return (table + (1.0 - equal) * (1.0 - shared) * apart).ravel()


def draw(generator: np.random.Generator, users: int, hit_rate: float, *qualities: float) -> Counts:
    """Return how many users have each combination of values, one axis per model."""
    world = make_world(hit_rate, qualities)
    return generator.multinomial(users, world).reshape((CELLS,) * len(qualities))


def pair(counts: Counts, ours: int, theirs: int) -> Pairs:
    """Return two of the models as the gate sees them."""
    others = tuple(axis for axis in range(counts.ndim) if axis not in (ours, theirs))
    table = counts.sum(axis=others)
    return pair_values(OURS, THEIRS, (table if ours < theirs else table.T).ravel())


# --- intervals ------------------------------------------------------------------------------------------------

# Low and high ends of the intervals of `(samples, cells)` counts.
Ends = tuple[Numbers, Numbers]


def student(counts: Counts, users: int, pseudo_users: int = 0, scale: Numbers | float = 1.0) -> Ends:
    """Return Student's t interval, with pseudo-users half of which are at each end of ± scale."""
    size = users + pseudo_users
    centre = counts @ DIFFERENCES / size
    variance = np.maximum((counts @ DIFFERENCES**2 + pseudo_users * np.square(scale)) / size - centre**2, 0.0)
    half = t.isf((1.0 - CONFIDENCE) / 2.0, size - 1) * np.sqrt(variance / (size - 1))
    return centre - half, centre + half


def adjusted(counts: Counts, users: int) -> Ends:
    """Return the gate's interval."""
    return student(counts, users, 2)


def adjusted_to_largest(counts: Counts, users: int) -> Ends:
    """Return the same with pseudo-users at the largest value that any user has, 1 where none has a hit."""
    largest = (np.maximum(OURS, THEIRS) * (counts > 0)).max(axis=1)
    return student(counts, users, 2, np.where(largest > 0, largest, 1.0))


def bernstein(counts: Counts, users: int) -> Ends:
    """Return the empirical Bernstein interval (Maurer & Pontil 2009), valid for any distribution on [-1, 1]."""
    mean = counts @ DIFFERENCES / users
    variance = np.maximum(counts @ DIFFERENCES**2 / users - mean**2, 0.0) * users / (users - 1)
    bound = np.log(4.0 / (1.0 - CONFIDENCE))
    half = np.sqrt(2.0 * variance * bound / users) + 2.0 * 7.0 * bound / (3.0 * (users - 1))
    return mean - half, mean + half


def betting(counts: Counts, users: int) -> Ends:
    """Return the predictable plug-in empirical Bernstein interval (Waudby-Smith & Ramdas 2024, theorem 2)."""
    generator = np.random.default_rng(7)
    bound = np.log(2.0 / (1.0 - CONFIDENCE))
    ends = []
    steps = np.arange(1, users + 1)
    for row in counts:
        values = (generator.permutation(np.repeat(DIFFERENCES, row)) + 1.0) / 2.0
        means = (0.5 + np.cumsum(values)) / (steps + 1)
        variances = (0.25 + np.cumsum((values - means) ** 2)) / (steps + 1)
        earlier_mean, earlier = np.concatenate([[0.5], means[:-1]]), np.concatenate([[0.25], variances[:-1]])
        bets = np.minimum(np.sqrt(2.0 * bound / (earlier * users)), 0.5)
        costs = (values - earlier_mean) ** 2 * (-np.log1p(-bets) - bets)
        centre, half = (bets @ values) / bets.sum(), (bound + costs.sum()) / bets.sum()
        ends.append((2.0 * (centre - half) - 1.0, 2.0 * (centre + half) - 1.0))
    low, high = np.array(ends).T
    return low, high


def bootstrap(counts: Counts, users: int, samples: int = 400) -> dict[str, Ends]:
    """Return the percentile, BCa and studentised intervals of one set of bootstrap samples per row."""
    generator = np.random.default_rng(3)
    ends: dict[str, list[tuple[float, float]]] = {"percentile": [], "BCa": [], "studentised": []}
    tail = (1.0 - CONFIDENCE) / 2.0
    for row in counts:
        kept = row > 0
        values, weights = DIFFERENCES[kept], row[kept]
        mean = float(weights @ values / users)
        drawn = generator.multinomial(users, weights / users, size=samples)
        means = drawn @ values / users
        ends["percentile"].append(tuple(np.quantile(means, [tail, 1.0 - tail])))
        # Bias from the share of samples below the estimate, acceleration from the third moment.
        below = np.clip(((means < mean).mean() + 0.5 * (means == mean).mean()), 1e-3, 1 - 1e-3)
        second, third = weights @ (values - mean) ** 2, weights @ (values - mean) ** 3
        acceleration = third / (6.0 * second**1.5) if second > 0 else 0.0
        shifted = [norm.ppf(below) + norm.ppf(share) for share in (tail, 1.0 - tail)]
        shares = [norm.cdf(norm.ppf(below) + z / (1.0 - acceleration * z)) for z in shifted]
        ends["BCa"].append(tuple(np.quantile(means, shares)))
        error = np.sqrt(second / users / users)
        errors = np.sqrt(np.maximum(drawn @ values**2 / users - means**2, 0.0) / users)
        scores = (means - mean)[errors > 0] / errors[errors > 0]
        low, high = np.quantile(scores, [tail, 1.0 - tail]) if len(scores) else (0.0, 0.0)
        ends["studentised"].append((mean - high * error, mean - low * error))
    return {name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in ends.items()}


CLOSED: dict[str, tuple[Callable[[Counts, int], Ends], int]] = {
    "t": (student, 4000),
    "t, 2 pseudo-users": (adjusted, 4000),
    "the same at ± largest": (adjusted_to_largest, 4000),
    "empirical Bernstein": (bernstein, 4000),
    "betting": (betting, 100),
}


def simulate_coverage() -> None:
    """Print coverage, the larger one-sided miss, and the half-width as a share of the metric, for every interval."""
    names = ["percentile", "BCa", "studentised", *CLOSED]
    rows: list[tuple[str, dict[str, tuple[float, float, float]]]] = []
    for hit_rate in (0.01, 0.05, 0.3):
        for users in (30, 200, 2_000, 20_000):
            for change in (0.0, -0.3, 0.1):
                world = make_world(hit_rate, (1.0 + change, 1.0), EQUAL, 0.5)
                truth, mean = float(world @ DIFFERENCES), float(world @ THEIRS)
                counts = np.random.default_rng([11, users, int(1000 * hit_rate)]).multinomial(users, world, size=4000)
                ends = bootstrap(counts[:200], users)
                ends |= {name: compute(counts[:runs], users) for name, (compute, runs) in CLOSED.items()}
                label = f"{hit_rate:4.0%} {users:6,} {change:+4.0%}"
                rows.append((label, {name: _describe(ends[name], truth, mean) for name in names}))
    titles = ("coverage of 95 % intervals", "larger one-sided miss (2.5 % is nominal)", "half-width / metric")
    for column, title in enumerate(titles):
        print(f"\n{title}\n{'hits  users  true':18s}" + "".join(f"{name:>23s}" for name in names))
        for label, figures in rows:
            print(f"{label:18s}" + "".join(f"{figures[name][column]:23.3f}" for name in names))
        lowest = [min(figures[name][column] for _, figures in rows) for name in names]
        highest = [max(figures[name][column] for _, figures in rows) for name in names]
        print(f"{'lowest':18s}" + "".join(f"{value:23.3f}" for value in lowest))
        print(f"{'highest':18s}" + "".join(f"{value:23.3f}" for value in highest))


def _describe(ends: Ends, truth: float, mean: float) -> tuple[float, float, float]:
    low, high = ends
    above, below = float((low > truth).mean()), float((high < truth).mean())
    return 1.0 - above - below, max(above, below), float((high - low).mean()) / 2.0 / mean


# --- rules ----------------------------------------------------------------------------------------------------


@dataclass
class State:
    """What a rule remembers from week to week, in true quality."""

    champion: float = 1.0
    anchor: float = 1.0
    spent: float = 0.0
    promotions: int = 0


def run_new(state: State, challenger: float, users: int, hit_rate: float, generator: np.random.Generator) -> None:
    """Let the gate decide about one challenger."""
    if state.anchor == state.champion:
        counts = draw(generator, users, hit_rate, state.champion, challenger)
        champion = anchor = Rival("champion", pair(counts, 1, 0))
        drift = None
    else:
        counts = draw(generator, users, hit_rate, state.champion, challenger, state.anchor)
        champion, anchor = Rival("champion", pair(counts, 1, 0)), Rival("anchor", pair(counts, 1, 2))
        drift = pair(counts, 0, 2)
    figure = champion.pairs.ours if champion.pairs else 0.0
    case = Case("ndcg@10", figure, users, champion, anchor, drift, fresher=True, spent=state.spent)
    decision = decide(case, GATE, CONFIDENCE)
    if decision.promoted:
        state.champion, state.promotions = challenger, state.promotions + 1
        state.spent = max(0.0, state.spent + decision.spent)
        if decision.new_anchor:
            state.anchor, state.spent = challenger, 0.0


def measure_percentile(counts: Counts, generator: np.random.Generator) -> tuple[float, float, float]:
    """Return the ends of the percentile bootstrap interval of challenger minus champion, and the champion's mean."""
    table = counts.T.ravel()
    kept = table > 0
    users = int(table.sum())
    drawn = generator.multinomial(users, table[kept] / users, size=200) @ DIFFERENCES[kept] / users
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high), float(table @ THEIRS / users)


def run_old(state: State, challenger: float, users: int, hit_rate: float, generator: np.random.Generator) -> None:
    """Promote if the low end of the interval is a loss of at most 5 % of the champion's mean."""
    counts = draw(generator, users, hit_rate, state.champion, challenger)
    low, _, mean = measure_percentile(counts, generator)
    if low >= -0.05 * mean:
        state.champion, state.promotions = challenger, state.promotions + 1


def run_recsys_eval(
    state: State, challenger: float, users: int, hit_rate: float, generator: np.random.Generator
) -> None:
    """Refuse only if the whole interval is below a loss of 5 %, as recsys-eval 0.2 does."""
    counts = draw(generator, users, hit_rate, state.champion, challenger)
    _, high, mean = measure_percentile(counts, generator)
    if high >= -0.05 * mean:
        state.champion, state.promotions = challenger, state.promotions + 1


Rule = Callable[[State, float, int, float, np.random.Generator], None]
RULES: dict[str, tuple[Rule, int]] = {
    "old gate": (run_old, 10),
    "recsys-eval 0.2": (run_recsys_eval, 10),
    "new gate": (run_new, 100),
}


def simulate_decline(changes: tuple[float, float], sizes: Sequence[int], hit_rates: Iterable[float]) -> None:
    """Print where 50 weeks of challengers end that truly change the champion's quality by a uniform draw."""
    print(f"\n{WEEKS} weeks of challengers that are truly {changes[0]:+.0%} … {changes[1]:+.0%} of the champion")
    print(f"{'hits   users':14s}" + "".join(f"{f'{name} ({runs} runs)':>42s}" for name, (_, runs) in RULES.items()))
    print(f"{'':14s}" + f"{'mean end':>12s}{'worst':>8s}{'< .97':>8s}{'promoted':>14s}" * len(RULES))
    total, failed = 0, 0
    for hit_rate in hit_rates:
        for users in sizes:
            line = f"{hit_rate:4.0%} {users:8,} "
            for name, (rule, runs) in RULES.items():
                ends, promotions = _run(rule, runs, changes, users, hit_rate)
                line += f"{ends.mean():12.4f}{ends.min():8.4f}{(ends < 0.97).mean():8.3f}{promotions:14.1f}"
                if name == "new gate":
                    total, failed = total + runs, failed + int((ends < 0.97).sum())
            print(line, flush=True)
    print(f"new gate: {failed} of {total:,} runs ended below .97 of the best champion")


def _run(rule: Rule, runs: int, changes: tuple[float, float], users: int, hit_rate: float) -> tuple[Numbers, float]:
    """Return the last champion's quality as a share of the best champion's in each run, and promotions per run."""
    ends, promotions = [], 0
    for run in range(runs):
        generator = np.random.default_rng([5, run, users, int(1000 * hit_rate)])
        state, best = State(), 1.0
        for _ in range(WEEKS):
            rule(state, state.champion * (1.0 + generator.uniform(*changes)), users, hit_rate, generator)
            best = max(best, state.champion)
        ends.append(state.champion / best)
        promotions += state.promotions
    return np.array(ends), promotions / runs


def simulate_power() -> None:
    """Print the answers for truly better, equal and worse challengers at 5,000 users, and of the smallest cases."""
    print("\nanswers at 5,000 users, half the lists equal (500 runs; fresher data)")
    print(
        f"{'hits  shared':14s}{'true':>6s}{'error':>9s}{'better':>9s}{'as good':>9s}{'worse':>9s}"
        f"{'cannot tell':>13s}{'promoted':>10s}"
    )
    for hit_rate in (0.1, 0.3, 0.5):
        for shared in (0.5, 0.75, SHARED, 0.95):
            for change in (0.02, 0.0, -0.03):
                answers, promoted, error = _answer(5_000, hit_rate, change, shared, 500)
                shares = [answers.get(name, 0) / 500 for name in ("better", "as good", "worse", "cannot tell")]
                print(
                    f"{hit_rate:4.0%} {shared:8.0%} {change:+6.0%}{error:9.2%}"
                    + "".join(f"{share:9.3f}" for share in shares[:3])
                    + f"{shares[3]:13.3f}{promoted / 500:10.3f}"
                )
    print("\nsmall cases that the old gate passed")
    passed = dict.fromkeys(RULES, 0)
    for name, (rule, _) in RULES.items():
        for run in range(1000):
            state = State()
            rule(state, 0.7, 30, 0.02, np.random.default_rng([9, run]))
            passed[name] += state.promotions
    for name, count in passed.items():
        print(f"truly -30 %, 30 users, 2 % hits: {name} passes {count / 1000:.3f}")
    zeros = pair_values(np.zeros(200), np.zeros(200))
    decision = decide(Case("ndcg@10", 0.0, 200, Rival("champion", zeros), fresher=True), GATE, CONFIDENCE)
    print(f"two all-zero lists: promoted {decision.promoted}: {decision.sentence}")


def _answer(users: int, hit_rate: float, change: float, shared: float, runs: int) -> tuple[dict[str, int], int, float]:
    """Return the number of each answer, of promotions, and the standard error as a share of the metric."""
    world = make_world(hit_rate, (1.0, 1.0 + change), EQUAL, shared)
    counts = np.random.default_rng([6, users]).multinomial(users, world, size=runs).reshape(-1, CELLS, CELLS)
    answers: dict[str, int] = {}
    promoted, error = 0, 0.0
    for table in counts:
        pairs = pair(table, 1, 0)
        decision = decide(Case("ndcg@10", pairs.ours, users, Rival("champion", pairs), fresher=True), GATE, CONFIDENCE)
        answers[decision.answer] = answers.get(decision.answer, 0) + 1
        promoted += decision.promoted
        error += pairs.standard_error / pairs.theirs / runs
    return answers, promoted, error


def main(parts: Sequence[str]) -> None:
    """Print the tables that are named, all without a name."""
    started = time.perf_counter()
    if not parts or "coverage" in parts:
        simulate_coverage()
    if not parts or "power" in parts:
        simulate_power()
    if not parts or "decline" in parts:
        sizes = (200, 1_000, 5_000, 20_000, 100_000)
        simulate_decline((-0.04, -0.01), sizes, (0.05, 0.3))
        simulate_decline((-0.01, -0.01), sizes, (0.3,))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
