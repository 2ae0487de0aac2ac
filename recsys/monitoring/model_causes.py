"""Causes in the lists and their model, and what users did with the lists."""

from __future__ import annotations

from recsys.monitoring.cause import OUTPUT, Cause, Picture

MODEL_CAUSES: tuple[Cause, ...] = (
    Cause(
        "lists_old",
        "the published lists are not tonight's: another run date, or made from another snapshot",
        "Run 'recsys generate' for this run date and find out why it did not publish.",
        lambda now: now.high("lists.age_days") or now.high("lists.other_snapshot"),
        ("lists.age_days", "lists.other_snapshot"),
        ("lists.*",),
    ),
    Cause(
        "fallback",
        "the fallback fills more of the lists than before, or users have no list",
        "Look at the log of generate for sources that propose nothing; check the champion's version.",
        lambda now: now.high("model.fallback_share") or now.high("model.empty_share") or _are_short(now),
        ("model.fallback_share", "model.empty_share", "lists.length", "lists.short_share"),
        ("model.*", *OUTPUT),
    ),
    Cause(
        "encoder_changed",
        "the encoder returns different vectors for unchanged texts",
        "Compare the champion's encoder with the one of its training; check library versions and the embedding cache.",
        lambda now: now.high("model.vector_change"),
        ("model.vector_change",),
        ("identity.vector_moved", *OUTPUT),
    ),
    Cause(
        "lists_narrow",
        "the lists show fewer items, or show one item to many users",
        "Check the named items, the weights of the sources and the rules.",
        lambda now: now.low("lists.coverage") or now.high("lists.gini") or now.high("lists.top_item_share"),
        ("lists.top_item_share", "lists.coverage", "lists.gini"),
        ("lists.churn", "lists.cold_share", "model.*"),
    ),
    Cause(
        "features_shifted",
        "the features of the same model drifted, or some are missing",
        "Check the named features and their inputs; retrain if users or the catalogue really changed.",
        lambda now: now.high("model.feature_*"),
        ("model.feature_ks.*", "model.feature_missing"),
        ("model.score_*", "lists.churn"),
        retrain=True,
    ),
    Cause(
        "scores_shifted",
        "the score distribution of the same model changed",
        "Compare the features of both nights; retrain if users really changed.",
        lambda now: now.high("model.score_*"),
        ("model.score_ks", "model.score_ks_low", "model.score_psi"),
        ("lists.churn",),
        retrain=True,
    ),
    Cause(
        "catalogue_shifted",
        "the topics of the catalogue changed: the mean of its text vectors shifted",
        "Check the new items; retrain so that the model learns them.",
        lambda now: now.high("model.centroid_shift"),
        ("model.centroid_shift",),
        ("data.new_texts", *OUTPUT),
        retrain=True,
    ),
    Cause(
        "many_new_texts",
        "many items are new or have new texts",
        "Check that the catalogue grew as intended; retrain so that the model learns the new items.",
        lambda now: now.high("data.new_texts"),
        ("data.new_texts",),
        OUTPUT,
        retrain=True,
    ),
    Cause(
        "world_changed",
        "user behaviour changed: our lists, the blend and popularity all lost accuracy",
        "Check that events are still recorded as before, then look for external reasons: season, prices, a "
        "competitor. All lists fall together, so the model is not the cause; the next scheduled training learns the "
        "new behaviour.",
        lambda now: _have_hits_fallen(now) and bool(_has_fallen_with_ours(now, "popularity")),
        ("outcomes.week.popularity_ndcg", "outcomes.week.ndcg", "outcomes.*"),
        ("outcomes.*",),
    ),
    Cause(
        "lists_worse",
        "our lists got worse: users choose fewer of the items shown, while popularity performs as before",
        "Find out what changed before the first of these nights: version, settings, features. Roll back if it was a "
        "promotion; otherwise retrain.",
        lambda now: _have_hits_fallen(now) and _has_fallen_with_ours(now, "popularity") is False,
        ("outcomes.week.over_blend", "outcomes.week.ndcg", "outcomes.*"),
        ("outcomes.*",),
        retrain=True,
        detail=lambda now: _describe_blend(now),
    ),
    Cause(
        "outcomes_low",
        "users choose fewer of the items shown; the baseline lists do not show the reason yet",
        "Check the changes of the last days. The next nights will give more evidence, if generate runs every night "
        "and keeps "
        "baseline lists.",
        lambda now: _have_hits_fallen(now),
        ("outcomes.week.ndcg", "outcomes.*"),
        ("outcomes.*",),
    ),
)

_HITS = ("outcomes.hit_rate", "outcomes.ndcg", "outcomes.week.*", "outcomes.over_*")


def _have_hits_fallen(now: Picture) -> bool:
    return any(now.low(pattern) for pattern in _HITS)


def _has_fallen_with_ours(now: Picture, baseline: str) -> bool | None:
    """Return whether a baseline fell together with our lists; None if that is not known."""
    ours, theirs = now.losses.get("sample"), now.losses.get(baseline)
    return None if ours is None or theirs is None else theirs.follows(ours)


def _describe_blend(now: Picture) -> str:
    together = _has_fallen_with_ours(now, "blend")
    if together is None:
        return ""
    if together:
        return "the blend of the same sources fell too, so the fitted sources are out of date"
    return "the blend of the same sources did not fall, so the fault is in the ranker, its features or the rules"


def _are_short(now: Picture) -> bool:
    return now.low("lists.length") or now.high("lists.short_share")
