"""Addresses of raw files elsewhere -> stored files: objects in a store, or a file on a web server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

from recsys.dataset.raw.archives import find_members
from recsys.dataset.raw.containers import StoredFile
from recsys.dataset.raw.deadline import answer
from recsys.dataset.raw.local import delta_table
from recsys.dataset.raw.patterns import DELTA_LOG, is_hidden, literal_part, match_paths
from recsys.dataset.raw.requested_file import RequestedFile
from recsys.dataset.raw.setting_names import name_setting
from recsys.dataset.raw.web import store_web
from recsys.errors import ConfigError, DataError
from recsys.storage.object_stores import STORES, advise, connect, explain

_SCHEMES = ", ".join(f"{scheme}://" for scheme in (*STORES, "https", "http", "postgresql"))
_SIGNATURES = re.compile(r"(x-(amz|goog)-.*|sig|signature|(access_?)?token|api_?key|password|auth)", re.IGNORECASE)
# Bytes of a single request.
_REQUEST = 1 << 21


def find_remote(what: str, address: str) -> tuple[list[StoredFile], bool]:
    """Return the files and Delta tables that an address means, sorted, and whether it names a single one.

    Raises:
        DataError: an unknown scheme, or a server that does not answer or refuses.
        ConfigError: an address that holds credentials.
    """
    parts = urlsplit(address)
    scheme = parts.scheme.lower()
    if scheme not in (*STORES, "https", "http"):
        raise DataError(f"{name_setting(what, 'path')}: {scheme}:// is unknown; expected a path, or one of {_SCHEMES}")
    if "@" in parts.netloc or any(_SIGNATURES.fullmatch(key) for key, _ in parse_qsl(parts.query, True)):
        raise ConfigError(
            f"{name_setting(what, 'path')}: the address of {parts.hostname} contains credentials; remove them from "
            f"the config and set them in the environment ({', '.join(STORES.get(scheme, ('a netrc file',)))})"
        )
    if scheme in STORES:
        # Unlike in a web address, `?` and `#` are letters of an object's name.
        bucket, _, key = address.partition("://")[2].partition("/")
        return _find_objects(Store(scheme, bucket), key.strip("/"))
    if inside := re.match(r"(.+?\.zip)/(.+)", address, re.IGNORECASE):
        return find_members(store_web(inside[1]), inside[2])
    return [store_web(address)], True


class Store:
    """A bucket of an object store.

    Args:
        scheme: s3, gs or az.
        bucket: bucket, or container.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self.scheme, self.bucket = scheme, bucket
        self._files: Any = None

    def name(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.scheme}://{self.bucket}/{key}"

    def ask(self, key: str, request: Callable[[Any], Any]) -> Any:
        """Return what a request to the file system of the store returns.

        Raises:
            DataError: no answer in time, or a refusal; says where credentials come from.
        """
        try:
            if self._files is None:
                self._files = answer(self.name(key), partial(connect, self.scheme, self.bucket))
            return answer(self.name(key), lambda: request(self._files))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{self.name(key)}: cannot be read ({explain(error)}); {advise(self.scheme)}") from error

    def list_objects(self, folder: str) -> list[Any]:
        """Return the objects below a folder."""
        from pyarrow import fs

        selector = fs.FileSelector(f"{self.bucket}/{folder}".rstrip("/"), recursive=True, allow_not_found=True)
        listed = self.ask(folder, lambda files: files.get_file_info(selector))
        return [info for info in listed if info.type == fs.FileType.File]

    def store_object(self, info: Any) -> StoredFile:
        """Return an object as a stored file."""
        key = info.path.removeprefix(f"{self.bucket}/")
        open_object = partial(_open_object, self, key)
        return StoredFile(self.name(key), key, open_object, open_object, info.size, self.name(key), is_local=False)


def _find_objects(store: Store, key: str) -> tuple[list[StoredFile], bool]:
    from pyarrow import fs

    if key:
        info = store.ask(key, lambda files: files.get_file_info(f"{store.bucket}/{key}"))
        if info.type == fs.FileType.File:
            return [store.store_object(info)], True
    folder = literal_part(key)
    objects = {info.path.removeprefix(f"{store.bucket}/"): info for info in store.list_objects(folder)}
    tables = _find_tables(list(objects))
    if key in tables:
        return [delta_table(store.name(key), store.name(key))], True
    keys, _ = match_paths([*tables, *(name for name in objects if not _is_inside(name, tables))], key)
    if not keys and (inside := re.match(r"(.+?\.zip)/(.+)", key, re.IGNORECASE)):
        archives, is_single = _find_objects(store, inside[1])
        return find_members(archives[0], inside[2]) if is_single else ([], False)
    shown = [name for name in keys if not any(map(is_hidden, name.removeprefix(folder).strip("/").split("/")))]
    return [
        store.store_object(objects[name]) if name in objects else delta_table(store.name(name), store.name(name))
        for name in shown
    ], False


def _find_tables(keys: Sequence[str]) -> list[str]:
    """Return the folders that are Delta tables."""
    logs = (f"/{key}".partition(f"/{DELTA_LOG}/") for key in keys)
    return sorted({folder.removeprefix("/") for folder, found, _ in logs if found})


def _is_inside(key: str, tables: Sequence[str]) -> bool:
    return bool(tables) and any(str(parent) in tables for parent in PurePosixPath(f"./{key}").parents)


def _open_object(store: Store, key: str) -> BinaryIO:
    opened = store.ask(key, lambda files: files.open_input_file(f"{store.bucket}/{key}"))
    return cast(BinaryIO, RequestedFile(int(opened.size()), partial(_read_object, store, key, opened), opened.close))


def _read_object(store: Store, key: str, opened: Any, start: int, length: int) -> bytes:
    """Return bytes of an opened object, at most those of a single request."""
    length = min(length, _REQUEST)
    data: bytes = store.ask(key, lambda _: opened.read_at(length, start))
    if len(data) < length:
        raise DataError(f"{store.name(key)}: the object is shorter than its stated size; run again")
    return data
