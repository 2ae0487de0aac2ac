"""A shop's raw files, and how they are ingested in tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys.config import DatasetConfig, InteractionFiles
from recsys.config.dataset import ItemFiles
from recsys.config.raw_files import TOTAL, RawFiles
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
            "items": {"path": "items.csv", "max_rejected": limits(ItemFiles, share), **(items or {})},
            "interactions": {"path": "log.csv", "max_rejected": limits(InteractionFiles, share), **interactions},
            "repeats": repeats,
        }
        return DatasetConfig.model_validate(sections)

    def ingest(self, share: float = 1.0, items: Any = None, repeats: bool = False, **interactions: Any) -> Ingested:
        return ingest(self.config(share, items, repeats, **interactions), now=NOW)


def limits(files: type[RawFiles], share: float) -> dict[str, float]:
    """The same limit for all rules, also for those with a limit of their own."""
    return dict.fromkeys((TOTAL, *files.default_max_rejected), share)
