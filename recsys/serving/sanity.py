"""Sanity checks of a night's lists before they are published.

Every user and every row counts; of the lists, no more than the ids of users are in memory as a whole. Only the
distribution of scores is that of a sample of the users, drawn by a hash of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from recsys.config import SanityConfig
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import compare_scores
from recsys.progress import format_count
from recsys.tables import FALLBACK

# Users whose lists are compared item by item at once: about 200 MB.
_USERS = 100_000
# Users whose scores are compared; more would hardly change the distribution.
_SAMPLE = 20_000
# Shares of fewer users than this say nothing.
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
        return ["all lists are empty"]
    faults = _find_high_shares(counts, config)
    for variant in variants:
        faults += _name(variant, _find_variant_shares(variant.counts, config))
    if previous is None:
        return faults
    left = _count_items(lists) / max(1, _count_items(previous))
    if left < config.min_coverage_left:
        faults.append(
            f"only {left:.1%} as many distinct items are recommended as in the last lists (limit "
            f"{config.min_coverage_left:.0%}, generation.sanity.min_coverage_left)"
        )
    if not same_settings:
        return faults
    if not variants:
        return faults + _find_churn(lists, previous, config) + _find_score_shift(lists, previous, config)
    for variant in variants:
        own, old = (night.filter(pl.col("model_version") == variant.model_version) for night in (lists, previous))
        faults += _name(variant, _find_churn(own, old, config) + _find_score_shift(own, old, config))
    return faults


def find_losses(
    lists: pl.LazyFrame, previous: pl.LazyFrame, *, same_users: bool, same_settings: bool, config: SanityConfig
) -> list[str]:
    """Return one sentence for each loss of users or rows that is too large, over all users.

    Args:
        lists: `Recommendations` of tonight.
        previous: `Recommendations` of the last good night.
        same_users: the users of both were chosen by the same settings; otherwise users are not compared.
        same_settings: the previous lists have the same settings; otherwise rows are not compared.
        config: the limits.
    """
    faults = []
    users = [night.select(pl.col("user_id").unique()) for night in (previous, lists)]
    gone = users[0].join(users[1], on="user_id", how="anti")
    before, lost = (int(counted.select(pl.len()).collect(engine="streaming").item()) for counted in (users[0], gone))
    if same_users and before >= _MIN_USERS and (share := lost / before) > config.max_users_lost:
        what = f"of the {format_count(before, 'user')} of the last good lists get no list"
        faults.append(_describe(what, share, "max_users_lost", config.max_users_lost))
    rows, old = (int(night.select(pl.len()).collect(engine="streaming").item()) for night in (lists, previous))
    if same_settings and before >= _MIN_USERS and (share := 1 - rows / old) > config.max_rows_lost:
        what = f"fewer rows than in the last good lists ({rows:,} instead of {old:,})"
        faults.append(_describe(what, share, "max_rows_lost", config.max_rows_lost))
    return faults


def _find_variant_shares(counts: Mapping[str, int], config: SanityConfig) -> list[str]:
    if counts["users"] and not counts["rows"]:
        return ["all lists are empty"]
    return _find_high_shares(counts, config) if counts["users"] >= _MIN_USERS else []


def _find_high_shares(counts: Mapping[str, int], config: SanityConfig) -> list[str]:
    faults = []
    if (share := counts["fallback_rows"] / counts["rows"]) > config.max_fallback_share:
        faults.append(_describe("of rows are fallback items", share, "max_fallback_share", config.max_fallback_share))
    if (share := counts["empty_lists"] / counts["users"]) > config.max_empty_share:
        faults.append(_describe("of users have an empty list", share, "max_empty_share", config.max_empty_share))
    return faults


def _find_churn(lists: pl.LazyFrame, previous: pl.LazyFrame, config: SanityConfig) -> list[str]:
    n, users = _measure(previous)
    parts, total, count = -(-users // _USERS), 0.0, 0
    for part in range(parts):
        now, before = (_draw(night, parts, part) for night in (lists, previous))
        changed = churn(now, before, n)["churn"]
        total, count = total + float(changed.sum()), count + len(changed)
    if not count or (share := total / count) <= config.max_churn:
        return []
    return [_describe("of list items are new since the last lists", share, "max_churn", config.max_churn)]


def _find_score_shift(lists: pl.LazyFrame, previous: pl.LazyFrame, config: SanityConfig) -> list[str]:
    """Compare the scores of the model that made both nights; of the last night, only the lists that it made count."""
    parts = max(1, _measure(previous)[1] // _SAMPLE)
    now, before = (_draw(night, parts, 0, "sources", "score", "model_version") for night in (lists, previous))
    before = before.join(now.select("model_version").unique(), on="model_version", how="semi")
    if now.is_empty() or before.is_empty():
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


def _measure(lists: pl.LazyFrame) -> tuple[int, int]:
    """Return the last rank of any list and the number of users."""
    measured = lists.select(pl.col("rank").max(), pl.col("user_id").n_unique()).collect(engine="streaming")
    return int(measured["rank"][0] or 1), int(measured["user_id"][0])


def _draw(lists: pl.LazyFrame, parts: int, part: int, *more: str) -> pl.DataFrame:
    """Return the lists of one of several equal parts of the users, the same users in each night."""
    drawn = pl.col("user_id").hash(seed=0) % parts == part
    return lists.filter(drawn).select("user_id", "rank", "item_id", *more).collect(engine="streaming")


def _name(variant: VariantLists, faults: Sequence[str]) -> list[str]:
    return [f"{variant.name}: {fault}" for fault in faults]


def _describe(what: str, share: float, name: str, limit: float) -> str:
    return f"{share:.1%} {what} (limit {limit:.0%}, generation.sanity.{name})"


def _count_items(lists: pl.LazyFrame) -> int:
    return int(lists.select(pl.col("item_id").n_unique()).collect(engine="streaming").item())
