import io
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.config import TextConfig
from recsys.text import embedding_cache
from recsys.text.embedding_cache import EmbeddingCache
from recsys.text.encoder import Encoder, Progress

TEXTS = ["a", "b a", "c", "a", "", "书 🎬", "d e f g", "h"]
UNIQUE = list(dict.fromkeys(TEXTS))


class Counting(Encoder):
    """The tiny encoder, which records the texts it is asked to encode."""

    def __init__(self, checkpoint: Path, name: str | None = None) -> None:
        super().__init__(str(checkpoint), TextConfig(precision="float32"))
        self.seen: list[str] = []
        self.digests = 0
        self.name = name

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        self.seen += texts
        return super().encode(texts, progress)

    def digest(self) -> str:
        self.digests += 1
        return self.name or super().digest()

    def asked(self) -> list[str]:
        """Return the texts it was asked for since the last call."""
        seen, self.seen = self.seen, []
        return seen


@pytest.fixture
def checkpoint(write_checkpoint: Callable[..., Path]) -> Path:
    return write_checkpoint()


@pytest.fixture
def tiny(checkpoint: Path) -> Counting:
    return Counting(checkpoint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new 家" / "embeddings"


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS_PER_FILE", 2)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return messages


def cache_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


# --- what is looked up and what is encoded ---------------------------------------------------------------


@pytest.mark.usefixtures("small_files")
def test_the_second_run_encodes_nothing(tiny: Counting, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = EmbeddingCache(folder).encode(tiny, TEXTS)
    # Equal texts once, in the order given.
    assert tiny.asked() == UNIQUE
    assert (first.dtype, first.shape) == (np.float32, (8, 16))
    np.testing.assert_allclose(first, tiny.encode(TEXTS), atol=1e-6)
    tiny.asked()
    again = EmbeddingCache(folder)
    assert np.array_equal(again.encode(tiny, TEXTS), first)
    assert np.array_equal(again.encode(tiny, pl.Series(TEXTS[::-1])), first[::-1])
    assert np.array_equal(again.encode(tiny, ["c"]), first[2:3])
    assert tiny.asked() == []
    # Once for each cache: it reads all weights.
    assert tiny.digests == 2
    assert warnings_in(caplog) == []
    assert all(path.name == f"texts-{sha256(path.read_bytes()).hexdigest()}.npy" for path in cache_files(folder))


def test_only_what_changed_is_encoded(tiny: Counting, folder: Path, checkpoint: Path) -> None:
    cache = EmbeddingCache(folder)
    before = cache.encode(tiny, TEXTS)
    tiny.asked()
    after = cache.encode(tiny, [TEXTS[0], "b  a", *TEXTS[2:]])
    assert tiny.asked() == ["b  a"]
    assert np.array_equal(np.delete(after, 1, axis=0), np.delete(before, 1, axis=0))
    other = Counting(checkpoint)
    cache.encode(other, TEXTS)
    assert other.asked() == []
    for parameter in other.model.parameters():
        parameter.data += 0.1
    changed = EmbeddingCache(folder).encode(other, TEXTS)
    assert other.asked() == UNIQUE
    assert np.abs(changed - before).max() > 0.01
    assert sorted(path.name for path in folder.iterdir()) == sorted({tiny.digest(), other.digest()})


def test_no_texts_write_nothing(tiny: Counting, folder: Path) -> None:
    counts: list[int] = []
    assert EmbeddingCache(folder).encode(tiny, [], counts.append).shape == (0, 16)
    assert (counts, tiny.seen, tiny.digests, folder.exists()) == ([], [], 0, False)


@pytest.mark.usefixtures("small_files")
def test_progress_ends_full(tiny: Counting, folder: Path) -> None:
    for texts in (TEXTS, TEXTS, [*TEXTS, "g", "f"], ["c"]):
        counts: list[int] = []
        EmbeddingCache(folder).encode(tiny, texts, counts.append)
        assert sum(counts) == len(texts)
        assert min(counts) > 0


# --- interrupted -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_files")
def test_an_interrupted_run_keeps_the_files_that_were_finished(tiny: Counting, folder: Path) -> None:
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(folder).encode(tiny, UNIQUE, interrupt)
    tiny.asked()
    EmbeddingCache(folder).encode(tiny, UNIQUE)
    assert tiny.asked() == UNIQUE[4:]


SLOW = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from recsys.text import embedding_cache

    folder, digest, stop_at, *texts = sys.argv[1:]
    embedding_cache.TEXTS_PER_FILE = 2

    class Light:
        embedding_size = 16
        done = 0

        def digest(self):
            return digest

        def encode(self, texts, progress):
            if self.done == int(stop_at):
                print("here", flush=True)
                time.sleep(60)
            self.done += len(texts)
            return np.ones((len(texts), 16), dtype=np.float32)

    print("ready", flush=True)
    sys.stdin.readline()
    embedding_cache.EmbeddingCache(Path(folder)).encode(Light(), texts)
"""


def test_one_of_two_processes_is_killed(checkpoint: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    digest, letters = "d" * 64, [f"{first} {second}" for first in "abcdefgh" for second in "abcdefgh"]
    runs = []
    for stop_at, texts in (("20", letters), ("-1", letters[10:] + letters[:20:2])):
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SLOW), str(folder), digest, stop_at, *texts]
        runs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1))
    killed, whole = runs
    assert [process.stdout and process.stdout.readline() for process in runs] == ["ready\n"] * 2
    for process in runs:
        assert process.stdin is not None
        process.stdin.write("go\n")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "here\n"
    killed.send_signal(signal.SIGKILL)
    assert killed.communicate()[0] == whole.communicate()[0] == ""
    assert whole.returncode == 0
    tiny = Counting(checkpoint, digest)
    # Each encoded what the other did not.
    assert (EmbeddingCache(folder).encode(tiny, letters) == 1).all()
    assert tiny.asked() == []
    assert warnings_in(caplog) == []
    assert list(folder.rglob(".*.tmp")) == []


# --- damaged files and full disks ------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    changed = {
        "truncated": content[:-10],
        "empty": b"",
        "one bit": content[:-1] + bytes([content[-1] ^ 1]),
        "foreign": b"\x80\x04not ours",
    }
    path.write_bytes(changed[how])


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("how", ["truncated", "empty", "one bit", "foreign"])
def test_a_damaged_file_is_replaced(how: str, tiny: Counting, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = EmbeddingCache(folder).encode(tiny, UNIQUE)
    damaged_files = cache_files(folder)[:2]
    lost = [len(np.load(path)) for path in damaged_files]
    for path in damaged_files:
        damage(path, how)
    tiny.asked()
    assert np.allclose(EmbeddingCache(folder).encode(tiny, UNIQUE), first, atol=1e-6)
    assert len(tiny.asked()) == sum(lost)
    (warning,) = warnings_in(caplog)
    assert f"2 damaged files, such as {damaged_files[0]}; their rows are computed again" in warning
    EmbeddingCache(folder).encode(tiny, UNIQUE)
    assert tiny.asked() == []
    assert warnings_in(caplog) == []


def encode(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_files_of_something_else_in_the_folder(tiny: Counting, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EmbeddingCache(folder)
    cache.encode(tiny, UNIQUE)
    (own,) = cache_files(folder)
    rows = np.load(own)
    strange = [
        encode(rows["value"].copy()),
        encode(rows.reshape(1, -1)),
        encode(np.zeros(3, dtype=[("key", np.uint64, 2), ("value", np.float32, 16)])),
        encode(np.zeros(3, dtype=[("key", np.uint64, 4), ("value", np.float32, 15)])),
        b"undamaged, but not an array",
    ]
    for content in strange:
        (own.parent / f"texts-{sha256(content).hexdigest()}.npy").write_bytes(content)
    (own.parent / "a folder.npy").mkdir()
    (own.parent / "notes.txt").write_text("mine")
    tiny.asked()
    cache.encode(tiny, UNIQUE)
    assert tiny.asked() == []
    (warning,) = warnings_in(caplog)
    assert "6 damaged files" in warning
    assert sorted(path.name for path in own.parent.iterdir()) == sorted([own.name, "a folder.npy", "notes.txt"])


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_costs_time_only(tiny: Counting, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = EmbeddingCache(folder).encode(tiny, UNIQUE[:2])
    tiny.asked()
    with no_room():
        cache = EmbeddingCache(folder)
        vectors = cache.encode(tiny, UNIQUE)
        cache.encode(tiny, UNIQUE)
    assert tiny.asked() == UNIQUE[2:] * 2
    assert np.array_equal(vectors[:2], known)
    (warning,) = warnings_in(caplog)
    assert "cannot be written (File too large); free some space" in warning
    assert "the next run computes these rows again" in warning
    assert len(list(folder.rglob("*"))) == 2


def test_a_folder_that_cannot_be_made(tiny: Counting, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    vectors = EmbeddingCache(tmp_path / "file").encode(tiny, TEXTS)
    np.testing.assert_allclose(vectors, tiny.encode(TEXTS), atol=1e-6)
    (warning,) = warnings_in(caplog)
    assert "cannot be written (Not a directory)" in warning


# --- which encoders are kept -----------------------------------------------------------------------------


def test_the_encoders_used_last_are_kept(checkpoint: Path, folder: Path) -> None:
    encoders = [Counting(checkpoint, f"{number:064x}") for number in range(6)]
    (folder / "not an encoder").mkdir(parents=True)
    for number, encoder in enumerate(encoders[:4]):
        EmbeddingCache(folder).encode(encoder, ["a"])
        os.utime(folder / encoder.digest(), (number, number))
    # The oldest is used again, so the second oldest goes.
    EmbeddingCache(folder).encode(encoders[0], ["a"])
    for encoder in encoders[4:]:
        EmbeddingCache(folder).encode(encoder, ["a"])
    kept = [encoders[number].digest() for number in (0, 3, 4, 5)]
    assert sorted(path.name for path in folder.iterdir()) == [*kept, "not an encoder"]
    assert [len(encoder.asked()) for encoder in encoders] == [1] * 6
