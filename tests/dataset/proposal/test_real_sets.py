"""The proposals for the real data sets read what the configs written by hand read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.config import load_config
from recsys.dataset.proposal.proposal import propose
from recsys.dataset.proposal.questions import Decisions

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("RECSYS_TEST_DATA") or Path(__file__).parents[4] / "shared/data")
SETS = ("goodbooks", "ifdb", "ml100k", "ml1m", "online_retail", "qb_zh")


@pytest.mark.realdata
@pytest.mark.parametrize("name", SETS)
def test_real_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in the real data")
    monkeypatch.setenv("RECSYS_DATA", str(DATA))
    by_hand = load_config(ROOT / "configs" / f"{name}.yaml").dataset
    proposed = propose([name], name, Decisions()).content["dataset"]
    columns = {key: value for key, value in by_hand.interactions.columns.model_dump().items() if value is not None}
    assert proposed["interactions"]["columns"] == columns
    assert proposed["interactions"]["path"] == by_hand.interactions.path
    assert proposed["items"]["path"] == by_hand.items.path
    assert proposed["items"]["columns"]["item_id"] == by_hand.items.columns.item_id
    assert proposed["items"]["columns"]["title"] == by_hand.items.columns.title
    assert proposed["repeats"] == by_hand.repeats
