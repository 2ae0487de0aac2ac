"""A whole system in miniature: the demo catalogue, settings that train in seconds, and homes to try things in."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import Config, parse_config

# The demo's events lie in 2025-01-01 … 2025-02-09. The trained home is as of RUN_DATE; later events are there all the
# time and must never show. Its test window is the week before.
NOW = datetime(2025, 6, 1, tzinfo=UTC)
RUN_DATE = "2025-02-03"
TEST_START = datetime(2025, 1, 27, tzinfo=UTC)
CUTOFF = datetime(2025, 2, 3, tzinfo=UTC)
LAST_DAY = "2025-02-10"
TRAINING_LOG = "training.log"

_EVENTS = {"view": 1.0, "click": 2.0, "like": 3.0, "comment": 4.0, "share": 4.0, "purchase": 5.0}


@dataclass(frozen=True)
class Trained:
    """A home with one run of everything as of RUN_DATE: version 1 is champion, its lists are published.

    Its files are private, as those of commands are.
    """

    config: Config
    home: Path
    # Where the process stood meanwhile; nothing may be written there.
    bystander: Path

    @property
    def log(self) -> Path:
        """What was logged at INFO and above."""
        return self.bystander.parent / TRAINING_LOG


_SOURCES = ("als", "item_to_item", "transitions", "ease", "tfidf", "text", "popular", "popular_all_time", "new_items")


# Promotes any challenger whose metric differs for at least one user.
LENIENT_GATE: dict[str, Any] = {
    "accept_equal": "always",
    "max_loss": 1.0,
    "max_total_loss": 1.0,
    "min_users": 1,
    "min_users_with_hits": 1,
    "min_users_differing": 1,
    "guardrails": dict.fromkeys(
        ("new_users", "light_users", "cold_item_recall", "coverage", "fallback_share", "churn", "seconds", "bytes")
    ),
}


def settings() -> dict[str, Any]:
    """Return the settings of a miniature over the demo's files, as a YAML file would hold them.

    The files are looked for in RECSYS_DATA, so that the same settings can meet other data.
    """
    items = {name: name for name in ("title", "description", "tags", "available", "created_at")}
    return {
        "name": "mini",
        "threads": 1,
        "dataset": {
            "items": {
                "path": "items.jsonl.gz",
                "columns": {"item_id": "id", **items},
                "attributes": {"category": "category"},
            },
            "interactions": {
                "path": "interactions.csv.gz",
                "columns": {"time": "timestamp", "event": "event"},
                "event_weights": _EVENTS,
            },
        },
        "windows": {"test_days": 7},
        "text": {
            "max_tokens": 16,
            "fine_tune": {"max_steps_per_epoch": 3, "batch_size": 16, "untouched_share": "auto"},
            "interest": {"epochs": 1},
        },
        # Less than the small catalogue has: something must be left for nobody to propose.
        "candidates": {"depths": dict.fromkeys(_SOURCES, 50) | {"new_items": 20}},
        "ranking": {"max_trees": 20, "fixed_trees": 20},
        "evaluation": {"bootstrap_samples": 100},
        # So few users make wide intervals; what the gate does with them is tested by itself.
        "registry": {"model_name": "recsys", "experiment": "recsys", "gate": LENIENT_GATE},
    }


def change(config: Config, **sections: Mapping[str, Any] | str | int) -> Config:
    """Return the config with settings replaced; mappings reach into sections, however deep."""
    return parse_config(merge(config.model_dump(exclude_unset=True), sections), "test")


def merge(old: Any, new: Any) -> Any:
    """Return settings with others in their place; mappings reach into sections, however deep."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: merge(old.get(key), value) for key, value in new.items()}}


def copy_home(source: Path, target: Path) -> Path:
    """Copy a home with its MLflow store, which names its folders in full until it is first used."""
    shutil.copytree(source, target)
    return target


def read_lists(home: Path, run_date: str) -> pl.DataFrame:
    """Return the published lists of a night, straight from the files."""
    folder = home / "recommendations" / f"run_date={run_date}"
    return pl.concat([pl.read_parquet(path, glob=False) for path in sorted(folder.glob("*.parquet"))])


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
