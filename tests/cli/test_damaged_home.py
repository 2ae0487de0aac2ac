"""Garbage in place of any file of a home: one clear message and exit code 0, 2 or 3, never a traceback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from miniature import RUN_DATE, Trained, copy_home
from shell import Answer, Call

from recsys.storage import home as layout

GARBAGE = {
    "binary": b"\xff\xfe\x00\x80\x01garbage\x00\xc3",
    "UTF-16": "run_date=2025-02-03\n".encode("utf-16"),
    "empty": b"",
    "a JSON list": b'[1, {"files": 2}]',
    "a JSON object": b'{"files": {}, "counts": [], "dataset": 3, "run": null}',
    "a folder": None,
}


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


FILES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "pointer": (layout.pointer_file, ("generate", "lists", "monitor", "doctor", "rollback", "canary", "report")),
    "snapshot pointer": (
        lambda home: layout.current_snapshot_file(home, "mini"),
        ("ingest", "train", "generate", "monitor", "doctor"),
    ),
    "run pointer": (lambda home: layout.current_run_file(home, "mini"), ("evaluate", "report")),
    "snapshot manifest": (
        lambda home: first(layout.snapshots_folder(home), "*/manifest.json"),
        ("generate", "monitor", "doctor", "ingest"),
    ),
    "snapshot table": (
        lambda home: first(layout.snapshots_folder(home), "*/interactions.parquet"),
        ("generate", "monitor", "doctor", "ingest"),
    ),
    "snapshot summary": (
        lambda home: first(layout.snapshots_folder(home), "*/summary.json"),
        ("monitor", "ingest"),
    ),
    "run manifest": (lambda home: first(layout.runs_folder(home), "*/manifest.json"), ("evaluate", "report")),
    "run table": (lambda home: first(layout.runs_folder(home), "*/metrics.parquet"), ("evaluate",)),
    "list manifest": (
        lambda home: layout.list_folder(home, RUN_DATE) / "manifest.json",
        ("lists", "monitor", "doctor", "report", "canary", "generate"),
    ),
    "list part": (
        lambda home: layout.list_folder(home, RUN_DATE) / "part-00000.parquet",
        ("lists", "monitor", "doctor", "report", "generate"),
    ),
    "shard key": (lambda home: layout.shards_folder(home, RUN_DATE) / "key.json", ("generate",)),
    "shard note": (lambda home: layout.shards_folder(home, RUN_DATE) / "part-zzz.json", ("generate",)),
    "promotion log": (layout.promotion_log_file, ("history", "generate", "doctor")),
    "log of moves": (layout.pointer_moves_file, ("lists", "point")),
    "identity": (layout.identity_file, ("generate", "history")),
    "monitored night": (
        lambda home: layout.monitored_nights_folder(home, "mini") / "2025-02-01.json",
        ("monitor", "generate", "ingest"),
    ),
    "embedding": (lambda home: layout.embeddings_folder(home) / "x.npy", ("generate",)),
    "factors": (lambda home: layout.factors_folder(home) / "x.npy", ("generate",)),
    "list folder": (lambda home: layout.list_folder(home, RUN_DATE), ("lists", "generate", "doctor", "monitor")),
    "lock": (lambda home: layout.lock_file(home, "generation"), ("generate", "point")),
    "store": (layout.mlflow_database, ("generate", "doctor", "history")),
}

ARGUMENTS = {"point": ("lists", "--point", RUN_DATE), "generate": ("generate", "--run-date", RUN_DATE)}


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("damaged") / "home")
    yield home
    shutil.rmtree(home)


def plant(path: Path, content: bytes | None) -> None:
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(call: Call, command: str, config: Path, home: Path) -> Answer:
    name, *more = ARGUMENTS.get(command, (command,))
    return call(name, "-c", config, *more, home=home)


@pytest.mark.parametrize("kind", FILES)
def test_garbage_is_no_traceback(kind: str, home: Path, call: Call, write_config: Callable[..., Path]) -> None:
    config = write_config()
    find, commands = FILES[kind]
    path = find(home)
    saved = home.with_name("saved")
    for garbage, content in GARBAGE.items():
        for command in commands:
            existed = path.exists()
            if existed:
                path.rename(saved)
            plant(path, content)
            what = f"{command} with {garbage} as {kind}"
            try:
                answer = run(call, command, config, home)
            except Exception as error:
                raise AssertionError(what) from error
            finally:
                remove(path)
                if existed:
                    saved.rename(path)
            assert answer.code in (0, 2, 3, 4), (what, answer)
            assert "Traceback" not in answer.err, (what, answer)
            # `doctor` prints what it found as a table.
            said = "error: " in answer.err or "refused: " in answer.err or command == "doctor"
            assert said or answer.code in (0, 4), (what, answer)
