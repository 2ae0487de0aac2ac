"""Parts of a night that several processes make at the same time end in the bytes of one process."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest
from miniature import LAST_DAY, NOW, Trained, change, copy_home, read_files
from night_processes import NightProcess

from recsys.config import Config
from recsys.errors import ArtifactError, Refused
from recsys.pipelines import night_parts
from recsys.pipelines.generate import generate
from recsys.pipelines.night_lists import Part
from recsys.pipelines.night_parts import MadePart, generate_part
from recsys.storage.home import shards_folder
from recsys.storage.locks import lock

PARTS = 3


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    return change(trained.config, generation={"shard_size": 8})


@pytest.fixture(scope="module")
def undisturbed(trained: Trained, config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a night that one process makes."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("whole") / "home")
    files = read_files(generate(config, home, LAST_DAY, NOW).folder)
    rmtree(home)
    return files


@pytest.fixture
def home(trained: Trained, tmp_path: Path) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path / "home")
    yield home
    rmtree(home)


def make(config: Config, home: Path, number: int, parts: int = PARTS) -> MadePart:
    return generate_part(config, home, LAST_DAY, Part(number, parts), NOW)


def find_made(home: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("part-")) for path in shards_folder(home, LAST_DAY).glob("part-*.json"))


def test_parts_at_the_same_time_a_kill_and_a_part_that_never_ran(
    config: Config, home: Path, undisturbed: dict[str, bytes]
) -> None:
    # Part 3 is left to the process that publishes.
    first, second = (NightProcess(config, home, LAST_DAY, NOW, Part(number, PARTS)) for number in (1, 2))
    first.wait_for_shards()
    first.kill()
    assert second.wait() == 0
    made = make(config, home, 1)
    assert find_made(home) == [shard for shard in range(max(find_made(home)) + 1) if shard % PARTS < 2]
    assert not (home / "recommendations" / f"run_date={LAST_DAY}").exists()
    published = generate(config, home, LAST_DAY, NOW)
    assert read_files(published.folder) == undisturbed
    # A part of a published night has nothing to do.
    assert 0 < made.counts["users"] < published.counts["users"]
    assert make(config, home, 1).counts == {}
    assert not shards_folder(home, LAST_DAY).exists()


def test_worker_processes_and_more_parts_than_shards(config: Config, home: Path, undisturbed: dict[str, bytes]) -> None:
    workers = change(config, generation={"engine": {"workers": 2}, "shard_size": 1000})
    assert make(workers, home, 2, 2).counts == {}
    assert make(workers, home, 1, 2).counts["users"] > 8
    assert find_made(home) == [0]
    # Shards of other inputs are not used.
    assert make(config, home, 1).counts["users"] > 8
    assert 0 in find_made(home)
    assert 1 not in find_made(home)
    assert read_files(generate(config, home, LAST_DAY, NOW).folder) == undisturbed


def test_who_excludes_whom(config: Config, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night_parts, "_WAIT_SECONDS", 0.0)
    with lock(home, "generation"), pytest.raises(ArtifactError, match="another process holds the lock"):
        make(config, home, 1)
    with lock(home, "shards-1-of-3"), pytest.raises(ArtifactError, match=r"shards-1-of-3 .* another process"):
        make(config, home, 1)
    # Another process makes a part of other inputs: its shards must not be deleted under its hands.
    with lock(home, "generation", shared=True):
        for work in (lambda: make(config, home, 1), lambda: generate(config, home, LAST_DAY, NOW)):
            with pytest.raises(ArtifactError, match="another process holds the lock"):
                work()


def test_a_part_is_refused_like_the_night(config: Config, home: Path) -> None:
    with pytest.raises(Refused, match="its lists would leak future events"):
        generate_part(config, home, "2025-01-20", Part(1, 2), NOW)
