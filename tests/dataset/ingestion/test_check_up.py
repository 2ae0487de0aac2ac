import pytest
from raw_shop import NOW, Shop

from recsys.dataset.ingestion.check_up import Look, look_at_raw_data


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return Shop(tmp_path.resolve())


def look(shop: Shop, **given: object) -> dict[str, Look]:
    return {found.name: found for found in look_at_raw_data(shop.config(**{"share": 0.1, **given}), NOW)}


def test_good_data(shop):
    shop.interactions("user_id,item_id", "u,a", "u,b")
    found = look(shop)
    assert all(one.good for one in found.values())
    assert list(found) == [
        *("raw items", "item rows", "raw interactions"),
        *("users and items", "times", "event kinds", "values"),
    ]
    assert found["raw interactions"].found == "1 file, such as log.csv; 2 rows checked"
    assert found["times"].found == "good in 2 rows checked"


def test_each_fault_is_named(shop):
    shop.interactions("user_id,item_id,at,kind,n", "u,a,03.04.2021,buy,x", "u,z,13.04.2021,look,1")
    columns = {"time": "at", "event": "kind", "value": "n"}
    found = look(shop, columns=columns, time_format="iso", event_weights={"buy": 1})
    assert "time_format: '%d.%m.%Y'" in found["times"].found
    assert {name for name, one in found.items() if not one.good} == {"times"}
    found = look(shop, columns=columns, event_weights={"buy": 1})
    assert {name for name, one in found.items() if not one.good} == {"users and items", "values"}
    assert "unknown_item 1, such as 'z' in log.csv line 3" in found["users and items"].found
    assert "bad_value 1, such as 'x' in log.csv line 2" in found["values"].found
    found = look(shop, columns={"event": "kind"}, event_weights={"buy": 1}, items={"columns": {"title": "name"}})
    assert not found["raw items"].good
    assert "no column 'name'" in found["raw items"].found
    found = look(shop, columns={"user_id": "customer"})
    assert "no column 'customer'" in found["raw interactions"].found


def test_unit_that_cannot_be_right(shop):
    shop.interactions("user_id,item_id,at", "u,a,1609459200", "u,b,1609459300")
    found = look(shop, columns={"time": "at"}, time_format="milliseconds")
    assert not found["times"].good
    assert "set dataset.interactions.time_format to 'seconds'" in found["times"].found
    shop.items("item_id,title,born", "a,A,20210101", "b,B,20210102")
    found = look(shop, items={"columns": {"created_at": "born"}, "time_format": "seconds"})
    assert "set dataset.items.time_format to 'compact'" in found["item rows"].found
    assert not found["item rows"].good


def test_every_file_is_looked_at_and_only_its_head(shop):
    folder = shop.folder / "log"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_text("user_id,item_id\n" + "u,a\n" * 30_000)
    (folder / "9.csv").write_text("user,item_id\nu,a\n")
    found = look(shop, path="log")
    assert not found["raw interactions"].good
    assert "9.csv: no column 'user_id'" in found["raw interactions"].found
    (folder / "9.csv").unlink()
    assert look(shop, path="log")["raw interactions"].found == "3 files, such as log/0.csv; 3,000 rows checked"
