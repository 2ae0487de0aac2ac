"""Causes in the events: their arrival, their users and items, and who makes them."""

from __future__ import annotations

from recsys.monitoring.cause import DAY, DOWNSTREAM, SIZES, VOLUME, Cause, Picture

EVENT_CAUSES: tuple[Cause, ...] = (
    Cause(
        "history_truncated",
        "the feed contains only the newest days: the earlier history is missing",
        "Ingest the whole history, not an increment; check the export's date filter.",
        lambda now: now.low("arrival.span_days") and now.low("data.history_kept"),
        ("arrival.span_days", "data.history_kept"),
        ("data.*", "arrival.*", "identity.history_overlap", *DAY, "lists.*", "model.*"),
    ),
    Cause(
        "feed_frozen",
        "the feed is frozen: no event has arrived for the whole last day",
        "Find out why the events export stopped; ingest again when it runs. Lists are outdated from tonight on.",
        lambda now: now.high("arrival.lateness_hours") and not now.get("arrival.events", 1),
        ("arrival.lateness_hours", "arrival.events"),
        ("arrival.*", "data.active_users", "data.new_users", "data.events_per_user", *DAY, "lists.*"),
    ),
    Cause(
        "kind_renamed",
        "an event kind was renamed: {kinds} disappeared, and as many events have a new kind",
        "Map the new name in dataset.interactions.event_weights, or restore the old one.",
        lambda now: bool(now.find_gone()) and (now.high("data.new_kinds") or now.high("data.rejected.*unknown_event")),
        ("data.new_kinds", "data.rejected.*", "data.history_kept.*", "arrival.events.*"),
        ("data.history_kept", "data.users_kept", "identity.history_overlap", *DOWNSTREAM),
    ),
    Cause(
        "only_one_kind_left",
        "only one event kind is left; missing: {kinds}",
        "Check which event kinds the export selects; without the others, no event shows consumption or preference.",
        lambda now: len(now.find_gone()) > 1 and len(now.find_gone()) == len(now.kinds) - 1,
        ("data.history_kept.*", "arrival.events.*", "data.history_kept"),
        ("data.users_kept", "data.rejected.*", "identity.history_overlap", *DOWNSTREAM),
    ),
    Cause(
        "kind_gone",
        "events of the kind {kinds} are missing",
        "Check the export of these events; ingest again when they have returned.",
        lambda now: bool(now.find_gone()),
        ("data.history_kept.*", "arrival.events.*", "data.history_kept"),
        ("data.users_kept", "data.rejected.*", "identity.history_overlap", *DOWNSTREAM),
    ),
    Cause(
        "items_lost",
        "items of the last good night are missing from the catalogue, with their events",
        "Check filters and partitions of the catalogue export; events on unknown items are rejected.",
        lambda now: now.low("data.items_kept") or now.low("data.items"),
        ("data.items_kept", "data.items"),
        (
            *("data.history_kept*", "data.rejected.*", *SIZES, *VOLUME, *DAY, "lists.*", "model.*"),
            *("data.available", "data.language.*", "data.attribute_*", "data.*_length", "data.users_kept"),
            "identity.history_overlap",
        ),
    ),
    Cause(
        "users_renumbered",
        "user ids changed: the users of the last good night are missing, although their events still exist",
        "Check the column of user ids in the export, such as a new hash or salt; until it is fixed, all users lose "
        "their histories.",
        lambda now: now.low("data.users_kept") and now.get("data.users_kept", 1) < 0.3 and not _lost_history(now),
        ("data.users_kept",),
        ("identity.history_overlap", *SIZES, *VOLUME, *DAY, "lists.*", "model.*"),
    ),
    Cause(
        "users_lost",
        "users of the last good night are missing, with their events",
        "Check filters and partitions of the events export; these users would get no list or a fallback.",
        lambda now: now.low("data.users_kept"),
        ("data.users_kept", "data.history_kept"),
        ("data.history_kept*", *SIZES, *VOLUME, *DAY, "arrival.lateness_hours*", "lists.*", "model.*"),
    ),
    Cause(
        "users_permuted",
        "user ids were shuffled: users have the histories of other users",
        "Check the join that writes user ids into the events; users would get other users' lists.",
        lambda now: now.low("identity.history_overlap"),
        ("identity.history_overlap",),
        ("data.median_history", *DAY, "data.history_kept*", "lists.churn", "model.*"),
    ),
    Cause(
        "rows_rejected",
        "ingest rejects many more raw rows than before",
        "Look at rejected.parquet of the snapshot: it contains each row with the rule it broke.",
        lambda now: now.high("data.rejected.*"),
        ("data.rejected.*",),
        ("data.history_kept*", *SIZES, *VOLUME, "arrival.*"),
    ),
    Cause(
        "rows_repeated",
        "many raw rows are duplicates: a file was probably delivered twice",
        "Remove the second delivery; ingest merged the duplicates, so lists are not affected.",
        lambda now: now.high("data.repeats.*"),
        ("data.repeats.*",),
    ),
    Cause(
        "robot",
        "one user has more events than a person could: a bot, a test account, or a shared id",
        "Check the named user. If it is not a person, exclude it from the export, or set "
        "dataset.max_events_per_user_day, which drops events above the limit.",
        lambda now: now.high("abuse.max_user_events") or now.high("abuse.max_history"),
        ("abuse.max_user_events", "abuse.max_history"),
        ("abuse.*", *VOLUME, "data.history_kept*", "data.events*", "arrival.lateness_hours*", "lists.top_item_share"),
        detail=lambda now: _describe_popular(now),
    ),
    Cause(
        "new_accounts_on_one_item",
        "many new accounts interact with the same item: fake accounts, or a campaign",
        "Ask whether a campaign started; otherwise block the item (generation.rules) and these accounts.",
        lambda now: now.high("abuse.top_item_new_users"),
        ("abuse.top_item_new_users", "abuse.top_item_users"),
        (*VOLUME, "data.users", "data.median_history", "lists.users", "lists.top_item_share"),
    ),
    Cause(
        "item_surge",
        "one item has many more users in a day than any item had before",
        "Ask whether a campaign started; otherwise look for manipulation of that item.",
        lambda now: now.high("abuse.top_item_users"),
        ("abuse.top_item_users",),
        (*VOLUME, "lists.top_item_share", "abuse.top_share"),
    ),
    Cause(
        "feed_partial",
        "the last day is incomplete: events stop hours before its end",
        "Wait for the rest of the export, ingest again, and run generate again.",
        lambda now: now.high("arrival.lateness_hours"),
        ("arrival.lateness_hours",),
        ("arrival.*", "data.active_users", "data.new_users", "data.events_per_user", *DAY),
    ),
    Cause(
        "kind_late",
        "events of some kinds have not arrived for an unusually long time",
        "Check the export of these kinds.",
        lambda now: now.high("arrival.lateness_hours.*"),
        ("arrival.lateness_hours.*",),
        ("arrival.events.*",),
    ),
    Cause(
        "events_removed",
        "earlier events are missing from the history",
        "Check filters and retention of the events export.",
        lambda now: now.low("data.history_kept*"),
        ("data.history_kept", "data.history_kept.*"),
        (*SIZES, *VOLUME, "arrival.*", *DAY),
    ),
    Cause(
        "events_added_late",
        "earlier days have more events than before: events were delivered late or twice",
        "Compare the days with those of the previous export; look for rows with the same content but other times.",
        lambda now: now.high("data.history_kept*"),
        ("data.history_kept", "data.history_kept.*"),
        (*SIZES, *VOLUME, *DAY, "data.users"),
    ),
    Cause(
        "new_kind",
        "events have a kind never seen before",
        "If it is intended, give it a weight in dataset.interactions.event_weights, then accept the night.",
        lambda now: now.high("data.new_kinds"),
        ("data.new_kinds",),
        ("data.events*", *VOLUME),
    ),
    Cause(
        "times_shifted",
        "events occur at other hours of the day: times may be in another time zone, or some hours are missing",
        "Check time_format, the zone of the export's times, and the hours that the export covers.",
        lambda now: now.high("arrival.hour_share.*") or now.low("arrival.hour_share.*"),
        ("arrival.hour_share.*",),
        ("arrival.hour_share.*",),
    ),
)

VOLUME_CAUSES: tuple[Cause, ...] = (
    Cause(
        "volume_low",
        "there are fewer events than expected",
        "Check the export for missing parts; then look for an external reason, such as a holiday.",
        lambda now: any(now.low(pattern) for pattern in VOLUME),
        ("arrival.events", "data.active_users", "arrival.events.*"),
        (*VOLUME, *SIZES, "lists.users"),
    ),
    Cause(
        "volume_high",
        "there are more events than expected",
        "Look for a campaign; otherwise for events that were delivered twice or generated by bots.",
        lambda now: any(now.high(pattern) for pattern in VOLUME),
        ("arrival.events", "data.active_users", "arrival.events.*"),
        (*VOLUME, *SIZES, "lists.users", "abuse.*"),
    ),
)


def _lost_history(now: Picture) -> bool:
    return now.low("data.history_kept")


def _describe_popular(now: Picture) -> str:
    share = now.figures.get("abuse.popular_changed")
    if share is None:
        return ""
    return (
        f"without the five most active users of the day, {share:.0%} of the 100 items with most events would be "
        "different"
    )
