"""Six challengers before the gate, with their decision tables.

By hand, from the project's root (a second):

    PYTHONPATH=$PWD python tests/benchmarks/gate_cases.py

`tests/registry/gate/test_cases.py` checks the verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.config import GateConfig
from recsys.evaluation.paired import Pairs, pair_values
from recsys.registry.gate.case import Case, Figure, Rival, SegmentPairs
from recsys.registry.gate.decide import BLEND, decide
from recsys.registry.gate.decision import Decision, decision_table

USERS = 20_000
CONFIDENCE = 0.95
METRIC = "ndcg@10"
GAINS = 1.0 / np.log2(np.arange(2, 12))


@dataclass(frozen=True)
class Example:
    """A challenger, the settings, and the expected answer."""

    title: str
    case: Case
    config: GateConfig
    answer: str
    promoted: bool


def simulate(change: float, users: int = USERS, hit_rate: float = 0.3, seed: int = 0) -> Pairs:
    """Return a challenger whose hits are the champion's, apart from a share: won where `change` is above 0, else lost.

    A tenth of the users have a hit with one of the models alone, which is the noise of a retrained model.
    """
    generator = np.random.default_rng(seed)
    champion = np.where(generator.random(users) < hit_rate, generator.choice(GAINS, users), 0.0)
    challenger = champion.copy()
    moved = generator.random(users) < 0.1
    challenger[moved] = generator.permutation(challenger[moved])
    hits = np.flatnonzero(challenger > 0)
    if change < 0:
        challenger[generator.choice(hits, round(-change * len(hits)), replace=False)] = 0.0
    else:
        misses = np.flatnonzero(challenger == 0)
        won = generator.choice(misses, round(change * len(hits)), replace=False)
        challenger[won] = generator.choice(GAINS, len(won))
    return pair_values(challenger, champion)


def make_case(champion: Pairs, anchor: Pairs | None = None) -> Case:
    """Return a fresher challenger whose baselines and guardrails are in order."""
    rival = Rival("champion version 7", champion)
    weaker = replace(champion, theirs=0.8 * champion.theirs)
    return Case(
        metric=METRIC,
        figure=champion.ours,
        users=champion.users,
        champion=rival,
        anchor=Rival("anchor (champion)", champion) if anchor is None else Rival("anchor version 2", anchor),
        baselines=(Rival(BLEND, weaker), Rival("source als", weaker)),
        segments=(SegmentPairs("users: light", METRIC, "light_users", simulate(0.0, champion.users // 5, seed=5)),),
        figures=(
            Figure("coverage", 0.41, 0.40, champion.users),
            Figure("fallback_share", 0.01, 0.01, champion.users),
            Figure("seconds", 2.1, 2.0, champion.users),
            Figure("bytes", 9.1e6, 9.0e6, champion.users),
            Figure("churn", 0.42, None, champion.users),
        ),
        fresher=True,
    )


def list_examples() -> list[Example]:
    """Return the six cases."""
    usual = GateConfig()
    equal = make_case(simulate(0.0))
    decline, drop = simulate(-0.005), simulate(-0.05)
    best = replace(drop, ours=decline.ours, theirs=decline.ours - drop.difference)
    light = (SegmentPairs("users: light", METRIC, "light_users", simulate(-0.25, 4_000, seed=5)),)
    fast = tuple(replace(figure, figure=0.7) if figure.name == "seconds" else figure for figure in equal.figures)
    return [
        Example("better", make_case(simulate(0.06)), usual, "better", True),
        Example("equal, from newer data", equal, usual, "as good", True),
        Example("300 users cannot tell", make_case(simulate(0.02, 300)), usual, "cannot tell", False),
        Example(
            "worse in one segment only",
            replace(make_case(simulate(0.06)), segments=light),
            usual,
            "worse",
            False,
        ),
        Example(
            "faster but equal, from the same data, with accept_equal: always",
            replace(equal, figures=fast, fresher=False),
            usual.model_copy(update={"accept_equal": "always"}),
            "as good",
            True,
        ),
        Example(
            "a slow decline: as good as the champion, which is not as good as the anchor",
            make_case(decline, best),
            usual,
            "worse",
            False,
        ),
    ]


def judge(example: Example) -> Decision:
    """Return the gate's decision."""
    return decide(example.case, example.config, CONFIDENCE)


def main() -> None:
    """Print the decision tables."""
    with pl.Config(tbl_rows=-1, tbl_width_chars=100, fmt_str_lengths=60, tbl_hide_dataframe_shape=True) as layout:
        layout.set_tbl_hide_column_data_types(True)
        layout.set_tbl_formatting("ASCII_MARKDOWN")
        for example in list_examples():
            decision = judge(example)
            print(f"\n### {example.title}: {'promoted' if decision.promoted else 'refused'}\n")
            print(decision_table(decision))
            print(f"\n{decision.sentence}")


if __name__ == "__main__":
    main()
