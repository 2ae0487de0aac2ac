from pathlib import Path

import numpy as np
import pytest

from recsys.dataset.ingestion import event_sort
from recsys.dataset.ingestion.event_sort import EventFile

FIELDS = [("user", "<u4"), ("time", "<i8")]


@pytest.mark.parametrize("range_events", [1, 7, 50, 10_000])
def test_blocks_hold_whole_users_in_order_whatever_their_size(tmp_path: Path, monkeypatch, range_events):
    monkeypatch.setattr(event_sort, "_RANGE_EVENTS", range_events)
    monkeypatch.setattr(event_sort, "_CHUNK_EVENTS", 13)
    rng = np.random.default_rng(0)
    events = np.zeros(500, dtype=FIELDS)
    events["user"], events["time"] = rng.integers(0, 40, 500), np.arange(500)
    file = EventFile(tmp_path, FIELDS)
    for start in range(0, 500, 90):
        file.append(events[start : start + 90])
    assert file.counts.tolist() == np.bincount(events["user"]).tolist()
    order = rng.permutation(40).astype(np.uint32)
    blocks = list(file.read_by_user(order))
    seen = [set(block["user"].tolist()) for block in blocks]
    assert sum(map(len, seen)) == 40
    assert [user for users in seen for user in sorted(users)] == list(range(40))
    largest = int(file.counts.max())
    assert all(len(block) < range_events + largest for block in blocks)
    for block in blocks:
        # Each user's events are all there, in the order in which they were added.
        for user in set(block["user"].tolist()):
            times = block["time"][block["user"] == user]
            assert times.tolist() == events["time"][events["user"] == order[user]].tolist()
    assert list(tmp_path.iterdir()) == []


def test_users_without_events_are_left_out(tmp_path: Path):
    file = EventFile(tmp_path, FIELDS)
    file.append(np.array([(5, 1), (2, 2), (5, 3)], dtype=FIELDS))
    assert file.counts.tolist() == [0, 0, 1, 0, 0, 2]
    (block,) = file.read_by_user(np.array([5, 2], dtype=np.uint32))
    assert block.tolist() == [(0, 1), (1, 2), (0, 3)]
