"""Histories that were folded in last night are looked up, and factors are the same whatever happens to the files."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import at, checkerboard, make_interactions

from recsys.collab.als import AlsModel
from recsys.collab.factor_cache import FactorCache, hash_histories
from recsys.config import AlsConfig
from recsys.dataset.histories import Histories, build_histories

CONFIG = AlsConfig(embedding_size=6, epochs=4)
CATALOGUE, ROWS = checkerboard(users=30, items=20)
# "u003" has one event more than the night before, "u99" is new.
CHANGED = make_interactions(("u003", CATALOGUE["item_id"][0], 59), ("u99", CATALOGUE["item_id"][1], 59))


@pytest.fixture(scope="module")
def world() -> Histories:
    return build_histories(ROWS, CATALOGUE, at(60))


@pytest.fixture(scope="module")
def model(world: Histories) -> AlsModel:
    return AlsModel.fit(world, CONFIG, seed=3, threads=1)


def fold_in(model: AlsModel, folder: Path, run: str, histories: Histories) -> tuple[np.ndarray, FactorCache]:
    """Fold in as a night does, in two shards."""
    cache = model.open_cache(folder, run)
    half = histories.n_users // 2
    factors = []
    for number, users in enumerate((slice(0, half), slice(half, None))):
        factors.append(model.fold_in(histories.select(users), cache))
        cache.write(number)
    return np.concatenate(factors), cache


def find_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.npy"))


def test_only_users_with_new_events_are_folded_in(model, world, tmp_path):
    user_ids = world.user_ids.to_list()
    assert "u003" in user_ids
    first, cache = fold_in(model, tmp_path, "2025-01-01", world)
    assert (cache.known, cache.solved) == (0, 30)
    tonight = build_histories(pl.concat([ROWS, CHANGED]), CATALOGUE, at(60))
    second, cache = fold_in(model, tmp_path, "2025-01-02", tonight)
    assert (cache.known, cache.solved) == (29, 2)
    assert second.tobytes() == model.fold_in(tonight).tobytes()
    as_before = np.array([user_id != "u003" for user_id in user_ids])
    assert second[:-1][as_before].tobytes() == first[as_before].tobytes()
    assert second[user_ids.index("u003")].tobytes() != first[user_ids.index("u003")].tobytes()


def test_a_changed_catalogue_affects_only_users_of_the_changed_items(model, world, tmp_path):
    fold_in(model, tmp_path, "2025-01-01", world)
    gone = CATALOGUE["item_id"][4]
    item_ids = pl.concat([CATALOGUE["item_id"].filter(CATALOGUE["item_id"] != gone), pl.Series(["a new one", "zz"])])
    tonight = model.align(CATALOGUE["item_id"], item_ids.sort())
    histories = build_histories(ROWS, pl.DataFrame({"item_id": item_ids.sort()}), at(60))
    users = ROWS.filter(pl.col("item_id") == gone)["user_id"].n_unique()
    factors, cache = fold_in(tonight, tmp_path, "2025-01-02", histories)
    assert (cache.known, cache.solved) == (30 - users, users)
    assert 0 < users < 30
    assert factors.tobytes() == tonight.fold_in(histories).tobytes()


def test_factors_of_another_model_are_not_used(model, world, tmp_path):
    fold_in(model, tmp_path, "2025-01-01", world)
    other = AlsModel.fit(world, CONFIG.model_copy(update={"alpha": 2.0}), seed=3, threads=1)
    same_factors = AlsModel(model.item_factors, CONFIG.model_copy(update={"alpha": 2.0}))
    for another in (other, same_factors):
        factors, cache = fold_in(another, tmp_path, "2025-01-02", world)
        assert cache.known == 0
        assert factors.tobytes() == another.fold_in(world).tobytes()


def test_only_the_last_night_is_kept(model, world, tmp_path):
    fold_in(AlsModel(model.item_factors * 2, CONFIG), tmp_path, "2025-01-01", world)
    fold_in(model, tmp_path, "2025-01-01", world)
    _, cache = fold_in(model, tmp_path, "2025-01-02", world)
    assert len(find_files(tmp_path)) == 6
    cache.forget_others()
    assert len(find_files(tmp_path)) == 2
    assert {path.parent.name for path in find_files(tmp_path)} == {"2025-01-02"}
    _, cache = fold_in(model, tmp_path, "2025-01-03", world)
    assert cache.known == 30


def test_the_factors_of_two_models_of_one_night_are_kept(model, world, tmp_path):
    models = [AlsModel(model.item_factors * factor, CONFIG) for factor in (2, 3)]
    for day in ("2025-01-01", "2025-01-02"):
        caches = [fold_in(each, tmp_path, day, world)[1] for each in models]
    for cache in caches:
        cache.forget_others(2)
    assert len(find_files(tmp_path)) == 4
    for each in models:
        assert fold_in(each, tmp_path, "2025-01-03", world)[1].known == 30


def test_the_same_night_twice_leaves_the_same_files(model, world, tmp_path):
    for name in ("once", "twice", "twice"):
        fold_in(model, tmp_path / name, "2025-01-01", world)
    once, twice = ([path.read_bytes() for path in find_files(tmp_path / name)] for name in ("once", "twice"))
    assert once == twice


@pytest.mark.parametrize("damage", ["cut off", "changed", "something else", "no file"])
def test_damaged_files_cost_time_only(model, world, tmp_path, damage, caplog):
    fold_in(model, tmp_path, "2025-01-01", world)
    first = find_files(tmp_path)[0]
    content = first.read_bytes()
    if damage == "cut off":
        first.write_bytes(content[:-10])
    elif damage == "changed":
        first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "something else":
        np.save(first, np.zeros(4))
    else:
        first.unlink()
        first.mkdir()
    factors, cache = fold_in(model, tmp_path, "2025-01-02", world)
    assert (cache.known, cache.solved) == (15, 15)
    assert factors.tobytes() == model.fold_in(world).tobytes()
    assert str(first) in caplog.text


def test_a_folder_that_cannot_be_written_costs_time_only(model, world, tmp_path, caplog):
    (tmp_path / "factors").write_text("a file")
    factors, _ = fold_in(model, tmp_path / "factors", "2025-01-01", world)
    assert factors.tobytes() == model.fold_in(world).tobytes()
    assert "cannot be written" in caplog.text


def test_nothing_is_written_when_nobody_was_folded_in(model, tmp_path):
    cache = model.open_cache(tmp_path, "2025-01-01")
    cache.write(0)
    cache.forget_others()
    assert list(tmp_path.iterdir()) == []


def test_last_nights_files_may_be_deleted(model, world, tmp_path):
    fold_in(model, tmp_path, "2025-01-01", world)
    shutil.rmtree(tmp_path)
    _, cache = fold_in(model, tmp_path, "2025-01-02", world)
    assert cache.solved == 30


def test_different_histories_have_different_hashes():
    starts = np.array([0, 2, 4, 6, 8, 8, 9, 9])
    items = np.array([1, 2, 1, 3, 2, 1, 1, 2, -1], dtype=np.int32)
    weights = np.array([1, 1, 1, 1, 1, 1, 1, 2, 5], dtype=np.float32)
    keys = hash_histories(starts, items, weights)
    assert (keys.dtype, keys.shape) == (np.uint64, (7, 2))
    # Unknown items do not count: the last three histories are empty.
    assert len(np.unique(keys, axis=0)) == 5
    assert (keys[4:] == keys[4]).all()
    assert (keys[:4, 0] != keys[:4, 1]).all()


def test_hashes_of_many_histories_do_not_collide():
    rng = np.random.default_rng(0)
    starts = np.arange(0, 600_001, 3)
    items = rng.integers(1000, size=600_000).astype(np.int32)
    keys = hash_histories(starts, items, np.ones(600_000, dtype=np.float32))
    distinct = len(np.unique(items.reshape(-1, 3), axis=0))
    assert len(np.unique(keys[:, 0])) == len(np.unique(keys[:, 1])) == distinct
