"""Lists in an S3-compatible server and in a shared folder: parts first, pointer last, whatever happens in between."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from faults import await_word, kill, start
from faulty_servers import object_store, silent_server
from pyarrow import fs

from recsys.artifacts import list_store
from recsys.artifacts.list_store import ListStore, name_folder
from recsys.artifacts.night import Night, hash_lists
from recsys.artifacts.recommendations import find_parts, point_at, publish
from recsys.artifacts.store_output import Store, find_store_run_date
from recsys.dataset.raw import deadline
from recsys.errors import ArtifactError
from recsys.storage.home import list_folder

FIRST, SECOND = "2025-02-01", "2025-02-02"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=["s3", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place."""
    if request.param == "folder":
        folder = tmp_path / "shared 家 [a]?"
        folder.mkdir(mode=0o755)
        return str(folder)
    return request.getfixturevalue("bucket")


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    name = f"bucket-{abs(hash(tmp_path))}"
    options = {"endpoint_override": endpoint.removeprefix("http://"), "scheme": "http", "region": "us-east-1"}
    fs.S3FileSystem(**options, allow_bucket_creation=True).create_dir(name)
    return f"s3://{name}/shop/lists"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def make(home: Path, run_date: str, version: str = "1", name: str = "mini", without: str = "") -> Night:
    """Publish the lists of three users in three files; one of them may be left out."""

    def fill(folder: Path) -> dict[str, object]:
        for number in range(3):
            users = [f"u{number}"] if f"u{number}" != without else []
            items = [f"item of {version}, {run_date}"] * len(users)
            frame = pl.DataFrame({"user_id": users, "item_id": items}, {"user_id": pl.String, "item_id": pl.String})
            frame.write_parquet(folder / f"part-0000{number}.parquet")
        (folder / "_sample").mkdir()
        (folder / "_sample" / "lists.parquet").write_bytes(b"for the monitor")
        return {"counts": {"users": 3}}

    night = Night(run_date, {"model_version": version})
    publish(home, name, run_date, fill, night.facts)
    return night


def files_at(address: str) -> tuple[fs.FileSystem, str]:
    found = ListStore(address)
    found.read_pointer()
    return found._files, found._root


def list_keys(address: str) -> list[str]:
    files, root = files_at(address)
    found = files.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{root}/") for info in found if info.is_file and info.size)


def list_dates(address: str) -> set[str]:
    folders = {key.partition("/")[0] for key in list_keys(address) if key != "CURRENT"}
    return {folder.removeprefix("run_date=") for folder in folders}


def read(address: str) -> set[str]:
    """Read as a consumer does: the pointer, then the files of the folder that it names."""
    files, root = files_at(address)
    folder = f"{root}/{files.open_input_file(f'{root}/CURRENT').read().decode().strip()}"
    names = json.loads(files.open_input_file(f"{folder}/manifest.json").read())["files"]
    parts = [pl.read_parquet(files.open_input_file(f"{folder}/{name}").read()) for name in names]
    assert len(parts) == 3
    return set(pl.concat(parts)["item_id"])


def fill(home: Path, address: str, night: Night, keep: int = 30) -> bool:
    """Fill a store as a night does, and return whether there was anything to do."""
    output = Store(home, address, keep)
    if output.holds(night):
        return False
    output.fill(night)
    return True


def test_a_night_is_written_once(home: Path, address: str) -> None:
    assert find_store_run_date(address) is None
    night = make(home, FIRST)
    assert fill(home, address, night)
    folder = name_folder(FIRST, hash_lists(home, FIRST))
    names = ["manifest.json", *(f"part-0000{number}.parquet" for number in range(3))]
    assert list_keys(address) == ["CURRENT", *(f"{folder}/{name}" for name in names)]
    assert read(address) == {f"item of 1, {FIRST}"}
    assert not fill(home, address, night)
    assert find_store_run_date(address) == FIRST
    assert fill(home, address, make(home, SECOND))
    assert read(address) == {f"item of 1, {SECOND}"}


def test_lists_of_the_same_date_never_mix_with_those_that_they_replace(home: Path, address: str) -> None:
    fill(home, address, make(home, FIRST))
    before = list_keys(address)
    fill(home, address, make(home, FIRST, version="2"))
    # A reader that followed the pointer a moment ago still finds its files.
    assert set(before) < set(list_keys(address))
    assert read(address) == {f"item of 2, {FIRST}"}
    # Back to the first version: nothing but the pointer is written.
    fill(home, address, make(home, FIRST))
    assert read(address) == {f"item of 1, {FIRST}"}


@pytest.mark.parametrize("moment", ["_put", "_put_text", "point_at"])
def test_killed_at_any_step_readers_see_the_earlier_lists(home: Path, address: str, moment: str) -> None:
    fill(home, address, make(home, FIRST))
    night = make(home, SECOND)
    process = start(
        """
        import sys, time
        from pathlib import Path
        from recsys.artifacts import list_store
        from recsys.artifacts.list_store import ListStore
        from recsys.artifacts.night import Night
        from recsys.artifacts.store_output import Store

        home, address, run_date, moment = sys.argv[1:]
        real, calls = getattr(ListStore, moment), []

        def wait(*given):
            calls.append(given)
            if len(calls) == 2 or moment != "_put":
                print("here", flush=True)
                time.sleep(60)
            real(*given)

        setattr(ListStore, moment, wait)
        list_store._THREADS = 1
        Store(Path(home), address, 30).fill(Night(run_date, {}))
        """,
        *(home, address, SECOND, moment),
    )
    await_word(process, "here")
    kill(process)
    assert read(address) == {f"item of 1, {FIRST}"}
    whole = [key for key in list_keys(address) if key.startswith(f"run_date={SECOND}") and key.endswith(".parquet")]
    assert len(whole) >= (1 if moment == "_put" else 3)
    output = Store(home, address, 30)
    assert not output.holds(night)
    folder = name_folder(SECOND, hash_lists(home, SECOND))
    written = output._store.write(folder, list_folder(home, SECOND), output._describe(night)[0])
    assert written <= 3 - len(whole)
    output.fill(night)
    assert read(address) == {f"item of 1, {SECOND}"}


def test_files_that_are_damaged_or_missing_are_written_again(home: Path, address: str) -> None:
    night = make(home, FIRST)
    fill(home, address, night)
    files, root = files_at(address)
    part = f"{root}/{name_folder(FIRST, hash_lists(home, FIRST))}/part-00001.parquet"
    files.delete_file(part)
    assert fill(home, address, night)
    whole = find_parts(home, FIRST)[1].read_bytes()
    # The same size: only the hash shows it, so it is found when the folder is written.
    with files.open_output_stream(part) as stream:
        stream.write(bytes(len(whole)))
    files.delete_file(f"{root}/CURRENT")
    assert fill(home, address, night)
    assert files.open_input_file(part).read() == whole
    with files.open_output_stream(f"{root}/CURRENT") as stream:
        stream.write(b"\xff not ours")
    assert find_store_run_date(address) is None
    assert fill(home, address, night)
    assert read(address) == {f"item of 1, {FIRST}"}


def test_a_file_that_arrives_damaged_is_an_error(home: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home, address, make(home, FIRST))
    night = make(home, SECOND)
    put = ListStore._put

    def damage(store: ListStore, key: str, source: Path) -> None:
        put(store, key, find_parts(home, FIRST)[0])

    with monkeypatch.context() as patch:
        patch.setattr(ListStore, "_put", damage)
        with pytest.raises(ArtifactError, match=r"part-0000.\.parquet: differs from what was written; run the same"):
            fill(home, address, night)
    assert read(address) == {f"item of 1, {FIRST}"}
    assert fill(home, address, night)


def test_the_store_follows_the_pointer_of_the_home(home: Path, address: str) -> None:
    first, second = make(home, FIRST), make(home, SECOND)
    # Readers of the home follow the second night.
    assert not fill(home, address, first)
    assert fill(home, address, second)
    point_at(home, FIRST)
    assert fill(home, address, first)
    assert read(address) == {f"item of 1, {FIRST}"}
    assert not fill(home, address, second)
    point_at(home, SECOND)
    assert fill(home, address, second)


def test_old_run_dates_are_deleted_except_those_that_readers_follow(home: Path, address: str) -> None:
    days = [f"2025-02-0{day}" for day in range(1, 6)]
    nights = {day: make(home, day) for day in days}
    for day in days[:4]:
        point_at(home, day)
        fill(home, address, nights[day], keep=2)
    assert {key.partition("/")[0] for key in list_keys(address)} == {
        "CURRENT",
        f"run_date={days[2]}",
        f"run_date={days[3]}",
    }
    for day in (days[2], days[4], days[2]):
        point_at(home, day)
        fill(home, address, nights[day], keep=1)
    # Two are kept in any case, for readers who read last night's.
    assert list_dates(address) <= set(days[2:])
    assert read(address) == {f"item of 1, {days[2]}"}
    # Other files there are none of ours.
    files, root = files_at(address)
    with files.open_output_stream(f"{root}/notes.txt") as stream:
        stream.write(b"keep")
    point_at(home, days[4])
    fill(home, address, nights[days[4]], keep=1)
    assert "notes.txt" in list_keys(address)


def find_users(address: str) -> set[str]:
    """Return the users of all lists in a store, whether readers follow them or not."""
    files, root = files_at(address)
    parts = [key for key in list_keys(address) if key.endswith(".parquet")]
    return set(pl.concat(pl.read_parquet(files.open_input_file(f"{root}/{key}").read()) for key in parts)["user_id"])


def test_users_are_removed_from_every_night(home: Path, address: str) -> None:
    days = [FIRST, SECOND, "2025-02-03"]
    for day in days[:2]:
        fill(home, address, make(home, day))
    fill(home, address, make(home, days[2], without="u1"))
    # The home gives up the user first.
    for day in days[:2]:
        make(home, day, without="u1")
    store = Store(home, address, 30)
    before = list_keys(address)
    holders = store.remove_users("mini", ["u1", "x"], dry_run=True)
    assert [folder.partition("/")[0] for folder in holders] == [f"run_date={day}" for day in days[:2]]
    assert store.remove_users("mini", ["u2x"]) == []
    assert list_keys(address) == before
    # Readers follow the third night, which never had the user.
    assert store.remove_users("mini", ["u1", "x"]) == holders
    assert list_dates(address) == {days[2]}
    assert find_users(address) == {"u0", "u2"}
    assert read(address) == {f"item of 1, {days[2]}"}
    assert store.remove_users("mini", ["u1", "x"]) == []


def test_readers_get_lists_without_the_users_before_theirs_are_deleted(
    home: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, address, make(home, FIRST))
    store = Store(home, address, 30)
    before = list_keys(address)
    with pytest.raises(ArtifactError, match="contains the lists of 'mini', not of 'other'"):
        store.remove_users("other", ["u1"])
    with pytest.raises(ArtifactError, match="the home publishes none to replace them"):
        Store(home / "new", address, 30).remove_users("mini", ["u1"])
    assert list_keys(address) == before
    make(home, FIRST, without="u1")

    def fail(store: ListStore, folder: str) -> None:
        raise ArtifactError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ListStore, "delete", fail)
        with pytest.raises(ArtifactError, match="killed"):
            store.remove_users("mini", ["u1"])
    # Readers see the clean lists; the next call deletes the others, and what is not complete.
    assert find_users(address) == {"u0", "u1", "u2"}
    files, root = files_at(address)
    half = f"run_date=2025-01-01/{16 * '0'}"
    files.create_dir(f"{root}/{half}", recursive=True)
    with files.open_output_stream(f"{root}/{half}/lists.csv") as stream:
        stream.write(b"user_id\nu1\n")
    folder = name_folder(FIRST, hash_lists(home, FIRST))
    removed = store.remove_users("mini", ["u1"])
    assert removed[0] == half
    assert len(removed) == 2
    assert folder not in removed
    assert list_keys(address)[0] == "CURRENT"
    assert all(key.startswith(folder) for key in list_keys(address)[1:])
    assert find_users(address) == {"u0", "u2"}


def test_followed_lists_that_are_damaged_are_written_again(home: Path, address: str) -> None:
    fill(home, address, make(home, FIRST))
    files, root = files_at(address)
    with files.open_output_stream(f"{root}/{name_folder(FIRST, hash_lists(home, FIRST))}/part-00001.parquet") as stream:
        stream.write(b"damaged")
    assert Store(home, address, 30).remove_users("mini", ["nobody"]) == []
    assert read(address) == {f"item of 1, {FIRST}"}


def test_lists_that_cannot_be_deleted_are_a_warning(
    home: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(store: ListStore, keep: int) -> list[str]:
        raise ArtifactError("access denied")

    monkeypatch.setattr(ListStore, "prune", refuse)
    assert fill(home, bucket, make(home, FIRST))
    assert "old lists are not deleted: access denied" in caplog.text
    assert read(bucket) == {f"item of 1, {FIRST}"}


def test_the_lists_of_another_config_are_left_alone(home: Path, address: str, tmp_path: Path) -> None:
    fill(home, address, make(home, FIRST))
    other = tmp_path / "other"
    night = make(other, SECOND, name="other")
    with pytest.raises(ArtifactError, match=r"contains the lists of 'mini', not of 'other'; choose another"):
        fill(other, address, night)
    assert read(address) == {f"item of 1, {FIRST}"}


def test_files_of_a_shared_folder_are_as_open_as_the_folder(home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    before = os.umask(0o077)
    try:
        fill(home, str(shared), make(home, FIRST))
    finally:
        os.umask(before)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in shared.rglob("*")}
    assert modes == {True: 0o750, False: 0o640}


class TestFailures:
    def test_a_bucket_that_does_not_exist(self, home: Path, bucket: str) -> None:
        night = make(home, FIRST)
        with pytest.raises(ArtifactError, match=r"s3://nobody/x/run_date=.*does not exist.*earlier lists") as caught:
            fill(home, "s3://nobody/x", night)
        assert "\n" not in str(caught.value)

    def test_a_server_that_is_gone(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        night = make(home, FIRST)
        with pytest.raises(ArtifactError, match=r"s3://b/l/CURRENT: .*AWS_SECRET_ACCESS_KEY") as caught:
            fill(home, "s3://b/l", night)
        assert "very secret" not in str(caught.value)

    def test_a_server_that_never_answers(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(list_store, "_SECONDS", 0.3)
        monkeypatch.setattr(deadline, "SECONDS", 5)
        night = make(home, FIRST)
        with silent_server() as port:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            with pytest.raises(ArtifactError, match=r"s3://b/l/CURRENT: the server did not respond within 0\.3 s"):
                fill(home, "s3://b/l", night)

    def test_a_folder_that_is_not_mounted(self, home: Path, tmp_path: Path) -> None:
        night = make(home, FIRST)
        with pytest.raises(ArtifactError, match="the folder does not exist; create or mount it"):
            fill(home, str(tmp_path / "absent"), night)
        assert not (tmp_path / "absent").exists()
