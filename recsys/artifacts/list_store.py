"""Lists elsewhere: in an object store, or in a folder that other machines see.

    PLACE/
      CURRENT                              run_date=YYYY-MM-DD/LISTS, which readers follow
      run_date=YYYY-MM-DD/
        LISTS/                             named by the hash of the lists, so its files are never replaced by others
          part-00000.parquet …  manifest.json

An object store replaces one object in one step, but not a folder. Lists are therefore written to a folder of their own:
the files, each checked by reading it again, then the manifest, and `CURRENT` last. Readers see the lists from before or
those of tonight, wherever a writer is killed; the next writer keeps the files that are whole.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from posixpath import relpath, split
from typing import Any

from recsys.dataset.raw.deadline import answer
from recsys.errors import ArtifactError, RecsysError
from recsys.storage.files import encode_json, sync, temporary_path
from recsys.storage.folders import MANIFEST
from recsys.storage.object_stores import advise, connect, explain
from recsys.storage.run_dates import is_run_date

POINTER = "CURRENT"
_HASH = 16
_FOLDER = re.compile(rf"run_date=\d{{4}}-\d{{2}}-\d{{2}}/[0-9a-f]{{{_HASH}}}")
_BLOCK = 1 << 23
# An answer is awaited for this long, and longer for larger files: down to 200 kB per second.
_SECONDS, _BYTES_PER_SECOND = 30, 200_000
_THREADS = 8


class ListStore:
    """A place with published lists.

    Args:
        address: s3://bucket/prefix, gs://bucket/prefix or an absolute folder, without credentials.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        scheme, separator, rest = self.address.partition("://")
        self._scheme = scheme if separator else None
        self._root = rest if separator else self.address
        self._files: Any = None

    def read_pointer(self) -> str | None:
        """Return the folder that readers follow; None: there is no pointer, or it names no folder of lists.

        Raises:
            ArtifactError: the place cannot be read.
        """
        text = (self._read(POINTER) or b"").decode("utf-8", "replace").strip()
        return text if _FOLDER.fullmatch(text) else None

    def read_manifest(self, folder: str) -> dict[str, Any] | None:
        """Return the manifest of a folder; None: there is none, so the folder is not complete.

        Raises:
            ArtifactError: the place cannot be read.
        """
        content = self._read(f"{folder}/{MANIFEST}")
        with suppress(ValueError):
            manifest = json.loads(content or b"")
            return manifest if isinstance(manifest, dict) else None
        return None

    def list_sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each file of a folder in bytes, by name.

        Raises:
            ArtifactError: the place cannot be read.
        """
        listed = self._list(folder)
        return {info.base_name: int(info.size) for info in listed if info.is_file}

    def write(self, folder: str, source: Path, manifest: Mapping[str, Any]) -> int:
        """Write the files that a manifest names, then the manifest, and return how many were not there yet.

        A file that is there already with its hash is kept.

        Raises:
            ArtifactError: a file cannot be written, or differs after it was written.
        """
        hashes: Mapping[str, str] = manifest["files"]
        there = self.list_sizes(folder)

        def put(name: str) -> bool:
            key, path = f"{folder}/{name}", source / name
            size = path.stat().st_size
            if there.get(name) == size and self._hash(key, size) == hashes[name]:
                return False
            self._put(key, path)
            if self._hash(key, size) != hashes[name]:
                raise ArtifactError(f"{self.address}/{key}: differs from what was written; run the same night again")
            return True

        with ThreadPoolExecutor(_THREADS) as threads:
            written = sum(threads.map(put, hashes))
        self._put_text(f"{folder}/{MANIFEST}", encode_json(manifest))
        return written

    def point_at(self, folder: str) -> None:
        """Let readers follow a complete folder.

        Raises:
            ArtifactError: the pointer cannot be written.
        """
        self._put_text(POINTER, f"{folder}\n")

    def prune(self, keep: int) -> list[str]:
        """Delete all lists of the oldest run dates beyond `keep`, except what readers follow, and return the run dates.

        A manifest is deleted before its files, so lists that are half deleted are never taken for complete ones.

        Raises:
            ArtifactError: something cannot be deleted.
        """
        followed = (self.read_pointer() or "").partition("/")[0]
        names = sorted(info.base_name for info in self._list("", recursive=False) if not info.is_file)
        nights = [name for name in names if is_run_date(name.removeprefix("run_date="))]
        old = [name for name in nights[:-keep] if name != followed]
        for name in old:
            self._delete(name)
        return [name.removeprefix("run_date=") for name in old]

    def find_holders(self, ids: Sequence[str]) -> list[str]:
        """Return the folders of lists that may have a row of some users, oldest run date first.

        Folders that are not complete and files that are no tables may hold anybody.

        Raises:
            ArtifactError: the place cannot be read.
        """
        files: dict[str, dict[str, int]] = {}
        for info in self._list(""):
            folder, name = split(relpath(info.path, self._root))
            if info.is_file and _FOLDER.fullmatch(folder):
                files.setdefault(folder, {})[name] = int(info.size)
        found = {folder for folder, sizes in files.items() if MANIFEST not in sizes}
        tables = [
            (f"{folder}/{name}", size)
            for folder, sizes in files.items()
            for name, size in sizes.items()
            if folder not in found and name.endswith(".parquet")
        ]
        with ThreadPoolExecutor(_THREADS) as threads:
            held = threads.map(lambda table: self._holds_users(table[0], table[1], ids), tables)
            found |= {key.rpartition("/")[0] for (key, _), holds in zip(tables, held, strict=True) if holds}
        return sorted(found)

    def delete(self, folder: str) -> None:
        """Delete a folder of lists, and its run date if nothing else is left of it; readers must not follow it.

        Raises:
            ArtifactError: something cannot be deleted.
        """
        self._delete(folder)
        run_date = folder.partition("/")[0]
        if not any(info.is_file and info.size for info in self._list(run_date)):
            self._delete(run_date)

    def _holds_users(self, key: str, size: int, ids: Sequence[str]) -> bool:
        import pyarrow as pa
        from pyarrow import compute, parquet

        users = pa.array(ids, pa.string())

        def mentions(rows: Any) -> bool:
            return bool(compute.any(compute.is_in(rows["user_id"].cast(pa.string()), users)).as_py())

        def look(files: Any) -> bool:
            with files.open_input_file(self._path(key)) as file:
                try:
                    return any(map(mentions, parquet.ParquetFile(file).iter_batches(columns=["user_id"])))
                except (pa.ArrowInvalid, KeyError):
                    return True

        return bool(self._ask(key, look, size))

    def _delete(self, name: str) -> None:
        manifests = [info.path for info in self._list(name) if info.is_file and info.base_name == MANIFEST]

        def delete(files: Any) -> None:
            for path in manifests:
                files.delete_file(path)
            with suppress(FileNotFoundError):
                files.delete_dir(self._path(name))

        self._ask(name, delete)

    def _name(self, key: str) -> str:
        return f"{self.address}/{key}".rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}".rstrip("/")

    def _list(self, folder: str, *, recursive: bool = True) -> Iterable[Any]:
        from pyarrow import fs

        selector = fs.FileSelector(self._path(folder), recursive=recursive, allow_not_found=True)
        listed: Iterable[Any] = self._ask(folder, lambda files: files.get_file_info(selector))
        return listed

    def _read(self, key: str) -> bytes | None:
        """Return the content of a small file, or None where there is none."""
        from pyarrow import fs

        def read(files: Any) -> bytes | None:
            if files.get_file_info(self._path(key)).type != fs.FileType.File:
                return None
            with files.open_input_file(self._path(key)) as file:
                return bytes(file.read())

        content: bytes | None = self._ask(key, read)
        return content

    def _hash(self, key: str, size: int) -> str:
        def read(files: Any) -> str:
            digest = hashlib.sha256()
            with files.open_input_file(self._path(key)) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            return digest.hexdigest()

        return str(self._ask(key, read, size))

    def _put_text(self, key: str, text: str) -> None:
        """Write a small file, in one step."""
        if self._scheme is None:
            self._put_in_folder(key, lambda path: path.write_text(text, "utf-8"))
            return

        def write(files: Any) -> None:
            with files.open_output_stream(self._path(key)) as stream:
                stream.write(text.encode())

        self._ask(key, write)

    def _put(self, key: str, source: Path) -> None:
        if self._scheme is None:
            self._put_in_folder(key, lambda path: shutil.copyfile(source, path))
            return

        def write(files: Any) -> None:
            with source.open("rb") as file, files.open_output_stream(self._path(key)) as stream:
                shutil.copyfileobj(file, stream, _BLOCK)

        self._ask(key, write, source.stat().st_size)

    def _put_in_folder(self, key: str, write: Callable[[Path], object]) -> None:
        """Write a file under another name, then rename it; who may read the place may read the file."""
        target, root = Path(self._path(key)), Path(self._root)
        staging = temporary_path(target)
        try:
            mode = root.stat().st_mode
            for folder in reversed([parent for parent in target.parents if root in parent.parents]):
                if not folder.is_dir():
                    folder.mkdir(exist_ok=True)
                    folder.chmod(mode & 0o777)
            write(staging)
            staging.chmod(mode & 0o666)
            sync(staging)
            staging.replace(target)
            sync(target.parent)
        except OSError as error:
            raise self._explain(key, error) from error
        finally:
            with suppress(OSError):
                staging.unlink(missing_ok=True)

    def _ask(self, key: str, request: Callable[[Any], Any], size: int = 0) -> Any:
        """Return what a request to the file system returns, if it ends in time."""
        try:
            if self._files is None:
                self._files = answer(self._name(key), self._connect)
            return answer(self._name(key), lambda: request(self._files), _SECONDS + size / _BYTES_PER_SECOND)
        except Exception as error:
            raise self._explain(key, error) from error

    def _connect(self) -> Any:
        if self._scheme is not None:
            return connect(self._scheme, self._root.partition("/")[0])
        from pyarrow import fs

        if not Path(self._root).is_dir():
            raise FileNotFoundError("the folder does not exist; create or mount it")
        return fs.LocalFileSystem()

    def _explain(self, key: str, error: Exception) -> ArtifactError:
        place = self._name(key)
        if isinstance(error, RecsysError):
            return ArtifactError(str(error))
        next_step = advise(self._scheme) if self._scheme else "check the folder, its file system and its permissions"
        return ArtifactError(
            f"{place}: {explain(error)}; {next_step}, then run again; until then readers there see the earlier lists"
        )


def name_folder(run_date: str, lists: str) -> str:
    """Return the folder of lists, relative to the place.

    Args:
        run_date: YYYY-MM-DD.
        lists: the hash that identifies them.
    """
    return f"run_date={run_date}/{lists[:_HASH]}"


def select_files(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of the lists alone, without files in folders such as the monitor's samples."""
    return {**manifest, "files": {name: digest for name, digest in manifest["files"].items() if "/" not in name}}
