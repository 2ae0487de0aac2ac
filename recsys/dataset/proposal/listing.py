"""Which files below the given paths belong together as a table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import data_path
from recsys.errors import DataError

# What lies beside data and is none.
_SUFFIXES_OF_OTHERS = (
    ".md .rst .html .htm .pdf .doc .docx .png .jpg .jpeg .gif .svg .webp .ico .py .sh .pl .r .ipynb .yaml .yml .toml "
    ".ini .cfg .lock .sql .css .js .mp3 .mp4 .pkl .pickle .npy .npz .pt .safetensors .sqlite .db .crc .log"
)
_NOT_DATA = frozenset(_SUFFIXES_OF_OTHERS.split())
_DOCUMENTS = re.compile(r"(?i)^(readme|license|licence|copying|changelog|notice|citation|terms|expected|makefile)\b")
_PACKED = (".gz", ".zst", ".bz2")
_MANY = 5000


@dataclass(frozen=True)
class FileGroup:
    """Files that look alike and can be read as a table.

    Attributes:
        path: file, folder or pattern, as the config names it.
        files: the files, sorted; for an address the address alone.
        root: the folder below which `key=value` folders are columns; None for a single file.
    """

    path: str
    files: tuple[Path, ...]
    root: Path | None = None


def find_groups(paths: Sequence[str]) -> list[FileGroup]:
    """Return the groups of files below the paths, in the order of their names; a single file is a group of its own.

    Raises:
        DataError: a path does not exist, or there is no data file.
    """
    groups: list[FileGroup] = []
    for path in paths:
        place = data_path(path)
        if not place.exists() and Path(path).expanduser().exists():
            place = Path(path).expanduser().resolve()
        if place.is_dir() and not (place / "_delta_log").is_dir():
            groups += _group_folder(place)
        elif place.exists():
            groups.append(FileGroup(config_path(place), (place,)))
        else:
            groups.append(_match(path))
    known: dict[tuple[Path, ...], FileGroup] = {}
    for group in groups:
        known.setdefault(group.files, group)
    if not known:
        raise DataError(f"{', '.join(paths)}: no data file; give recsys init the files or the folder of an export")
    return list(known.values())


def config_path(place: Path) -> str:
    """Return a path as the config should name it: relative to the raw-data folder if it is inside."""
    root = data_path("")
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else place.as_posix()


def _match(pattern: str) -> FileGroup:
    place = data_path(pattern)
    base = Path(place.anchor)
    try:
        files = sorted(file for file in base.glob(str(place.relative_to(base))) if file.is_file())
    except (ValueError, NotImplementedError):
        files = []
    if not files:
        raise DataError(
            f"{pattern}: no such file or folder; give an existing one, or set RECSYS_DATA to the folder it starts from"
        )
    return FileGroup(config_path(place), tuple(files), _fixed_part(place))


def _fixed_part(pattern: Path) -> Path:
    """Return the folders of a pattern before its first special character."""
    fixed = list(pattern.parts)
    for index, part in enumerate(fixed):
        if re.search(r"[*?\[]", part):
            return Path(*fixed[:index])
    return pattern.parent


def _group_folder(folder: Path) -> list[FileGroup]:
    """Return the groups in a folder: files whose paths differ in numbers or in `key=value` folders belong together."""
    files = list(_walk(folder))
    if len(files) == _MANY:
        raise DataError(f"{folder}: more than {_MANY:,} files; give recsys init the folders of the tables")
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        groups.setdefault(_kind(folder, file), []).append(file)
    # Files of the same name in several folders: an export per user.
    by_name: dict[str, list[tuple[str, str]]] = {}
    for key in groups:
        by_name.setdefault(key[1], []).append(key)
    found = []
    for name, keys in by_name.items():
        members = sorted(file for key in keys for file in groups[key])
        if len(keys) >= 2 and len({key[0] for key in keys}) == len(keys):
            found.append(FileGroup(_describe(folder, members, files), tuple(members), folder))
            continue
        del name
        for key in keys:
            part = sorted(groups[key])
            found.append(FileGroup(_describe(folder, part, files), tuple(part), folder if len(part) > 1 else None))
    return sorted(found, key=lambda group: group.path)


def _walk(folder: Path) -> Iterable[Path]:
    count = 0
    entered: set[Path] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        entered.add(here.resolve())
        if "_delta_log" in folders:
            folders[:] = []
            yield here
            continue
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "_")) and name != "__MACOSX" and (here / name).resolve() not in entered
        )
        for name in sorted(names):
            if _may_be_data(here / name) and count < _MANY:
                count += 1
                yield here / name


def _may_be_data(file: Path) -> bool:
    name = file.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return (
        not file.name.startswith((".", "_"))
        and Path(name).suffix not in _NOT_DATA
        and not _DOCUMENTS.match(file.name)
        and file.is_file()
        and file.stat().st_size > 0
    )


def _kind(folder: Path, file: Path) -> tuple[str, str]:
    """Return the folder of a file without `key=value` parts, and its name with numbers and checksums replaced."""
    parents = [part for part in file.relative_to(folder).parts[:-1] if "=" not in part]
    name = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "#", file.name.lower())
    stem, *suffixes = name.split(".")
    return "/".join(parents), ".".join([re.sub(r"\d+", "#", stem), *suffixes])


def _describe(folder: Path, members: list[Path], files: list[Path]) -> str:
    """Return the path that means these files and no others: a file, a folder, or a pattern."""
    if len(members) == 1 and "=" not in "".join(members[0].relative_to(folder).parts[:-1]):
        return config_path(members[0])
    common = Path(os.path.commonpath([file.parent for file in members]))
    while "=" in common.name and common != folder:
        common = common.parent
    if all(file in set(members) for file in files if file.is_relative_to(common)):
        return config_path(common)
    depths = {len(file.relative_to(common).parts) for file in members}
    names = {file.name for file in members}
    name = names.pop() if len(names) == 1 else _pattern([file.name for file in members])
    middle = "*/" * (depths.pop() - 1) if len(depths) == 1 else "**/"
    return f"{config_path(common)}/{middle}{name}".removeprefix("./")


def _pattern(names: list[str]) -> str:
    start = _common_start(names)
    end = _common_start([name.removeprefix(start)[::-1] for name in names])[::-1]
    return f"{re.sub(r'[0-9]+$', '', start)}*{end}"


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    length = next((index for index, char in enumerate(first) if last[index : index + 1] != char), len(first))
    return first[:length]
