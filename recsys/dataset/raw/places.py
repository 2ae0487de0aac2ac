"""Where raw rows are -> sources of bytes, each with the format that its name or its first bytes show."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

from recsys.config import data_path
from recsys.config.raw_files import DATABASE_SCHEMES, RawFiles
from recsys.dataset.raw.archives import find_members, identify_members
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.containers import (
    GIGABYTE,
    StoredFile,
    open_content,
    open_seekable_content,
    read_head,
)
from recsys.dataset.raw.local import find_local, split_archive, store_local
from recsys.dataset.raw.setting_names import name_setting
from recsys.dataset.raw.signatures import (
    FORMAT_NAMES,
    HEAD,
    SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    ZIP,
    identify,
    split_suffixes,
)
from recsys.errors import DataError
from recsys.progress import format_count

_log = logging.getLogger(__name__)

# How Hive writes the partition of missing values.
_MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Texts that describe the data beside them.
_NOTES = ("readme", "license", "licence", "changelog", "changes", "citation", "notice", "copying")


def find_sources(what: str, files: RawFiles) -> list[Source]:
    """Return the sources that the path of raw files means, sorted by path.

    A path is a file, a folder (all data files below it), a glob pattern, a member of an archive
    (`orders.zip/events.csv`), a Delta table, an address in an object store or on a web server, or a database. In a
    folder, files with the suffix of a table count; only where there are none, texts such as .txt and .dat, or archives.

    Args:
        what: name of the table in messages and settings, such as `items`.
        files: settings of its raw files.

    Raises:
        DataError: nothing there, an unreadable or unknown file, or more than one format.
        ConfigError: an address that holds credentials.
    """
    path, limit = files.path, round(files.max_unpacked_gb * GIGABYTE)
    if path.lower().startswith(DATABASE_SCHEMES):
        from recsys.dataset.raw.database import query_source

        return [query_source(what, files)]
    if is_remote := bool(re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", path)):
        from recsys.dataset.raw.remote import find_remote

        found, is_single = find_remote(what, path)
    else:
        found, is_single = _find_here(data_path(path), limit)
    found = [replace(file, limit=limit) for file in found]
    if not is_single:
        found = _choose_data(what, files, found)
    sources = [source for file in found for source in _to_sources(what, files, file, is_single=is_single)]
    if not sources:
        raise _nothing_found(what, path, is_remote=is_remote)
    _check_formats(what, path, sources)
    return sources


def _nothing_found(what: str, path: str, *, is_remote: bool) -> DataError:
    fix = f"fix {name_setting(what, 'path')}"
    if is_remote:
        return DataError(f"{what} {path}: no such object or matching data file; expected {SUFFIXES}; {fix}")
    is_folder = data_path(path).is_dir()
    reason = "no data file in this folder" if is_folder else "no such file or matching file"
    return DataError(
        f"{what} {path}: {reason}; expected {SUFFIXES}; {fix}, or set RECSYS_DATA to the folder that the path starts "
        "from"
    )


def _find_here(path: Path, limit: int) -> tuple[list[StoredFile], bool]:
    found, is_single = find_local(path)
    if not found and (inside := split_archive(path)):
        archive, member = inside
        return find_members(replace(store_local(archive), limit=limit), member)
    return [store_local(file) for file in found], is_single


def _choose_data(what: str, files: RawFiles, found: Sequence[StoredFile]) -> list[StoredFile]:
    """Return those of several files that are data."""
    suffixes = {file.path: split_suffixes(file.path)[0] for file in found}
    notes = {file.path for file in found if PurePosixPath(file.path).name.lower().partition(".")[0] in _NOTES}
    tables = [file for file in found if file.format or suffixes[file.path] in TABLE_SUFFIXES]
    texts = [file for file in found if suffixes[file.path] in TEXT_SUFFIXES and file.path not in notes]
    archives = [file for file in found if suffixes[file.path] == ".zip"]
    is_pattern = bool(re.search(r"[*?\[]", files.path))
    if is_pattern:
        kept = {file.path for file in (*tables, *texts, *archives)}
        chosen = [file for file in found if file.path in kept]
    else:
        chosen = tables or texts
        if chosen and archives:
            raise DataError(
                f"{what} {files.path}: holds data files ({chosen[0].name}) and archives ({archives[0].name}), perhaps "
                "of the same data; select one kind with a glob such as '*.zip'"
            )
        chosen = chosen or archives
    if not chosen and (is_pattern or files.format != "auto"):
        chosen = [file for file in found if file.path not in notes]
    _check_copies(what, files.path, chosen)
    kept = {file.path for file in chosen} | notes
    left_out = [file.name for file in found if file.path not in kept]
    if chosen and left_out:
        _log.info(
            "%s %s: skipped %s without a data suffix, such as %s",
            what,
            files.path,
            format_count(len(left_out), "file"),
            left_out[0],
        )
    return chosen


def _check_copies(what: str, path: str, chosen: Sequence[StoredFile]) -> None:
    plain = {file.path for file in chosen}
    for file in chosen:
        unpacked, dot, packing = file.path.rpartition(".")
        if dot and packing.lower() in ("gz", "gzip", "zst", "bz2") and unpacked in plain:
            name = PurePosixPath(unpacked).name
            raise DataError(f"{what} {path}: {name} exists twice, uncompressed and as {name}.{packing}; remove one")


def _to_sources(
    what: str, files: RawFiles, file: StoredFile, *, is_single: bool, is_member: bool = False
) -> list[Source]:
    """Return the source that a stored file is, or those in an archive."""
    by_name = split_suffixes(file.path)[1]
    if file.format:
        return [_make_source(file, _agree(what, files, file.name, file.format), place=file.place)]
    if not (file.is_local or is_single or by_name in ("", ZIP)):
        expected = files.format if files.format != "auto" else by_name
        return [replace(_make_source(file, expected), open=partial(_open_checked, file, expected))]
    head, is_compressed = read_head(file)
    if not head and not by_name:
        raise DataError(f"{file.name}: the file is empty; write it again or remove it")
    by_head = _identify(files, file.name, head) if head else by_name
    if by_head == ZIP:
        by_head = identify_members(file)
        if by_head == ZIP:
            if is_member:
                raise DataError(f"{file.name}: is an archive inside an archive; unpack it")
            return _from_archive(what, files, file)
    # Text with the suffix of Parquet is a damaged file; text with that of a workbook is what some shops export.
    found = by_name if by_head in ("csv", "json") and by_name in ("json", "parquet") else by_head
    if by_name and found != by_name:
        _log.info("%s: is read as %s, which its first bytes indicate, despite its name", file.name, FORMAT_NAMES[found])
    place = "" if is_compressed or is_member or not file.is_local else file.place
    return [_make_source(file, _agree(what, files, file.name, found), place=place)]


def _from_archive(what: str, files: RawFiles, archive: StoredFile) -> list[Source]:
    members, _ = find_members(archive, "")
    chosen = _choose_data(what, files, members)
    if not chosen and len(members) == 1:
        chosen = members
    if not chosen:
        names = ", ".join(member.path.removeprefix(f"{archive.path}/") for member in members[:5])
        raise DataError(
            f"{archive.name}: no data file in this archive (found {names or 'nothing'}); expected {SUFFIXES}; name a "
            f"member in {name_setting(what, 'path')}, such as '{archive.name}/MEMBER'"
        )
    return [
        source
        for member in chosen
        for source in _to_sources(what, files, member, is_single=len(chosen) == 1, is_member=True)
    ]


def _identify(files: RawFiles, name: str, head: bytes) -> str:
    try:
        return identify(head)
    except ValueError as error:
        if files.encoding and "neither text" in str(error):
            return "csv"
        raise DataError(f"{name}: {error}") from error


def _agree(what: str, files: RawFiles, name: str, found: str) -> str:
    """Return the format that is set, or else the one found; text can be read as any text format."""
    expected = files.format
    if expected in ("auto", found) or {expected, found} <= {"csv", "json"}:
        return found if expected == "auto" else expected
    raise DataError(
        f"{name}: is {FORMAT_NAMES[found]}, but {name_setting(what, 'format')} is {expected}; set it to {found}, or "
        "remove the setting"
    )


def _make_source(file: StoredFile, kind: str, place: str = "") -> Source:
    return Source(
        name=file.name,
        format=kind,
        open=partial(open_content, file),
        open_seekable=partial(open_seekable_content, file),
        size=file.size,
        partitions={} if file.format else _find_partitions(file.path),
        place=place,
        limit=file.limit,
    )


def _open_checked(file: StoredFile, expected: str) -> BinaryIO:
    """Return the content of a file whose first bytes nobody has looked at yet."""
    content = open_content(file)
    try:
        found = identify(content.peek(HEAD)[:HEAD])
    except ValueError as error:
        content.close()
        raise DataError(f"{file.name}: {error}") from error
    if found in (ZIP, "parquet", "excel") and found != expected:
        content.close()
        raise DataError(
            f"{file.name}: is {FORMAT_NAMES[found]}, not {FORMAT_NAMES[expected]} as its name suggests; rename it"
        )
    return content


def _find_partitions(path: str) -> dict[str, str | None]:
    partitions: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        key, sign, value = folder.partition("=")
        if key and sign:
            partitions[unquote(key)] = None if value == _MISSING_PARTITION else unquote(value)
    return partitions


def _check_formats(what: str, path: str, sources: Sequence[Source]) -> None:
    first: dict[str, str] = {}
    for source in sources:
        first.setdefault(source.format, PurePosixPath(source.name).name)
    if len(first) > 1:
        examples = ", ".join(f"{FORMAT_NAMES[kind]} ({name})" for kind, name in first.items())
        inside = f"{path}/" if path.lower().endswith(".zip") else ""
        raise DataError(f"{what} {path}: mixed formats: {examples}; select one with a glob such as '{inside}*.csv'")
