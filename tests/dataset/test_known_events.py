from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from worlds import at, make_interactions, make_items

from recsys.config import WindowsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.user_blocks import read_user_blocks
from recsys.dataset.windows import Windows, split_windows
from recsys.errors import DataError

ITEMS = make_items(*(f"i{number}" for number in range(9)))
BY_TIME = WindowsConfig(test_days=5, label_windows=2)
BY_SHARE = WindowsConfig(test_share=0.2, label_windows=2)


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    drawn = [(f"u{rng.integers(20):02d}", f"i{rng.integers(12)}", float(rng.integers(20))) for _ in range(300)]
    kinds = [{"event": kind, "positive": kind == "buy", "consumed": kind == "buy"} for kind in ("view", "buy")]
    named = ({"user": user, "item": item, "day": day} for user, item, day in drawn)
    return make_interactions(*({**row, **kinds[rng.integers(2)]} for row in named)).sort("user_id", "step")


def facts(windows: Windows) -> list[object]:
    return [
        (one.name, one.cutoff, one.end, one.history.rows(), one.positives.rows(), one.shown.rows())
        for one in windows.windows
    ] + [windows.everything.rows(), windows.end]


def assert_same(one: Histories, other: Histories) -> None:
    for field in fields(Histories):
        found, wanted = getattr(one, field.name), getattr(other, field.name)
        if isinstance(found, np.ndarray):
            assert (found.dtype, found.tobytes()) == (wanted.dtype, wanted.tobytes()), field.name
        else:
            assert found.equals(wanted) if isinstance(found, pl.Series) else found == wanted, field.name


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("config", [BY_TIME, BY_SHARE], ids=["days", "share"])
@pytest.mark.parametrize("repeats", [False, True])
def test_windows_of_a_file_are_those_of_rows_in_memory(monkeypatch, tmp_path, rows, size, config, repeats):
    rows.write_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr("recsys.dataset.user_blocks._BLOCK_ROWS", size)
    stored = pl.scan_parquet(tmp_path / "rows.parquet")
    streamed, expected = (
        split_windows(source, config, repeats=repeats, end=at(19), seed=0) for source in (stored, rows)
    )
    assert facts(streamed) == facts(expected)
    assert all(one.positives.height for one in expected.windows)
    assert_same(streamed.known.gather(ITEMS, at(19)), expected.known.gather(ITEMS, at(19)))
    for mine, theirs in zip(streamed.windows, expected.windows, strict=True):
        assert_same(mine.known.gather(ITEMS, mine.cutoff), theirs.known.gather(ITEMS, theirs.cutoff))


def test_other_protocols_take_a_file_too(rows):
    config = WindowsConfig(protocol="leave_last_out", label_windows=1)
    streamed, expected = (
        split_windows(source, config, repeats=False, end=at(19), seed=0) for source in (rows.lazy(), rows)
    )
    assert facts(streamed) == facts(expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_events_after_the_cutoff_stop_the_run(rows, lazy):
    known = KnownEvents(rows.lazy() if lazy else rows, at(15))
    late = rows.filter(pl.col("time").is_between(at(10), at(15), closed="left")).height
    assert late
    with pytest.raises(DataError, match=f": {late} interactions at or after that instant"):
        known.gather(ITEMS, at(10))
    assert known.cut(at(10)).gather(ITEMS, at(10)).cutoff == at(10)
    # An earlier instant stays.
    assert known.cut(at(18)).before == at(15)


def test_blocks_hold_whole_users(monkeypatch, rows):
    for size in (1, 7, 50):
        monkeypatch.setattr("recsys.dataset.user_blocks._BLOCK_ROWS", size)
        blocks = list(read_user_blocks(rows.lazy()))
        assert pl.concat(blocks).equals(rows)
        users = [user for block in blocks for user in block["user_id"].unique()]
        assert len(users) == len(set(users)) == rows["user_id"].n_unique()
    assert [block.height for block in read_user_blocks(rows.head(0).lazy())] == [0]
