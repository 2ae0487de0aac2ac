"""Nights that are killed, sharded differently, run by other engines or run twice end in the same bytes."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
import polars as pl
import pytest
import torch
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists
from night_processes import NightProcess
from worlds import make_items

from recsys.artifacts.recommendations import read_pointer
from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.collab.als import AlsModel
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.errors import ArtifactError
from recsys.pipelines.generate import generate, generate_range
from recsys.storage.folders import read_manifest
from recsys.storage.locks import lock
from recsys.tables import Rejected, empty
from recsys.text import embedding_cache

KILLS = 20


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("interrupted") / "home")
    yield home
    rmtree(home)


@pytest.fixture(scope="module")
def small(trained: Trained) -> Config:
    """Many small shards."""
    return change(trained.config, generation={"shard_size": 4})


@pytest.fixture(scope="module")
def undisturbed(home: Path, small: Config) -> dict[str, bytes]:
    """The bytes of an uninterrupted night."""
    return read_files(generate(small, home, LAST_DAY, NOW).folder)


@pytest.fixture(scope="module")
def start(home: Path) -> Callable[[Config], NightProcess]:
    """Start the last night in a process of its own."""
    return lambda config: NightProcess(config, home, LAST_DAY, NOW)


def remake(config: Config, home: Path, day: str) -> Path:
    """Make a night again, without its caches and published files."""
    rmtree(home / "factors", ignore_errors=True)
    rmtree(home / "recommendations" / f"run_date={day}", ignore_errors=True)
    return generate(config, home, day, NOW).folder


def remove_night(home: Path) -> None:
    rmtree(home / "recommendations" / f"run_date={LAST_DAY}", ignore_errors=True)
    (home / "recommendations" / "CURRENT").write_text(f"run_date={RUN_DATE}\n")


@pytest.mark.timeout(900)
def test_killed_at_any_moment_it_continues_to_the_same_bytes(
    home: Path,
    small: Config,
    undisturbed: dict[str, bytes],
    start: Callable[[Config], NightProcess],
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = random.Random(0)
    folder, kills, kept = home / "recommendations" / f"run_date={LAST_DAY}", 0, []
    shards = home / "recommendations" / f".run_date={LAST_DAY}.shards"
    # The first starts the process that the others are forked from.
    for _ in range(2):
        remove_night(home)
        begun = time.monotonic()
        assert start(small).wait() == 0
        seconds = time.monotonic() - begun
    remove_night(home)
    while kills < KILLS:
        process = start(small)
        # Half of them while shards are made, the others at any moment of the night.
        if kills % 2:
            goal = len(list(shards.glob("part-*.json"))) + moments.randint(1, 4)
            wait_for(partial(has_come_far, shards, goal, process))
            time.sleep(moments.uniform(0, 0.03))
        else:
            time.sleep(moments.uniform(0, seconds))
        kills += process.kill() == -signal.SIGKILL
        # Readers see either last night's lists or all of tonight's.
        pointer = read_pointer(home)
        assert pointer in (RUN_DATE, LAST_DAY)
        if pointer == LAST_DAY:
            assert read_files(folder) == undisturbed
            remove_night(home)
        kept.append(len(list(shards.glob("part-*.json"))))
    # Finished shards were kept across runs.
    assert max(kept) > 6
    generate(small, home, LAST_DAY, NOW)
    assert read_files(folder) == undisturbed
    assert not shards.exists()
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".tmp")] == []
    with capsys.disabled():
        print(f" {kills} kills; shards on disk after each: {kept}", end="")


def test_shards_threads_and_processes_do_not_change_lists(
    home: Path, trained: Trained, undisturbed: dict[str, bytes], small: Config
) -> None:
    whole = read_lists(home, LAST_DAY)
    for shards, threads in ((1, 1), (2, 2), (8, 1), (8, 2)):
        size = -(-whole["user_id"].n_unique() // shards)
        config = change(trained.config, threads=threads, generation={"shard_size": size})
        rmtree(home / "factors")
        made = generate(config, home, LAST_DAY, NOW)
        assert len(list(made.folder.glob("*.parquet"))) == shards
        assert read_lists(home, LAST_DAY).equals(whole)
    workers = change(small, generation={"engine": {"workers": 2}})
    rmtree(home / "factors")
    assert lists_of(generate(workers, home, LAST_DAY, NOW).folder) == lists_of(undisturbed)
    assert {path.parent.name for path in (home / "factors").rglob("*.npy")} == {LAST_DAY}


@pytest.mark.parametrize("workers", [1, 2])
def test_users_without_new_events_are_not_folded_in_again(
    home: Path, small: Config, undisturbed: dict[str, bytes], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = change(small, generation={"engine": {"workers": workers}})
    remake(small, home, RUN_DATE)
    solved = count_solved(monkeypatch)
    remove_night(home)
    assert lists_of(generate(settings, home, LAST_DAY, NOW).folder) == lists_of(undisturbed)
    active = read_lists(home, LAST_DAY)["user_id"].n_unique()
    if workers == 1:
        assert 0 < sum(solved) < active
    solved.clear()
    # There are no new events; and the files do not depend on the process that wrote them.
    kept = read_files(home / "factors")
    remove_night(home)
    assert lists_of(generate(small, home, LAST_DAY, NOW).folder) == lists_of(undisturbed)
    assert sum(solved) == 0
    assert read_files(home / "factors") == kept


def test_texts_embedded_by_processes_are_the_same(
    home: Path, trained: Trained, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS_PER_FILE", 5)
    items = make_items(*({"item_id": f"new {n}", "title": f"The {n}th lighthouse", "category": ""} for n in range(12)))
    tables = {
        "items": pl.concat([snapshot.items, items.select(snapshot.items.columns)]).sort("item_id"),
        "interactions": snapshot.interactions,
        "rejected": empty(Rejected),
    }
    name, dataset = trained.config.name, trained.config.dataset.model_dump(mode="json")
    write_snapshot(home, name, tables, dataset)
    kept = []
    for workers in (1, 2):
        rmtree(home / "embeddings", ignore_errors=True)
        # Each worker computes with as many threads as this process: the last bits depend on their number.
        config = change(trained.config, threads=torch.get_num_threads(), generation={"engine": {"workers": workers}})
        folder = generate(config, home, LAST_DAY, NOW).folder
        kept.append((lists_of(folder), read_files(home / "embeddings")))
    assert len(kept[0][1]) == 3
    assert kept[0] == kept[1]
    tables["items"] = snapshot.items
    write_snapshot(home, name, tables, dataset)


@pytest.mark.ray
def test_a_ray_cluster_makes_the_same_lists(home: Path, small: Config, undisturbed: dict[str, bytes]) -> None:
    pytest.importorskip("ray")
    ray = change(small, generation={"engine": {"kind": "ray"}})
    assert lists_of(generate(ray, home, LAST_DAY, NOW).folder) == lists_of(undisturbed)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_the_lists_are_the_same_after_a_node_is_lost(
    home: Path, small: Config, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RECSYS_RAY_ADDRESS", cluster.address)
    remove_night(home)
    shards = home / "recommendations" / f".run_date={LAST_DAY}.shards"
    left: list[int] = []

    def pull_the_plug() -> None:
        wait_for(lambda: len(list(shards.glob("part-*.json"))) > 1)
        cluster.remove_node(lost, allow_graceful=False)
        left.append(len(undisturbed) - 1 - len(list(shards.glob("part-*.json"))))

    plug = threading.Thread(target=pull_the_plug)
    plug.start()
    try:
        folder = generate(change(small, generation={"engine": {"kind": "ray"}}), home, LAST_DAY, NOW).folder
    finally:
        plug.join()
        ray.shutdown()
        cluster.shutdown()
    assert left[0] > 0
    assert lists_of(folder) == lists_of(undisturbed)


def count_solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every folded-in block appends its number of users."""
    solved: list[int] = []
    real = AlsModel._solve

    def solve(model: AlsModel, histories: Histories) -> np.ndarray:
        solved.append(histories.n_users)
        return real(model, histories)

    monkeypatch.setattr(AlsModel, "_solve", solve)
    return solved


def lists_of(files: Path | dict[str, bytes]) -> dict[str, bytes]:
    """Return the parquet files only: the manifest depends on the engine, which is a setting."""
    content = read_files(files) if isinstance(files, Path) else files
    return {name: part for name, part in content.items() if name.endswith(".parquet")}


@pytest.fixture
def interrupted(home: Path, small: Config, start: Callable[[Config], NightProcess]) -> Path:
    """The folder of the shards that a night had finished when it was killed."""
    remove_night(home)
    process = start(small)
    shards = home / "recommendations" / f".run_date={LAST_DAY}.shards"
    wait_for(lambda: len(list(shards.glob("part-*.json"))) > 2)
    process.kill()
    return shards


def test_an_incomplete_shard_is_made_again(
    home: Path, small: Config, undisturbed: dict[str, bytes], interrupted: Path
) -> None:
    first, second, *_ = sorted(interrupted.glob("part-*.parquet"))
    first.write_bytes(first.read_bytes()[:-40])
    second.with_suffix(".json").write_text("{")
    assert read_files(generate(small, home, LAST_DAY, NOW).folder) == undisturbed


def has_come_far(shards: Path, goal: int, process: NightProcess) -> bool:
    made = 0
    # The night deletes the folder once it is published.
    with suppress(FileNotFoundError):
        made = len(list(shards.glob("part-*.json")))
    return made >= goal or not process.is_running()


def wait_for(condition: Callable[[], bool]) -> None:
    # A busy machine takes minutes to start a cluster.
    for _ in range(24_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not become true within four minutes")


@pytest.mark.usefixtures("undisturbed", "interrupted")
def test_shards_of_other_settings_are_not_reused(home: Path, small: Config) -> None:
    short = change(small, generation={"n": 3})
    made = generate(short, home, LAST_DAY, NOW)
    assert read_lists(home, LAST_DAY)["rank"].max() == 3
    assert made.counts["rows"] == 3 * made.counts["users"]


def test_of_two_processes_the_second_stops_with_an_error(
    home: Path, small: Config, undisturbed: dict[str, bytes], start: Callable[[Config], NightProcess]
) -> None:
    remove_night(home)
    process = start(small)
    process.wait_for_shards()
    with pytest.raises(ArtifactError, match="another process holds the lock"):
        generate(small, home, LAST_DAY, NOW)
    assert process.wait() == 0
    assert read_files(home / "recommendations" / f"run_date={LAST_DAY}") == undisturbed
    # The lock file still exists, but no process holds the lock.
    with lock(home, "generation"):
        pass


def test_a_range_continues_after_its_published_nights(home: Path, trained: Trained) -> None:
    days = ["2025-02-07", "2025-02-08", "2025-02-09"]
    generate(trained.config, home, days[0], NOW)
    before = (home / "recommendations" / f"run_date={days[0]}" / "manifest.json").stat().st_mtime_ns
    made = generate_range(trained.config, home, days[0], days[2], NOW)
    assert [night.run_date for night in made] == days
    assert (home / "recommendations" / f"run_date={days[0]}" / "manifest.json").stat().st_mtime_ns == before
    # Each has the bytes of a run for this date alone.
    for day, night in zip(days, made, strict=True):
        content = read_files(night.folder)
        assert read_files(remake(trained.config, home, day)) == content
        assert night.counts == read_manifest(night.folder, "")["counts"]
