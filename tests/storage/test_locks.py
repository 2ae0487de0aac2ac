from contextlib import AbstractContextManager
from pathlib import Path
from threading import Timer

import pytest
from faults import await_word, kill, start

from recsys.errors import ArtifactError
from recsys.storage.locks import lock

HOLD = """
    import sys, time
    from pathlib import Path
    from recsys.storage.locks import lock

    with lock(Path(sys.argv[1]), "generation"):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_second_process_waits_for_nothing_and_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path)
    await_word(holder, "held")
    expected = r"generation in .*: another process holds the lock .*\.generation\.lock; wait"
    with pytest.raises(ArtifactError, match=expected), lock(tmp_path, "generation"):
        pass
    with lock(tmp_path, "promotion"):
        pass
    kill(holder)
    with lock(tmp_path, "generation"):
        pass


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), lock(tmp_path, "generation"):
        raise ValueError("inside")
    with lock(tmp_path, "generation"):
        pass


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = "cannot be written .* choose another RECSYS_HOME"
    with pytest.raises(ArtifactError, match=expected), lock(tmp_path / "file", "generation"):
        pass


def test_shared_holders_exclude_those_that_want_it_alone(tmp_path: Path) -> None:
    def shared() -> AbstractContextManager[None]:
        return lock(tmp_path, "generation", shared=True)

    with shared(), shared(), pytest.raises(ArtifactError, match="holds the lock"), lock(tmp_path, "generation"):
        pass
    with lock(tmp_path, "generation"), pytest.raises(ArtifactError, match="holds the lock"), shared():
        pass


def test_a_lock_that_is_released_in_time(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path)
    await_word(holder, "held")
    with pytest.raises(ArtifactError, match="another"), lock(tmp_path, "generation", wait_seconds=0.3):
        pass
    timer = Timer(0.5, kill, [holder])
    timer.start()
    with lock(tmp_path, "generation", wait_seconds=30):
        pass
    timer.join()
