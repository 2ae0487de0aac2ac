"""Likely causes: which figures moved together, what that probably means, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from recsys.monitoring.reference import Expected

# Below this share, next to nothing is left.
_ALMOST_NOTHING = 0.2
# So many expected events of a kind do not all fail to come by chance.
_MANY = 30


@dataclass(frozen=True)
class Movement:
    """A figure outside its normal range.

    Attributes:
        figure: its name.
        value: tonight.
        expected: what is normal.
        direction: `low` or `high`.
        distance: how far outside, in half widths of the range; 1 at its end.
    """

    figure: str
    value: float
    expected: Expected
    direction: str
    distance: float


@dataclass(frozen=True)
class Picture:
    """All that a cause is recognized by.

    Attributes:
        moved: figure -> movement, of the figures that no earlier cause explains.
        figures: all figures of the night.
        kinds: event kinds of the last good night.
    """

    moved: Mapping[str, Movement]
    figures: Mapping[str, float]
    kinds: tuple[str, ...]

    def low(self, pattern: str) -> bool:
        """Return whether a figure that fits the pattern is too low."""
        return self._any(pattern, "low")

    def high(self, pattern: str) -> bool:
        """Return whether a figure that fits the pattern is too high."""
        return self._any(pattern, "high")

    def get(self, name: str, default: float) -> float:
        """Return a figure's value, or the default without it."""
        return self.figures.get(name, default)

    def find_gone(self) -> tuple[str, ...]:
        """Return the event kinds that vanished from the history or, unexpectedly, from the last day."""
        return tuple(kind for kind in self.kinds if self._has_left_the_history(kind) or self._has_stopped(kind))

    def _has_left_the_history(self, kind: str) -> bool:
        kept = self.moved.get(f"data.history_kept.{kind}")
        return kept is not None and kept.value < _ALMOST_NOTHING

    def _has_stopped(self, kind: str) -> bool:
        """Return whether a kind is missing on the last day, and not by chance because all events are few."""
        day = self.moved.get(f"arrival.events.{kind}")
        if day is None or day.value > 0:
            return False
        return "arrival.events" not in self.moved or (day.expected.value or 0.0) >= _MANY

    def _any(self, pattern: str, direction: str) -> bool:
        return any(
            fnmatchcase(name, pattern) and movement.direction == direction for name, movement in self.moved.items()
        )


@dataclass(frozen=True)
class Cause:
    """A likely cause of movements.

    Attributes:
        name: short and stable, for scripts.
        sentence: what probably happened; {kinds} are the event kinds that are gone.
        advice: what to do.
        holds: whether the movements of a night look like this.
        evidence: patterns of the figures that show it best, most telling first.
        explains: patterns of the figures that move with it; they need no other cause.
    """

    name: str
    sentence: str
    advice: str
    holds: Callable[[Picture], bool]
    evidence: tuple[str, ...]
    explains: tuple[str, ...] = ()

    def covers(self, figure: str) -> bool:
        """Return whether the cause explains that a figure moved."""
        return any(fnmatchcase(figure, pattern) for pattern in (*self.evidence, *self.explains))


_OUTPUT = ("model.*", "lists.churn", "lists.coverage", "lists.gini", "lists.cold_share", "lists.top_item_share")
_VOLUME = ("arrival.events*", "arrival.hour_share*", "data.active_users", "data.new_users", "data.events_per_user")
_EXTREMES = ("abuse.*",)
_SIZES = ("data.events*", "data.users", "data.median_history")
_DOWNSTREAM = (*_SIZES, *_VOLUME, "arrival.*", *_EXTREMES, "lists.*", "model.*")

# In this order: a cause that explains more comes first.
CAUSES: tuple[Cause, ...] = (
    Cause(
        "items_renumbered",
        "item ids were renumbered: titles now belong to other ids, and users' histories have other items",
        "Restore the old ids or retrain before publishing: the champion knows the items by their old ids.",
        lambda now: now.high("identity.text_moved") and (now.low("identity.history_overlap") or _lost_items(now)),
        ("identity.text_moved", "identity.history_overlap", "data.items_kept"),
        ("identity.*", "data.history_kept*", *_SIZES, *_VOLUME, *_EXTREMES, *_OUTPUT, "data.rejected.*"),
    ),
    Cause(
        "texts_permuted",
        "the texts of the catalogue were permuted: titles belong to other items, while users' histories are unchanged",
        "Check the join that writes the catalogue; ingest again before lists are made from wrong texts.",
        lambda now: now.high("identity.text_moved"),
        ("identity.text_moved", "identity.text_unlike"),
        ("identity.text_*", "data.available", "data.attribute_*", *_OUTPUT),
    ),
    Cause(
        "texts_lost",
        "the texts of many items are empty, placeholders or all the same",
        "Check the text columns of the catalogue export; the text source and new items suffer first.",
        lambda now: (
            now.high("data.title_missing")
            or (now.high("data.title_repeated") and now.get("data.title_repeated", 0) > 0.5)
        ),
        ("data.title_missing", "data.title_repeated"),
        ("data.description_missing", "data.*_length", "data.language.*", "identity.text_*", *_OUTPUT),
    ),
    Cause(
        "history_truncated",
        "the feed holds only the newest days: the history before them is gone",
        "Ingest the whole history, not an increment; check the export's date filter.",
        lambda now: now.low("arrival.span_days") and now.low("data.history_kept"),
        ("arrival.span_days", "data.history_kept"),
        ("data.*", "arrival.*", "identity.history_overlap", *_EXTREMES, "lists.*", "model.*"),
    ),
    Cause(
        "feed_frozen",
        "the feed is frozen: no event has arrived for the whole last day",
        "Find out why the events export stopped; ingest again when it runs. Lists age from tonight on.",
        lambda now: now.high("arrival.lateness_hours") and not now.get("arrival.events", 1),
        ("arrival.lateness_hours", "arrival.events"),
        ("arrival.*", "data.active_users", "data.new_users", "data.events_per_user", *_EXTREMES, "lists.*"),
    ),
    Cause(
        "kind_renamed",
        "an event kind was renamed: {kinds} has gone, and as many events have a kind that was never there",
        "Map the new name in dataset.interactions.event_weights, or restore the old one.",
        lambda now: bool(now.find_gone()) and (now.high("data.new_kinds") or now.high("data.rejected.*unknown_event")),
        ("data.new_kinds", "data.rejected.*", "data.history_kept.*", "arrival.events.*"),
        ("data.history_kept", "data.users_kept", "identity.history_overlap", *_DOWNSTREAM),
    ),
    Cause(
        "only_one_kind_left",
        "only one event kind is left: {kinds} have gone",
        "Check which event kinds the export selects; without the others nothing is consumed or preferred.",
        lambda now: len(now.find_gone()) > 1 and len(now.find_gone()) == len(now.kinds) - 1,
        ("data.history_kept.*", "arrival.events.*", "data.history_kept"),
        ("data.users_kept", "data.rejected.*", "identity.history_overlap", *_DOWNSTREAM),
    ),
    Cause(
        "kind_gone",
        "events of the kind {kinds} have gone",
        "Check the export of these events; ingest again when they are back.",
        lambda now: bool(now.find_gone()),
        ("data.history_kept.*", "arrival.events.*", "data.history_kept"),
        ("data.users_kept", "data.rejected.*", "identity.history_overlap", *_DOWNSTREAM),
    ),
    Cause(
        "items_lost",
        "items of the last good night are gone from the catalogue, with their events",
        "Check filters and partitions of the catalogue export; events on unknown items are rejected.",
        lambda now: now.low("data.items_kept") or now.low("data.items"),
        ("data.items_kept", "data.items"),
        (
            *("data.history_kept*", "data.rejected.*", *_SIZES, *_VOLUME, *_EXTREMES, "lists.*", "model.*"),
            *("data.available", "data.language.*", "data.attribute_*", "data.*_length", "data.users_kept"),
            "identity.history_overlap",
        ),
    ),
    Cause(
        "users_renumbered",
        "user ids are new: the users of the last good night are gone, although the events are still there",
        "Check the column of user ids in the export, such as a new hash or salt; all histories are lost until then.",
        lambda now: now.low("data.users_kept") and now.get("data.users_kept", 1) < 0.3 and not _lost_history(now),
        ("data.users_kept",),
        ("identity.history_overlap", *_SIZES, *_VOLUME, *_EXTREMES, "lists.*", "model.*"),
    ),
    Cause(
        "users_lost",
        "users of the last good night are gone, with their events",
        "Check filters and partitions of the events export; these users would get no list or a fallback.",
        lambda now: now.low("data.users_kept"),
        ("data.users_kept", "data.history_kept"),
        ("data.history_kept*", *_SIZES, *_VOLUME, *_EXTREMES, "arrival.lateness_hours*", "lists.*", "model.*"),
    ),
    Cause(
        "users_permuted",
        "user ids were permuted: the users are there, with the histories of others",
        "Check the join that writes user ids into the events; users would get the lists of others.",
        lambda now: now.low("identity.history_overlap"),
        ("identity.history_overlap",),
        ("data.median_history", *_EXTREMES, "data.history_kept*", "lists.churn", "model.*"),
    ),
    Cause(
        "rows_rejected",
        "ingest rejects many more raw rows than before",
        "Look at rejected.parquet of the snapshot: it has each row with the rule that it broke.",
        lambda now: now.high("data.rejected.*"),
        ("data.rejected.*",),
        ("data.history_kept*", *_SIZES, *_VOLUME, "arrival.*"),
    ),
    Cause(
        "rows_repeated",
        "many raw rows repeat others: a file was probably delivered twice",
        "Remove the second delivery; ingest folded the repeats, so lists are not affected.",
        lambda now: now.high("data.repeats.*"),
        ("data.repeats.*",),
    ),
    Cause(
        "robot",
        "one user has more events than a person: a robot, a test account, or several people under one id",
        "Look at the named user; leave it out of the export if it is not a person.",
        lambda now: now.high("abuse.max_user_events") or now.high("abuse.max_history"),
        ("abuse.max_user_events", "abuse.max_history"),
        ("abuse.*", *_VOLUME, "data.history_kept*", "data.events*", "arrival.lateness_hours*", "lists.top_item_share"),
    ),
    Cause(
        "new_accounts_on_one_item",
        "many new accounts act on one item: fake buyers, or a campaign for it",
        "Ask whether a campaign started; otherwise block the item (generation.rules) and these accounts.",
        lambda now: now.high("abuse.top_item_new_users"),
        ("abuse.top_item_new_users", "abuse.top_item_users"),
        (*_VOLUME, "data.users", "data.median_history", "lists.users", "lists.top_item_share"),
    ),
    Cause(
        "item_surge",
        "one item has many more users than an item ever had in a day",
        "Ask whether a campaign started; otherwise look for manipulation of that item.",
        lambda now: now.high("abuse.top_item_users"),
        ("abuse.top_item_users",),
        (*_VOLUME, "lists.top_item_share", "abuse.top_share"),
    ),
    Cause(
        "feed_partial",
        "the last day is incomplete: events stop hours before its end",
        "Wait for the rest of the export, ingest again, and run generate again.",
        lambda now: now.high("arrival.lateness_hours"),
        ("arrival.lateness_hours",),
        ("arrival.*", "data.active_users", "data.new_users", "data.events_per_user", *_EXTREMES),
    ),
    Cause(
        "kind_late",
        "events of some kinds have not arrived for long",
        "Check the export of these kinds.",
        lambda now: now.high("arrival.lateness_hours.*"),
        ("arrival.lateness_hours.*",),
        ("arrival.events.*",),
    ),
    Cause(
        "events_removed",
        "earlier events are gone from the history",
        "Check filters and retention of the events export.",
        lambda now: now.low("data.history_kept*"),
        ("data.history_kept", "data.history_kept.*"),
        (*_SIZES, *_VOLUME, "arrival.*", *_EXTREMES),
    ),
    Cause(
        "events_added_late",
        "earlier days have more events than before: events were delivered late or twice",
        "Compare the days of the export with the last one; look for rows with other times but the same content.",
        lambda now: now.high("data.history_kept*"),
        ("data.history_kept", "data.history_kept.*"),
        (*_SIZES, *_VOLUME, *_EXTREMES, "data.users"),
    ),
    Cause(
        "new_kind",
        "events have a kind that was never there",
        "Give it a weight in dataset.interactions.event_weights if it is wanted, then accept the night.",
        lambda now: now.high("data.new_kinds"),
        ("data.new_kinds",),
        ("data.events*", *_VOLUME),
    ),
    Cause(
        "times_shifted",
        "events come at other hours of the day: times may be in another zone, or some hours are missing",
        "Check time_format, the zone of the export's times, and the hours that the export covers.",
        lambda now: now.high("arrival.hour_share.*") or now.low("arrival.hour_share.*"),
        ("arrival.hour_share.*",),
        ("arrival.hour_share.*",),
    ),
    Cause(
        "items_unavailable",
        "many items are not available any more",
        "Check the availability column of the catalogue; unavailable items are never recommended.",
        lambda now: now.low("data.available"),
        ("data.available",),
        (*_OUTPUT, "lists.*"),
    ),
    Cause(
        "language_changed",
        "titles are in another language or script",
        "Check the text columns of the export: encoding, language, or another column.",
        lambda now: now.high("data.language.*") or now.low("data.language.*"),
        ("data.language.*",),
        ("identity.text_*", "data.*_length", *_OUTPUT),
    ),
    Cause(
        "texts_rewritten",
        "the texts of many items were rewritten",
        "Check that the titles are the right ones; retrain if they are.",
        lambda now: now.high("identity.text_*"),
        ("identity.text_unlike", "identity.text_changed"),
        ("data.*_length", "data.description_missing", *_OUTPUT),
    ),
    Cause(
        "attribute_changed",
        "an attribute of the items changed its scale or is missing",
        "Check that column of the catalogue, such as the unit of a price; features that use it are wrong.",
        lambda now: any(now.high(name) or now.low(name) for name in ("data.attribute_*", "data.description_*")),
        ("data.attribute_median.*", "data.attribute_missing.*", "data.description_*"),
        ("data.title_length",),
    ),
    Cause(
        "lists_old",
        "the published lists are not tonight's: another run date, or made from another snapshot",
        "Run 'recsys generate' for this run date and see why it did not publish.",
        lambda now: now.high("lists.age_days") or now.high("lists.other_snapshot"),
        ("lists.age_days", "lists.other_snapshot"),
        ("lists.*",),
    ),
    Cause(
        "fallback",
        "the fallback fills more of the lists than before, or users have no list",
        "Look at the log of generate for sources that propose nothing; check the champion's version.",
        lambda now: now.high("model.fallback_share") or now.high("model.empty_share") or now.low("lists.length"),
        ("model.fallback_share", "model.empty_share", "lists.length"),
        ("model.*", *_OUTPUT),
    ),
    Cause(
        "lists_narrow",
        "the lists show fewer items, or show one item to many users",
        "Look at the named items; check the sources' weights and the rules.",
        lambda now: now.low("lists.coverage") or now.high("lists.gini") or now.high("lists.top_item_share"),
        ("lists.top_item_share", "lists.coverage", "lists.gini"),
        ("lists.churn", "lists.cold_share", "model.*"),
    ),
    Cause(
        "scores_shifted",
        "the same model scores differently",
        "Compare the features of both nights; retrain if users really changed.",
        lambda now: now.high("model.score_*"),
        ("model.score_ks", "model.score_ks_low", "model.score_psi"),
        ("lists.churn",),
    ),
    Cause(
        "volume_low",
        "less is happening than expected",
        "Check the export for a part that is missing; then look for a reason outside, such as a holiday.",
        lambda now: any(now.low(pattern) for pattern in _VOLUME),
        ("arrival.events", "data.active_users", "arrival.events.*"),
        (*_VOLUME, *_SIZES, "lists.users"),
    ),
    Cause(
        "volume_high",
        "more is happening than expected",
        "Look for a campaign; otherwise for events that were delivered twice or made by programs.",
        lambda now: any(now.high(pattern) for pattern in _VOLUME),
        ("arrival.events", "data.active_users", "arrival.events.*"),
        (*_VOLUME, *_SIZES, "lists.users", "abuse.*"),
    ),
)

UNKNOWN = Cause(
    "unknown",
    "figures are outside their normal range",
    "Look at these figures on the page; accept the night if the change is wanted.",
    lambda now: bool(now.moved),
    ("*",),
)


def _lost_items(now: Picture) -> bool:
    return now.low("data.items_kept") and now.get("data.items_kept", 1) < 0.5


def _lost_history(now: Picture) -> bool:
    return now.low("data.history_kept")
