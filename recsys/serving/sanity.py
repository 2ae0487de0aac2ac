"""Sanity checks of a night's lists before they are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from recsys.config import SanityConfig
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import compare_scores
from recsys.serving.fallback import FALLBACK

# Users whose lists are compared with the last lists; more would cost memory and hardly change the result.
_USERS = 20_000
# Shares of fewer users than this say nothing about the model of a canary.
_MIN_USERS = 50


@dataclass(frozen=True)
class VariantLists:
    """The lists that one model made in a night with a canary.

    Attributes:
        name: for messages, such as `challenger version 2`.
        model_version: of the model.
        counts: of its lists.
    """

    name: str
    model_version: str
    counts: Mapping[str, int]


def find_faults(
    lists: pl.LazyFrame,
    counts: Mapping[str, int],
    previous: pl.LazyFrame | None,
    *,
    same_settings: bool,
    config: SanityConfig,
    variants: Sequence[VariantLists] = (),
) -> list[str]:
    """Return one sentence for each reason not to publish the lists.

    Scores are compared between lists of the same model version only.

    Args:
        lists: `Recommendations` of tonight.
        counts: of their manifest.
        previous: `Recommendations` that readers follow now; None: there are none.
        same_settings: the previous lists have the same settings; otherwise new items are expected, and neither churn
            nor scores are compared.
        config: the limits.
        variants: of a night with a canary; the lists of each are checked alone too.
    """
    if not counts["rows"]:
        return ["no user would get an item"]
    faults = _find_high_shares(counts, config)
    for variant in variants:
        faults += _name(variant, _find_variant_shares(variant.counts, config))
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
    faults += _find_churn(now, before, config)
    if not variants:
        return faults + _find_score_shift(now, before, config)
    for variant in variants:
        own, old = (night.filter(pl.col("model_version") == variant.model_version) for night in (now, before))
        if own.height and old.height:
            faults += _name(variant, _find_churn(own, old, config) + _find_score_shift(own, old, config))
    return faults


def _find_variant_shares(counts: Mapping[str, int], config: SanityConfig) -> list[str]:
    if counts["users"] and not counts["rows"]:
        return ["no user would get an item"]
    return _find_high_shares(counts, config) if counts["users"] >= _MIN_USERS else []


def _find_high_shares(counts: Mapping[str, int], config: SanityConfig) -> list[str]:
    faults = []
    if (share := counts["fallback_rows"] / counts["rows"]) > config.max_fallback_share:
        faults.append(_describe("of rows are fallback items", share, "max_fallback_share", config.max_fallback_share))
    if (share := counts["empty_lists"] / counts["users"]) > config.max_empty_share:
        faults.append(_describe("of users have an empty list", share, "max_empty_share", config.max_empty_share))
    return faults


def _find_churn(now: pl.DataFrame, before: pl.DataFrame, config: SanityConfig) -> list[str]:
    changed = churn(now, before, int(before["rank"].to_numpy().max()))["churn"].to_numpy()
    if not len(changed) or (share := float(changed.mean())) <= config.max_churn:
        return []
    return [_describe("of list items are new since the last lists", share, "max_churn", config.max_churn)]


def _find_score_shift(now: pl.DataFrame, before: pl.DataFrame, config: SanityConfig) -> list[str]:
    """Compare the scores of the model that made both nights; of the last night, only the lists that it made count."""
    before = before.join(now.select("model_version").unique(), on="model_version", how="semi")
    if before.is_empty():
        return []
    # Only ranks that both nights have: lower ranks have lower scores.
    n = min(int(night["rank"].to_numpy().max()) for night in (now, before))
    ranked = (pl.col("sources").list.first() != FALLBACK) & (pl.col("rank") <= n)
    scores, old = (night.filter(ranked)["score"] for night in (now, before))
    if not len(scores) or not len(old) or (shift := compare_scores(scores, old).ks) <= config.max_score_shift:
        return []
    return [
        f"the score distribution shifted by {shift:.2f} (KS distance) since the last lists by the same model and "
        f"settings (limit {config.max_score_shift:g}, generation.sanity.max_score_shift)"
    ]


def _name(variant: VariantLists, faults: Sequence[str]) -> list[str]:
    return [f"{variant.name}: {fault}" for fault in faults]


def _describe(what: str, share: float, name: str, limit: float) -> str:
    return f"{share:.1%} {what} (limit {limit:.0%}, generation.sanity.{name})"


def _count_items(lists: pl.LazyFrame) -> int:
    return int(lists.select(pl.col("item_id").n_unique()).collect().item())
