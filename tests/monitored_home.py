"""A home with snapshots and published lists of simulated nights, without a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from night_world import Feed

from recsys.artifacts.recommendations import publish
from recsys.artifacts.snapshots import write_snapshot
from recsys.config import Config
from recsys.storage.files import write_table
from recsys.tables import Recommendations, Rejected, empty


def put_night(home: Path, config: Config, feed: Feed, *, lists: bool = True) -> None:
    """Write a feed's snapshot and publish its lists, as ingest and generate would."""
    tables = {"items": feed.items, "interactions": feed.events, "rejected": empty(Rejected)}
    snapshot = write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))
    if not lists:
        return

    def fill(folder: Path) -> Mapping[str, Any]:
        write_table(feed.lists, Recommendations, folder / "part-00000.parquet", "lists")
        return {"counts": feed.facts["counts"]}

    publish(home, config.name, feed.run_date, fill, {"snapshot": snapshot, "model_version": "1", "config": "c"})
