"""`dataset.max_events_per_user_day`: the first events of each user and day stay."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from raw_shop import NOW, Shop

from recsys.config import DatasetConfig
from recsys.dataset.ingestion import Ingested, ingest


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return Shop(tmp_path)


def read(shop: Shop, limit: int | None) -> Ingested:
    config = shop.config(columns={"time": "time"})
    return ingest(config.model_copy(update={"max_events_per_user_day": limit}), now=NOW)


def times(ingested: Ingested, user: str) -> list[str]:
    rows = ingested.interactions.filter(user_id=user)
    return rows["time"].dt.strftime("%d %H:%M").to_list()


def test_the_first_of_each_user_and_day_stay(shop: Shop) -> None:
    shop.interactions(
        "user_id,item_id,time",
        "u,a,2025-01-02T09:00:00Z",
        "u,b,2025-01-01T23:59:00Z",
        "u,c,2025-01-02T08:00:00Z",
        "u,a,2025-01-02T00:00:00Z",
        "v,a,2025-01-02T12:00:00Z",
        "v,b,2025-01-02T13:00:00Z",
    )
    found = read(shop, 2)
    assert times(found, "u") == ["01 23:59", "02 00:00", "02 08:00"]
    assert times(found, "v") == ["02 12:00", "02 13:00"]
    assert found.interactions["step"].to_list() == [0, 1, 2, 0, 1]
    counts = found.counts["interactions"]
    assert (counts.excess, counts.crowded_days, counts.kept, counts.read) == (1, 1, 5, 6)
    assert "excluded by max_events_per_user_day: 1 on 1 day of a user" in "\n".join(found.summary.lines())
    assert read(shop, None).counts["interactions"].excess == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 47)), min_size=1, max_size=30), st.integers(1, 4))
def test_a_user_does_not_depend_on_others_or_on_later_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(folder)

    def kept(chosen: list[tuple[str, int]]) -> list[tuple[str, str]]:
        lines = [f"{user},a,2025-01-{1 + hour // 24:02}T{hour % 24:02}:00:00Z" for user, hour in chosen]
        shop.interactions("user_id,item_id,time", *lines)
        config = shop.config(
            columns={"time": "time"}, path=str(folder / "log.csv"), items={"path": str(folder / "items.csv")}
        )
        found = ingest(config.model_copy(update={"max_events_per_user_day": limit}), now=NOW).interactions
        return list(found.select("user_id", "time").iter_rows())

    everything = kept(events)
    for user in {user for user, _ in events}:
        alone = kept([event for event in events if event[0] == user])
        assert alone == [row for row in everything if row[0] == user]
    early = [event for event in events if event[1] < 12]
    if early:
        assert kept(early) == [row for row in everything if row[1].day == 1 and row[1].hour < 12]


def test_days_need_times(shop: Shop) -> None:
    content = {**shop.config().model_dump(), "max_events_per_user_day": 5}
    with pytest.raises(ValidationError, match=r"max_events_per_user_day needs interactions\.columns\.time"):
        DatasetConfig.model_validate(content)
