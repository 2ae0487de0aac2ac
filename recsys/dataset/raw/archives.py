"""Zip archives -> their members, each a stored file of its own."""

from __future__ import annotations

import zipfile
from functools import partial
from typing import BinaryIO, cast

from recsys.dataset.raw.containers import Layer, StoredFile, explain, open_seekable_content, spool
from recsys.dataset.raw.patterns import is_hidden, match_paths
from recsys.dataset.raw.signatures import ZIP
from recsys.errors import DataError

_OFFICE = {"word/": "a Word document", "ppt/": "a presentation"}


def find_members(archive: StoredFile, pattern: str) -> tuple[list[StoredFile], bool]:
    """Return the members of an archive that a pattern means, and whether it names a single one."""
    members = {member.path.removeprefix(f"{archive.path}/"): member for member in list_members(archive)}
    paths, is_single = match_paths(list(members), pattern)
    return [members[path] for path in paths if is_single or not any(map(is_hidden, path.split("/")))], is_single


def identify_members(archive: StoredFile) -> str:
    """Return `excel` if an archive is a workbook, else `zip`.

    Raises:
        DataError: a damaged archive, or a document of another kind.
    """
    names = {member.path.removeprefix(f"{archive.path}/") for member in list_members(archive)}
    if any(name.startswith("xl/") for name in names) or {"mimetype", "content.xml"} <= names:
        return "excel"
    for folder, kind in _OFFICE.items():
        if any(name.startswith(folder) for name in names):
            raise DataError(f"{archive.name}: is {kind}; export its table as CSV")
    return ZIP


def list_members(file: StoredFile) -> list[StoredFile]:
    """Return the files in a zip archive, sorted by name, without folders.

    Raises:
        DataError: a damaged archive.
    """
    try:
        with open_seekable_content(file) as stored, zipfile.ZipFile(stored) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except Exception as error:
        raise explain(file.name, error) from error
    return [
        StoredFile(
            name=f"{file.name}/{member.filename}",
            path=f"{file.path}/{member.filename}",
            open=partial(_open_member, file, member),
            open_seekable=partial(_spool_member, file, member),
            size=member.compress_size,
            limit=file.limit,
        )
        for member in sorted(members, key=lambda member: member.filename)
    ]


def _open_member(file: StoredFile, member: zipfile.ZipInfo) -> BinaryIO:
    stored = open_seekable_content(file)
    try:
        archive = zipfile.ZipFile(stored)
        inner = archive.open(member)
    except Exception as error:
        stored.close()
        raise explain(f"{file.name}/{member.filename}", error) from error
    layer = Layer(inner, f"{file.name}/{member.filename}", lambda: member.compress_size, (archive, stored), file.limit)
    return cast(BinaryIO, layer)


def _spool_member(file: StoredFile, member: zipfile.ZipInfo) -> BinaryIO:
    with _open_member(file, member) as content:
        return spool(f"{file.name}/{member.filename}", content)
