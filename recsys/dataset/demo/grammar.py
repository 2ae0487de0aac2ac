"""The language of the demo catalogue: themes, moods, names and sentence patterns.

Both languages have the same structure, so the same numbers give the same story in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

GENRES = 8
THEMES_PER_GENRE = 6
MOTIFS = 4
MOODS = 6


class Theme(NamedTuple):
    """What items of one theme are made of; each of the `MOTIFS` motifs is two nouns, the first its tag."""

    genre: str
    name: str
    heroes: tuple[str, ...]
    places: tuple[str, ...]
    aims: tuple[str, ...]
    motifs: tuple[tuple[str, str], ...]


class Mood(NamedTuple):
    """A mood's tag and the sentences that show it."""

    name: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Language:
    """All words of one language; the pattern fields hold `str.format` templates."""

    # In pair order: themes 2j and 2j + 1 are of different genres and please the same users.
    themes: tuple[Theme, ...]
    moods: tuple[Mood, ...]
    adjectives: tuple[str, ...]
    given_names: tuple[str, ...]
    family_names: tuple[str, ...]
    # Separates the two names; in Chinese it is empty, and the family name is first.
    name_joint: str
    town_heads: tuple[str, ...]
    town_tails: tuple[str, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    turns: tuple[str, ...]
    asides: tuple[str, ...]
    sequels: tuple[str, ...]
    sentence_joint: str
    family_first: bool = False

    def name_person(self, given: int, family: int) -> str:
        """Return the full name for two numbers."""
        names = [choose(self.given_names, given), choose(self.family_names, family)]
        return self.name_joint.join(reversed(names) if self.family_first else names)

    def name_town(self, number: int) -> str:
        """Return the town for a number."""
        return choose(self.town_heads, number) + choose(self.town_tails, number // len(self.town_heads))


def choose(words: tuple[str, ...], number: int) -> str:
    """Return the word for a number of any size."""
    return words[number % len(words)]


def parse_themes(text: str, colon: str, separator: str) -> tuple[Theme, ...]:
    """Read the themes of a language and put them in pair order.

    Args:
        text: genres as `= name`, each followed by its themes of four lines: name and heroes, places, aims,
            motifs.
        colon: separates a theme's name and its heroes.
        separator: separates the entries of a line.

    Returns:
        `GENRES * THEMES_PER_GENRE` themes. Neighbours 2j and 2j + 1 come from genres half the list
        apart and have different positions within them, so no word reveals the pair.
    """
    genres: list[list[Theme]] = []
    genre = ""
    lines = iter(text.strip().splitlines())
    for line in lines:
        if line.startswith("= "):
            genre = line.removeprefix("= ")
            genres.append([])
            continue
        name, rest = line.split(colon, 1)
        heroes, places, aims, motifs = (
            tuple(entry.strip() for entry in row.split(separator))
            for row in (rest, next(lines), next(lines), next(lines))
        )
        nouns = [motif.split("/") for motif in motifs]
        theme = Theme(genre, name, heroes, places, aims, tuple((first, second) for first, second in nouns))
        genres[-1].append(theme)
    half = GENRES // 2
    return tuple(
        theme
        for place in range(THEMES_PER_GENRE)
        for left in range(half)
        for theme in (genres[left][place], genres[left + half][(place + left + 1) % THEMES_PER_GENRE])
    )


def split_words(text: str) -> tuple[str, ...]:
    """Read words separated by spaces."""
    return tuple(text.split())


def parse_moods(text: str) -> tuple[Mood, ...]:
    """Read moods: a name at the start of a line, its sentences indented below it."""
    moods: list[Mood] = []
    for line in text.strip().splitlines():
        if line.startswith(" "):
            moods[-1] = Mood(moods[-1].name, (*moods[-1].sentences, line.strip()))
        else:
            moods.append(Mood(line, ()))
    return tuple(moods)
