"""How many places of a list new items get where the config leaves it to the data."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.config import Config, RulesConfig
from recsys.config.overrides import apply_settings
from recsys.progress import format_count
from recsys.ranking.groups import Groups
from recsys.ranking.rules import Rules
from recsys.ranking.training_rows import find_starts

NEW_SHARE = "generation.rules.min_new_share"
# Places for new items may cost this share of the metric on held-out users.
_MOST_LOST = 0.01


def limit_new_share(
    config: Config, rows: pl.DataFrame, scores: NDArray[np.float32], new: NDArray[np.bool_]
) -> tuple[Config, str]:
    """Return the config with as many places for new items as cost next to nothing, and a line about them.

    Users took new items for some places of a list (`calibrate`). Lists get as many, or the largest number below that
    costs at most 1 % of the metric on users whom the ranker did not learn from. Where there are none, no place is kept.

    Args:
        config: all settings, with the share that users took, above 0.
        rows: `TrainingRows`; those of the newest label window are measured.
        scores: (n_rows) float32, as a ranker scores them that has not seen their users.
        new: (n_items) bool, items that were new at the cutoff of the newest label window.
    """
    newest = rows["window"].to_numpy() == 0
    measured, order = rows.filter(newest), scores[newest]
    if measured.is_empty():
        return apply_settings(config, {NEW_SHARE: 0.0}), f"{NEW_SHARE} 0 (no held-out user says what places would cost)"
    n, metric_n = config.generation.n, config.evaluation.n
    groups, candidates = Groups(measured), _list_candidates(measured)
    means = [
        float(groups.measure(_keep_places(candidates, order, new, places, n, metric_n), metric_n).mean())
        for places in range(round(config.generation.rules.new_share * n) + 1)
    ]
    lost = [(means[0] - mean) / max(means[0], 1e-12) for mean in means]
    places = max(number for number, loss in enumerate(lost) if loss <= _MOST_LOST)
    reasons = [_cost(number, lost) for number in (places, places + 1) if 0 < number < len(lost)]
    if places + 1 < len(lost):
        reasons.append(f"users took new items for {len(lost) - 1}")
    reason = f"{', '.join(reasons)}; {format_count(len(groups.totals), 'held-out user')}"
    return apply_settings(config, {NEW_SHARE: places / n}), f"{NEW_SHARE} {places / n:g} ({reason})"


def _cost(places: int, lost: list[float]) -> str:
    return f"{format_count(places, 'place')} cost{'s' * (places == 1)} {max(lost[places], 0.0):.1%} of the metric"


def _list_candidates(rows: pl.DataFrame) -> CandidateRows:
    """Return the rows' candidates without their sources, which rules do not look at."""
    items = rows["item_index"].to_numpy().astype(np.int32)
    no_sources = np.empty((0, len(items)), dtype=np.uint16), np.empty((0, len(items)), dtype=np.float32)
    return CandidateRows(find_starts(rows), items, *no_sources)


def _keep_places(
    candidates: CandidateRows, scores: NDArray[np.float32], new: NDArray[np.bool_], places: int, n: int, metric_n: int
) -> NDArray[np.float32]:
    """Return (n_rows) float32 scores by which lists of n items have this many places for new items."""
    if not places:
        return scores
    nothing = np.zeros((len(new), 1), dtype=np.float32)
    rules = Rules(RulesConfig(min_new_share=places / n), {}, new, nothing[:, 0], nothing)
    best, _ = rules.choose(candidates, scores, n, max(n, metric_n))
    ranked = np.full(len(scores), -np.inf, dtype=np.float32)
    users, ranks = np.nonzero(best >= 0)
    ranked[best[users, ranks]] = -ranks.astype(np.float32)
    return ranked
