"""A small catalogue with users of clear tastes, which the layouts write in many forms."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

TOPICS = {
    "Space": "rocket planet orbit comet astronaut galaxy moon lander probe nebula",
    "Garden": "rose tulip soil seed bloom hedge orchard compost meadow ivy",
    "Kitchen": "bread oven butter pepper soup onion flour pastry kettle spice",
    "Crime": "detective alibi clue murder inspector witness harbour letter vault fog",
}
ADJECTIVES = "Silent Golden Lost Broken Hidden Winter Crimson Distant Little Last".split()  # noqa: SIM905
FIRST = "Ann Bo Cleo Dan Eva Finn Gus Hana Ida Jon Kim Lea Max Nora Otto Pia".split()  # noqa: SIM905
LAST = "Berg Cole Diaz Ek Frost Gray Holm Ito Jansen Kern".split()  # noqa: SIM905


@dataclass(frozen=True)
class Item:
    """An item of the catalogue."""

    number: int
    title: str
    text: str
    topic: str
    author: str


@dataclass(frozen=True)
class Event:
    """An event of a user."""

    user: int
    item: Item
    time: datetime
    rating: int
    kind: str
    quantity: int


@dataclass(frozen=True)
class World:
    """Items and events, in order of time."""

    items: list[Item] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def of_user(self, user: int) -> list[Event]:
        """Return a user's events in order of time."""
        return [event for event in self.events if event.user == user]

    @property
    def users(self) -> list[int]:
        """Return the users' numbers."""
        return sorted({event.user for event in self.events})


@cache
def make_world(users: int = 120, items: int = 80, events: int = 25, days: int = 200, seed: int = 0) -> World:
    """Return a world in which each user likes one topic and takes nine of ten items from it."""
    draw = random.Random(seed)
    catalogue = []
    topics = list(TOPICS)
    for number in range(1, items + 1):
        topic = topics[number % len(topics)]
        words = TOPICS[topic].split()
        title = f"The {ADJECTIVES[number % 10]} {words[number // 4 % 10].title()} {number}"
        text = f"A {' '.join(draw.choices(words, k=4))} story of a {' '.join(draw.choices(words, k=5))} and more."
        author = f"{FIRST[number % 16]} {LAST[number % 16 % 10]}"
        catalogue.append(Item(number, title, text, topic, author))
    found = []
    start = datetime(2023, 3, 1, 8, tzinfo=UTC)
    for user in range(1, users + 1):
        liked = [item for item in catalogue if item.topic == topics[user % len(topics)]]
        others = [item for item in catalogue if item.topic != topics[user % len(topics)]]
        chosen = draw.sample(liked, min(len(liked), events - 3)) + draw.sample(others, 3)
        draw.shuffle(chosen)
        for item in chosen:
            rating = draw.choice((4, 5, 5, 4, 3)) if item in liked else draw.choice((1, 2, 2, 3))
            kind = draw.choice(("view", "view", "view", "add_to_cart", "purchase"))
            moment = start + timedelta(minutes=draw.randrange(days * 24 * 60))
            found.append(Event(user, item, moment, rating, kind, draw.choice((1, 1, 1, 2, 3))))
    return World(catalogue, sorted(found, key=lambda event: event.time))


def nickname(user: int) -> str:
    """Return the name of a user, different for up to 160 users."""
    return f"{FIRST[user % 16]}_{LAST[user // 16]}".lower()
