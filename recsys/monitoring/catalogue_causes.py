"""Causes in the catalogue: ids, texts, items and their attributes."""

from __future__ import annotations

from recsys.monitoring.cause import DAY, OUTPUT, SIZES, VOLUME, Cause, Picture

_TEXTS = ("identity.text_*", "identity.vector_*")

IDENTITY_CAUSES: tuple[Cause, ...] = (
    Cause(
        "items_renumbered",
        "item ids were renumbered: titles now belong to other ids, and users' histories have other items",
        "Restore the old ids or retrain before publishing: the champion knows the items by their old ids.",
        lambda now: now.high("identity.text_moved") and (now.low("identity.history_overlap") or _lost_items(now)),
        ("identity.text_moved", "identity.history_overlap", "data.items_kept"),
        ("identity.*", "data.new_texts", "data.history_kept*", *SIZES, *VOLUME, *DAY, *OUTPUT, "data.rejected.*"),
    ),
    Cause(
        "texts_permuted",
        "the texts of the catalogue were shuffled: titles belong to other items, while users' histories are unchanged",
        "Check the join that writes the catalogue; ingest again before lists are generated from wrong texts.",
        lambda now: now.high("identity.text_moved"),
        ("identity.text_moved", "identity.text_unlike"),
        (*_TEXTS, "data.new_texts", "data.available", "data.attribute_*", *OUTPUT),
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
        ("data.description_missing", "data.*_length", "data.language.*", "data.new_texts", *_TEXTS, *OUTPUT),
    ),
)

CATALOGUE_CAUSES: tuple[Cause, ...] = (
    Cause(
        "items_unavailable",
        "many items are no longer available",
        "Check the availability column of the catalogue; unavailable items are never recommended.",
        lambda now: now.low("data.available"),
        ("data.available",),
        (*OUTPUT, "lists.*"),
    ),
    Cause(
        "language_changed",
        "titles are in another language or script",
        "Check the text columns of the export: encoding, language, or another column.",
        lambda now: now.high("data.language.*") or now.low("data.language.*"),
        ("data.language.*",),
        ("data.*_length", "data.new_texts", *_TEXTS, *OUTPUT),
    ),
    Cause(
        "meanings_moved",
        "the encoder matches the texts of many items to other items: the catalogue was shuffled and reworded",
        "Compare titles with the last snapshot's by id; check the join that writes the catalogue.",
        lambda now: now.high("identity.vector_moved") and not now.high("model.vector_change"),
        ("identity.vector_moved",),
        ("identity.text_*", "data.*_length", "data.new_texts", *OUTPUT),
    ),
    Cause(
        "texts_rewritten",
        "the texts of many items were rewritten",
        "Check that the titles are the right ones; retrain if they are.",
        lambda now: now.high("identity.text_*"),
        ("identity.text_unlike", "identity.text_changed"),
        ("data.*_length", "data.description_missing", "data.new_texts", "model.centroid_shift", *OUTPUT),
    ),
    Cause(
        "attribute_changed",
        "the scale of an item attribute changed, or it is missing",
        "Check that column of the catalogue, such as the unit of a price; features based on it are wrong.",
        lambda now: any(now.high(name) or now.low(name) for name in ("data.attribute_*", "data.description_*")),
        ("data.attribute_median.*", "data.attribute_missing.*", "data.description_*"),
        ("data.title_length",),
    ),
    Cause(
        "vectors_missing",
        "many items lack a vector of dataset.items.vectors",
        "Check the files of these vectors; meanwhile the models score such items by their texts.",
        lambda now: now.high("data.vectors_missing.*"),
        ("data.vectors_missing.*",),
        OUTPUT,
    ),
)


def _lost_items(now: Picture) -> bool:
    return now.low("data.items_kept") and now.get("data.items_kept", 1) < 0.5
