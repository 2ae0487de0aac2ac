"""Lists in a real PostgreSQL server."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys.artifacts.postgres import URL, upsert_lists
from recsys.errors import ArtifactError

psycopg = pytest.importorskip("psycopg")


def find_binaries() -> Path | None:
    """Return the folder of initdb, which Debian keeps out of the PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if packaged:
        return packaged[-1].parent
    return Path(shutil.which("initdb")).parent if shutil.which("initdb") else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server on a loopback port; it refuses to run as root, so root starts it as nobody."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed; .ci/run installs one")
    folder = tmp_path_factory.mktemp("postgres")
    user = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam("nobody")
        user = {"user": owner.pw_uid, "group": owner.pw_gid}
        for path in (folder, *folder.parents):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "lists", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        check=True,
        capture_output=True,
        **user,
    )
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    port = start_server(control, folder, user)
    yield f"postgresql://lists@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, **user)


def start_server(control: list[str | Path], folder: Path, user: dict[str, int], attempts: int = 10) -> int:
    """Start the server on a free port and return it; another process may take the port first, so this is retried."""
    for attempt in range(attempts):
        port = find_port()
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = folder / f"log {attempt}"
        command = [*control, "-o", options, "-l", log, "start"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if not subprocess.run(command, check=False, **quiet, **user).returncode:
            return port
    return pytest.fail(f"PostgreSQL did not start in {attempts} attempts; its last log: {log.read_text()}")


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


NASTY = "Because you chose “Robert'); DROP TABLE lists;--”\t\\N"


def write(folder: Path, name: str, *rows: tuple[str, int, str]) -> Path:
    """Write a part with (user, rank, item) rows."""
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String}, orient="row")
    more = {
        "reason": NASTY,
        "variant": "ranker",
        "model_version": "1",
    }
    frame = frame.with_columns(
        score=-pl.col("rank").cast(pl.Float32),
        sources=pl.lit(["text", "als"], dtype=pl.List(pl.String)),
        **{column: pl.lit(text) for column, text in more.items()},
    )
    frame.write_parquet(folder / name)
    return folder / name


def read(url: str, table: str = "lists") -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            f"SELECT user_id, rank, item_id, run_date::text FROM {table} ORDER BY 1, 2"
        ).fetchall()


def test_tonights_lists_replace_last_nights(database, tmp_path):
    first = [write(tmp_path, "a.parquet", ("u", 1, "i"), ("u", 2, "j")), write(tmp_path, "b.parquet", ("新", 1, "i"))]
    assert upsert_lists(first, "2025-02-01", "lists") == 3
    assert read(database) == [("u", 1, "i", "2025-02-01"), ("u", 2, "j", "2025-02-01"), ("新", 1, "i", "2025-02-01")]
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT score, sources, reason FROM lists WHERE user_id = 'u' AND rank = 2").fetchone()
    assert row == (-2.0, ["text", "als"], NASTY)
    # One user's list is shorter, one user is gone, one is new.
    second = [write(tmp_path, "c.parquet", ("u", 1, "k"), ("w", 1, "i"))]
    assert upsert_lists(second, "2025-02-02", "lists") == 2
    assert read(database) == [("u", 1, "k", "2025-02-02"), ("w", 1, "i", "2025-02-02")]
    # The same night again changes nothing, and an earlier night does not replace it.
    assert upsert_lists(second, "2025-02-02", "lists") == 2
    assert upsert_lists(first, "2025-02-01", "lists") == 2
    assert read(database) == [("u", 1, "k", "2025-02-02"), ("w", 1, "i", "2025-02-02")]


def test_the_same_night_again_replaces_its_rows(database, tmp_path):
    upsert_lists([write(tmp_path, "a.parquet", ("u", 1, "i"), ("v", 1, "i"))], "2025-02-01", "lists")
    # As after a block list was corrected: other items, one user less.
    assert upsert_lists([write(tmp_path, "b.parquet", ("u", 1, "j"))], "2025-02-01", "lists") == 1
    assert read(database) == [("u", 1, "j", "2025-02-01")]


def test_parts_in_a_folder_whose_name_is_a_pattern(database, tmp_path):
    for name, item in (("team p", "neighbour"), ("team [prod]", "i")):
        (tmp_path / name).mkdir()
        part = write(tmp_path / name, "a.parquet", ("u", 1, item))
    upsert_lists([part], "2025-02-01", "lists")
    assert read(database) == [("u", 1, "i", "2025-02-01")]


def test_a_port_that_is_taken_is_tried_again(server, tmp_path, monkeypatch):
    taken = int(server.rpartition(":")[2].partition("/")[0])
    ports = iter([taken, taken, 12345])
    monkeypatch.setattr(f"{__name__}.find_port", lambda: next(ports))
    # Stands for pg_ctl: fails on the taken port.
    control = tmp_path / "control"
    control.write_text(f'#!/bin/sh\ncase "$*" in *"-p {taken} "*) exit 1;; esac\n')
    control.chmod(0o755)
    assert start_server([control], tmp_path, {}) == 12345


def test_readers_see_all_or_nothing(database, tmp_path):
    upsert_lists([write(tmp_path, "a.parquet", ("u", 1, "i"))], "2025-02-01", "lists")
    good = write(tmp_path, "b.parquet", ("u", 1, "j"), ("v", 1, "j"))
    twice = write(tmp_path, "c.parquet", ("v", 1, "k"))
    with pytest.raises(ArtifactError, match=r"table lists: .*cannot affect row a second time.*the table is unchanged"):
        upsert_lists([good, twice], "2025-02-02", "lists")
    assert read(database) == [("u", 1, "i", "2025-02-01")]


def test_a_name_is_a_name(database, tmp_path):
    part = [write(tmp_path, "a.parquet", ("u", 1, "i"))]
    with psycopg.connect(database) as connection:
        connection.execute('CREATE SCHEMA "night"')
    assert upsert_lists(part, "2025-02-01", "night.lists") == 1
    assert read(database, "night.lists") == [("u", 1, "i", "2025-02-01")]


def test_every_missing_part_is_named(server, monkeypatch, tmp_path):
    monkeypatch.delenv(URL, raising=False)
    with pytest.raises(ArtifactError, match="RECSYS_LISTS_URL is not set; give it as postgresql://"):
        upsert_lists([], "2025-02-01", "lists")
    monkeypatch.setenv(URL, "postgresql://lists@127.0.0.1:1/postgres?connect_timeout=2")
    with pytest.raises(ArtifactError, match=r"table lists: .*(refused|failed).*run the same night again"):
        upsert_lists([], "2025-02-01", "lists")
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ArtifactError, match=r"psycopg is not installed; pip install 'recsys\[postgres\]'"):
        upsert_lists([], "2025-02-01", "lists")
