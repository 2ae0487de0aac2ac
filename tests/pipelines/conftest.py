"""The trained champion in memory."""

import pytest
from miniature import Trained

from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.bundle import Bundle
from recsys.pipelines.promotion import load_champion


@pytest.fixture(scope="session")
def bundle(trained: Trained) -> Bundle:
    """Version 1 of the trained home."""
    return load_champion(trained.config, trained.home)[1]


@pytest.fixture(scope="session")
def snapshot(trained: Trained) -> Snapshot:
    """The whole demo, events after the run date included."""
    return read_snapshot(trained.home, trained.config.name, trained.config.dataset.model_dump(mode="json"))
