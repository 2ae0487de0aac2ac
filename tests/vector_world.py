"""A world in which only vectors carry the interest: texts are random, and what users take next nobody took before."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from worlds import at

# Items join every day, and users take them from their second day to their fourth.
DAYS, ITEMS_A_DAY, USERS, TASTES, LENGTH = 40, 16, 80, 8, 12
# The night, and the day after the last event.
RUN_DATE = "2025-02-10"
NOW = at(60)
_WORDS = ("amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "lagoon")


def settings() -> dict[str, Any]:
    """Return settings that train on the world in seconds, as a YAML file would hold them."""
    return {
        "name": "images",
        "threads": 1,
        "dataset": {
            "items": {
                "path": "items.jsonl.gz",
                "columns": {"item_id": "id", "title": "title", "created_at": "created_at"},
                "vectors": {"image": {"path": "images.parquet"}},
            },
            "interactions": {"path": "interactions.csv", "columns": {"time": "time"}},
        },
        "windows": {"test_days": 3},
        "text": {"max_tokens": 8, "fine_tune": {"epochs": 0}, "interest": {"epochs": 2}},
        "ranking": {"max_trees": 20, "fixed_trees": 20},
        "evaluation": {"n": 5, "bootstrap_samples": 100},
    }


def taste_of(number: int) -> int:
    """Return the taste of an item or user."""
    return number % TASTES


def draw_vectors(items: int) -> NDArray[np.float32]:
    """Return (items, LENGTH) float32 vectors, alike where the tastes are; rows have any length."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(TASTES, LENGTH))
    noise = rng.normal(scale=0.5, size=(items, LENGTH))
    scale = rng.uniform(0.1, 9.0, size=(items, 1))
    return (scale * (centres[[taste_of(item) for item in range(items)]] + noise)).astype(np.float32)


def item_id(number: int) -> str:
    return f"i{number:04d}"


def write_world(folder: Path, days: int = DAYS) -> pl.DataFrame:
    """Write the raw files, and return `item_id` and `vector` of all items."""
    rng = np.random.default_rng(0)
    items = [
        {
            "id": item_id(number),
            "title": " ".join(rng.choice(_WORDS, 3)),
            "created_at": at(number // ITEMS_A_DAY).isoformat(),
        }
        for number in range(days * ITEMS_A_DAY)
    ]
    with gzip.open(folder / "items.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    rows = []
    for user in range(USERS):
        for day in range(1, days):
            if rng.random() < 0.4:
                recent = range(max(0, day - 3) * ITEMS_A_DAY, day * ITEMS_A_DAY)
                item = rng.choice([number for number in recent if taste_of(number) == taste_of(user)])
                rows.append((f"u{user:03d}", item_id(item), at(day + float(rng.random())).isoformat()))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    frame.unique(["user_id", "item_id"], keep="first", maintain_order=True).write_csv(folder / "interactions.csv")
    vectors = pl.DataFrame({"item_id": [item["id"] for item in items], "vector": draw_vectors(len(items)).tolist()})
    vectors.write_parquet(folder / "images.parquet")
    return vectors
