import json
from datetime import UTC, datetime

import pytest

from recsys.config import DatasetConfig
from recsys.dataset.ingestion import ingest
from recsys.errors import DataError


def read(folder, items, users=("u",), **dataset):
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    events = [{"user_id": user, "item_id": "ok"} for user in users]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    config = DatasetConfig.model_validate(
        {
            "items": {
                "path": str(folder / "items.jsonl"),
                "columns": {"description": "description", "tags": "tags"},
                "attributes": {"author": "author"},
            },
            "interactions": {"path": str(folder / "events.jsonl"), "columns": {}},
            "max_rejected_share": 0.9,
            **dataset,
        }
    )
    return ingest(config, now=datetime(2025, 6, 1, tzinfo=UTC))


def item(name, **more):
    return {"item_id": name, "title": "t", "description": "", "tags": "", "author": "", **more}


@pytest.mark.parametrize("field", ["title", "description", "tags", "author"])
def test_a_text_over_the_limit_is_rejected_by_rule(tmp_path, field):
    items = [item("ok", **{field: "书" * 50}), item("long", **{field: "书" * 51})]
    result = read(tmp_path, items, max_text_characters=50)
    assert result.items["item_id"].to_list() == ["ok"]
    assert result.rejected["rule"].to_list() == ["text_too_long"]


def test_ids_over_the_limit_are_rejected_by_rule(tmp_path):
    result = read(tmp_path, [item("ok"), item("i" * 1000), item("i" * 1001)], ["u" * 1000, "u" * 1001])
    assert result.items.height == 2
    assert result.interactions["user_id"].to_list() == ["u" * 1000]
    assert sorted(result.rejected["rule"]) == ["item_id_too_long", "user_id_too_long"]


def test_the_error_names_the_setting(tmp_path):
    with pytest.raises(DataError, match=r"text_too_long 2, .*dataset.max_text_characters allows 100,000"):
        read(tmp_path, [item("ok"), *(item(f"{n}", title="x" * 100_001) for n in range(2))], max_rejected_share=0.05)
