"""Sanity checks of a night's lists before they are published."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.config import SanityConfig
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import compare_scores
from recsys.serving.fallback import FALLBACK

# Users whose lists are compared with the last lists; more would cost memory and hardly change the result.
_USERS = 20_000


def find_faults(
    lists: pl.LazyFrame,
    counts: Mapping[str, int],
    previous: pl.LazyFrame | None,
    *,
    same_settings: bool,
    same_model: bool,
    config: SanityConfig,
) -> list[str]:
    """Return one sentence for each reason not to publish the lists.

    Args:
        lists: `Recommendations` of tonight.
        counts: of their manifest.
        previous: `Recommendations` that readers follow now; None: there are none.
        same_settings: the previous lists have the same settings; otherwise new items are expected, and neither churn
            nor scores are compared.
        same_model: the previous lists have the same model version; otherwise scores are not comparable.
        config: the limits.
    """
    faults = []
    if not counts["rows"]:
        return ["no user would get an item"]
    if (share := counts["fallback_rows"] / counts["rows"]) > config.max_fallback_share:
        faults.append(_describe("of rows are fallback items", share, "max_fallback_share", config.max_fallback_share))
    if (share := counts["empty_lists"] / counts["users"]) > config.max_empty_share:
        faults.append(_describe("of users have an empty list", share, "max_empty_share", config.max_empty_share))
    if previous is None:
        return faults
    left = _count_items(lists) / max(1, _count_items(previous))
    if left < config.min_coverage_left:
        faults.append(
            f"only {left:.1%} as many distinct items are listed as in the last lists (limit "
            f"{config.min_coverage_left:.0%}, generation.sanity.min_coverage_left)"
        )
    if not same_settings:
        return faults
    users = previous.select(pl.col("user_id").unique()).sort("user_id").head(_USERS)
    now, before = (night.join(users, on="user_id", how="semi").collect() for night in (lists, previous))
    if now.is_empty():
        return faults
    changed = churn(now, before, int(before["rank"].to_numpy().max()))["churn"].to_numpy()
    if len(changed) and (share := float(changed.mean())) > config.max_churn:
        faults.append(_describe("of list items are new since the last lists", share, "max_churn", config.max_churn))
    # Only ranks that both nights have: lower ranks have lower scores.
    n = min(int(night["rank"].to_numpy().max()) for night in (now, before))
    ranked = (pl.col("sources").list.first() != FALLBACK) & (pl.col("rank") <= n)
    scores, old = (night.filter(ranked)["score"] for night in (now, before))
    if same_model and len(scores) and len(old) and (shift := compare_scores(scores, old).ks) > config.max_score_shift:
        faults.append(
            f"the score distribution shifted by {shift:.2f} (KS distance) since the last lists by the same model and "
            f"settings (limit {config.max_score_shift:g}, generation.sanity.max_score_shift)"
        )
    return faults


def _describe(what: str, share: float, name: str, limit: float) -> str:
    return f"{share:.1%} {what} (limit {limit:.0%}, generation.sanity.{name})"


def _count_items(lists: pl.LazyFrame) -> int:
    return int(lists.select(pl.col("item_id").n_unique()).collect().item())
