"""Titles, descriptions and tags of the items, written from their hidden properties."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from recsys.dataset.demo.catalogue import DAY, LISTED_DAYS_BEFORE, START, Catalogue, Ints
from recsys.dataset.demo.grammar import Language, choose

_BLOCK_ITEMS = 10_000
_ITEMS_PER_AUTHOR = 6
# Of 20 texts, the number that name the mood in a sentence; of 10, the number that keep a given tag.
_MOOD_OF_20 = 17
_TAG_OF_10 = 8

# Numbers that select words: the parts of a series share the first ones, the others differ by item.
_SHARED = ("given", "family", "hero", "place", "town", "author")
_OWN = ("title", "adjective", "adjective2", "swap", "opening", "aim", "turn", "aside", "mood", "tone")
_TAGS = ("theme_tag", "motif_tag", "mood_tag", "second_tag")


def tell_items(catalogue: Catalogue, language: Language, seed: int) -> Iterator[pl.DataFrame]:
    """Yield the raw items in blocks, in order of release.

    Columns: id, title, description, tags (list), category, author, available (bool), created_at (ISO 8601).
    """
    rng = np.random.default_rng([seed, 1])
    numbers = {name: rng.integers(0, 2**31, catalogue.n_items) for name in (*_SHARED, *_OWN, *_TAGS)}
    for name in _SHARED:
        numbers[name] = numbers[name][catalogue.first]
    numbers["author"] = _choose_authors(catalogue, numbers["author"])
    listed = catalogue.released - LISTED_DAYS_BEFORE * DAY
    created = np.datetime_as_string(START + listed.astype("timedelta64[s]"), unit="s")
    for start in range(0, catalogue.n_items, _BLOCK_ITEMS):
        block = range(start, min(start + _BLOCK_ITEMS, catalogue.n_items))
        columns = {name: values[block.start : block.stop].tolist() for name, values in numbers.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        yield pl.DataFrame(
            [_tell_item(catalogue, language, item, row) for item, row in zip(block, rows, strict=True)]
        ).with_columns(
            available=pl.Series(catalogue.available[block.start : block.stop]),
            created_at=pl.Series(created[block.start : block.stop].tolist()) + "Z",
        )


def _choose_authors(catalogue: Catalogue, numbers: Ints) -> Ints:
    """Give every item an author who stays within one theme."""
    authors = max(1, catalogue.n_items // (catalogue.n_themes * _ITEMS_PER_AUTHOR))
    author = catalogue.theme + catalogue.n_themes * (numbers % authors)
    # An odd factor scatters neighbouring authors over the names.
    return author * 389


def _tell_item(catalogue: Catalogue, language: Language, item: int, numbers: dict[str, int]) -> dict[str, object]:
    """Return id, title, description, tags, category and author of one item."""
    theme = language.themes[catalogue.theme[item]]
    mood = language.moods[catalogue.mood[item]]
    motif = theme.motifs[catalogue.motif[item]]
    second = language.themes[catalogue.second[item]] if catalogue.second[item] >= 0 else None
    noun, other = motif if numbers["swap"] % 2 else reversed(motif)
    words = {
        "person": language.name_person(numbers["given"], numbers["family"]),
        "town": language.name_town(numbers["town"]),
        "hero": choose(theme.heroes, numbers["hero"]),
        "place": choose(theme.places, numbers["place"]),
        "aim": choose(theme.aims, numbers["aim"]),
        "part": str(catalogue.part[item]),
        "second": second.name if second else "",
        "second_noun": choose(second.motifs, numbers["aside"])[0] if second else "",
    }
    sentences = [choose(language.openings, numbers["opening"]), choose(language.turns, numbers["turn"])]
    if catalogue.part[item] > 1:
        sentences.append(choose(language.sequels, numbers["aside"]))
    elif second:
        sentences.append(choose(language.asides, numbers["aside"]))
    if numbers["tone"] % 20 < _MOOD_OF_20:
        sentences.append(choose(mood.sentences, numbers["mood"]))
    tags = (theme.name, motif[0], mood.name, second.name if second else None)
    kept = [tag for tag, name in zip(tags, _TAGS, strict=True) if tag and numbers[name] % 10 < _TAG_OF_10]
    author_family, author_given = divmod(numbers["author"], len(language.given_names))
    return {
        "id": f"i{item:06d}",
        "title": choose(language.titles, numbers["title"]).format(
            noun=noun.title(),
            other=other.title(),
            adjective=choose(language.adjectives, numbers["adjective"]),
            adjective2=choose(language.adjectives, numbers["adjective2"]),
            person=words["person"],
            town=words["town"],
        ),
        "description": language.sentence_joint.join(sentences).format(noun=noun, other=other, **words),
        "tags": kept,
        "category": theme.genre,
        "author": language.name_person(author_given, author_family),
    }
