"""A shop's raw files, and how they are ingested in tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys.config import DatasetConfig
from recsys.dataset.ingestion import Ingested, ingest

NOW = datetime(2025, 6, 1, tzinfo=UTC)


class Shop:
    """Writes raw files and ingests them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items("item_id,title", "a,A", "b,B", "c,C")

    def items(self, *lines: str) -> None:
        (self.folder / "items.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def interactions(self, *lines: str) -> None:
        (self.folder / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def config(
        self, share: float = 1.0, items: Any = None, repeats: bool = False, **interactions: Any
    ) -> DatasetConfig:
        sections = {
            "items": {"path": "items.csv", "max_rejected": limits(share), **(items or {})},
            "interactions": {"path": "log.csv", "max_rejected": limits(share), **interactions},
            "repeats": repeats,
        }
        return DatasetConfig.model_validate(sections)

    def ingest(self, share: float = 1.0, items: Any = None, repeats: bool = False, **interactions: Any) -> Ingested:
        return ingest(self.config(share, items, repeats, **interactions), now=NOW)


def limits(share: float) -> dict[str, float]:
    """The same limit for all rules, also for those with a limit of their own."""
    return dict.fromkeys(("total", "missing_user_id", "unknown_item", "early_time", "empty_text", "zero_value"), share)
