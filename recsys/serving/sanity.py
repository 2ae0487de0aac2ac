"""The last look at a night's lists before readers see them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.config import SanityConfig
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import compare_scores
from recsys.serving.fallback import FALLBACK

# Users whose lists are compared with the last ones; more would cost memory and tell nothing new.
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
    """Return a sentence for each reason not to publish; none is good.

    Args:
        lists: `Recommendations` of tonight.
        counts: of their manifest.
        previous: `Recommendations` that readers follow now; None: there are none.
        same_settings: the previous ones are by the same settings: only then is it strange when nearly all is new.
        same_model: they are by the same model version, too: only then do scores compare.
        config: the limits.
    """
    faults = []
    if not counts["rows"]:
        return ["nobody would get an item"]
    if (share := counts["fallback_rows"] / counts["rows"]) > config.max_fallback_share:
        faults.append(_say("of the rows only fill lists up", share, "max_fallback_share", config.max_fallback_share))
    if (share := counts["empty_lists"] / counts["users"]) > config.max_empty_share:
        faults.append(_say("of the users get nothing", share, "max_empty_share", config.max_empty_share))
    if previous is None:
        return faults
    left = _count_items(lists) / max(1, _count_items(previous))
    if left < config.min_coverage_left:
        faults.append(
            f"{left:.1%} as many different items are shown as last time, expected at least "
            f"generation.sanity.min_coverage_left {config.min_coverage_left:.0%}"
        )
    if not same_settings:
        return faults
    some = previous.select(pl.col("user_id").unique()).sort("user_id").head(_USERS)
    now, before = (one.join(some, on="user_id", how="semi").collect() for one in (lists, previous))
    if now.is_empty():
        return faults
    changed = churn(now, before, int(before["rank"].to_numpy().max()))["churn"].to_numpy()
    if len(changed) and (share := float(changed.mean())) > config.max_churn:
        faults.append(_say("of a list is new since last time", share, "max_churn", config.max_churn))
    # Places that both have; further down scores are lower.
    n = min(int(one["rank"].to_numpy().max()) for one in (now, before))
    ranked = (pl.col("sources").list.first() != FALLBACK) & (pl.col("rank") <= n)
    scores, old = (one.filter(ranked)["score"] for one in (now, before))
    if same_model and len(scores) and len(old) and (shift := compare_scores(scores, old).ks) > config.max_score_shift:
        faults.append(
            "scores are distributed differently than last time, by the same model and settings (largest gap "
            f"{shift:.2f}, expected at most generation.sanity.max_score_shift {config.max_score_shift:g})"
        )
    return faults


def _say(what: str, share: float, name: str, limit: float) -> str:
    return f"{share:.1%} {what}, expected at most generation.sanity.{name} {limit:.0%}"


def _count_items(lists: pl.LazyFrame) -> int:
    return int(lists.select(pl.col("item_id").n_unique()).collect().item())
