"""Which files below the given paths belong together as a table."""

from __future__ import annotations

import fnmatch
import os
import re
import zipfile
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config import data_path
from recsys.config.raw_files import DATABASE_SCHEMES, RawFiles
from recsys.dataset.proposal.headers import key_by_columns
from recsys.dataset.raw.places import find_sources
from recsys.errors import ConfigError, DataError

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
        query: of a database.
    """

    path: str
    files: tuple[Path, ...]
    root: Path | None = None
    query: str | None = None


def find_groups(paths: Sequence[str], queries: Sequence[str] = ()) -> list[FileGroup]:
    """Return the groups of files below the paths, in the order of their names; a single file is a group of its own.

    Args:
        paths: files, folders, patterns, addresses, or a database.
        queries: of the database, each the rows of a table.

    Raises:
        DataError: a path does not exist, or there is no data file.
        ConfigError: a database without queries, or queries without a database.
    """
    databases = [path for path in paths if path.lower().startswith(DATABASE_SCHEMES)]
    _check_queries(databases, queries)
    groups = [FileGroup(path, (Path(path),), query=query) for path in databases for query in queries]
    for path in (path for path in paths if path not in databases):
        place = data_path(path)
        if not place.exists() and Path(path).expanduser().exists():
            place = Path(path).expanduser().resolve()
        if place.is_dir() and not (place / "_delta_log").is_dir():
            groups += _group_folder(place)
        elif place.suffix.lower() == ".zip" and zipfile.is_zipfile(place):
            groups += _group_archive(place)
        elif "://" in path:
            groups += _group_remote(path)
        elif place.exists():
            groups.append(FileGroup(config_path(place), (place,)))
        else:
            groups.append(_match(path))
    known: dict[Hashable, FileGroup] = {}
    for group in groups:
        known.setdefault((group.files, group.query), group)
    if not known:
        raise DataError(
            f"{', '.join(paths)}: no data file found; pass the files or the folder of an export to recsys init"
        )
    return list(known.values())


def _check_queries(databases: Sequence[str], queries: Sequence[str]) -> None:
    if len(databases) > 1:
        raise ConfigError("recsys init reads one database at a time; pass one address, and a --query for each table")
    if databases and not queries:
        raise ConfigError(
            "a database needs a query for each table, such as --query 'SELECT customer, product, day FROM lines' "
            "--query 'SELECT id, name FROM products'"
        )
    if queries and not databases:
        raise ConfigError("--query works only with a database; pass its address, such as postgresql://HOST/NAME")


def _group_remote(path: str) -> list[FileGroup]:
    """Return the files at an address: all of them if their names differ in numbers alone, else a group per kind."""
    names = [source.name for source in find_sources("interactions", RawFiles(path=path))]
    kinds: dict[tuple[str, str], list[str]] = {}
    for name in names:
        kinds.setdefault(_kind(Path(), Path(name)), []).append(name)
    if len(kinds) <= 1:
        return [FileGroup(path, (Path(path),))]
    groups = []
    for members in kinds.values():
        folder = members[0].rpartition("/")[0]
        same = [name.rpartition("/")[2] for name in members if name.rpartition("/")[0] == folder]
        # Files that one pattern names are a table, others are tables of their own.
        found = [f"{folder}/{_pattern(same)}"] if 1 < len(same) == len(members) else members
        groups += [FileGroup(each, (Path(each),)) for each in found]
    return groups


def _group_archive(archive: Path) -> list[FileGroup]:
    """Return the data files in an archive: all of it if their names differ in numbers alone, else each."""
    with zipfile.ZipFile(archive) as content:
        members = [Path(member.filename) for member in content.infolist() if not member.is_dir() and member.file_size]
    members = [
        member
        for member in members
        if not any(part.startswith((".", "_")) for part in member.parts) and _has_data_name(member)
    ]
    root = config_path(archive)
    if len({_kind(Path(), member) for member in members}) <= 1:
        return [FileGroup(root, (archive,))]
    return [FileGroup(f"{root}/{member.as_posix()}", (archive / member,)) for member in members]


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
            f"{pattern}: no such file or folder; pass an existing one, or set RECSYS_DATA to the folder that the path "
            "starts from"
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
    """Return the groups in a folder.

    Files whose names differ in numbers, or that are in `key=value` folders, belong together; so do files of one name in
    several folders, and texts with the same columns, where a pattern can name them and no others.
    """
    files = list(_walk(folder))
    if len(files) == _MANY:
        raise DataError(f"{folder}: more than {_MANY:,} files; pass only the folders of the tables to recsys init")
    kinds: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        kinds.setdefault(_kind(folder, file), []).append(file)
    parts = _merge(folder, list(kinds.values()), files, lambda part: part[0].name)
    parts = _merge(folder, parts, files, key_by_columns([part[0] for part in parts], in_folder=True))
    parts = _merge(folder, parts, files, key_by_columns([part[0] for part in parts], in_folder=False))
    found = []
    for part in parts:
        path = _describe(folder, part, files)
        # Files that no pattern names are tables of their own.
        groups = [part] if path else [[file] for file in part]
        for group in groups:
            named = path or config_path(group[0])
            found.append(FileGroup(named, tuple(group), folder if len(group) > 1 else None))
    return sorted(found, key=lambda group: group.path)


def _merge(
    folder: Path, parts: list[list[Path]], files: list[Path], key: Callable[[list[Path]], Hashable]
) -> list[list[Path]]:
    """Return the parts, those of the same key as one if a pattern can name their files and no others.

    A part without a key stays as it is.
    """
    same: dict[Hashable, list[list[Path]]] = {}
    for index, part in enumerate(parts):
        value = key(part)
        same.setdefault(index if value is None else value, []).append(part)
    merged = []
    for members in same.values():
        whole = sorted(file for part in members for file in part)
        if len(members) > 1 and _describe(folder, whole, files) is None:
            merged += members
        else:
            merged.append(whole)
    return merged


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
    return not file.name.startswith((".", "_")) and _has_data_name(file) and file.is_file() and file.stat().st_size > 0


def _has_data_name(file: Path) -> bool:
    name = file.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix not in _NOT_DATA and not _DOCUMENTS.match(file.name)


def _kind(folder: Path, file: Path) -> tuple[str, str]:
    """Return the folder of a file without `key=value` parts, and its name with numbers and checksums replaced."""
    parents = [part for part in file.relative_to(folder).parts[:-1] if "=" not in part]
    name = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "#", file.name.lower())
    stem, *suffixes = name.split(".")
    return "/".join(parents), ".".join([re.sub(r"\d+", "#", stem), *suffixes])


def _describe(folder: Path, members: list[Path], files: list[Path]) -> str | None:
    """Return the path that means these files and no others: a file, a folder, or a pattern; None if there is none."""
    if len(members) == 1 and "=" not in "".join(members[0].relative_to(folder).parts[:-1]):
        return config_path(members[0])
    common = Path(os.path.commonpath([file.parent for file in members]))
    while "=" in common.name and common != folder:
        common = common.parent
    chosen = set(members)
    if all(file in chosen for file in files if file.is_relative_to(common)):
        return config_path(common)
    depths = {len(file.relative_to(common).parts) for file in members}
    names = {file.name for file in members}
    name = next(iter(names)) if len(names) == 1 else _pattern(sorted(names))
    middle = "*/" * (depths.pop() - 1) if len(depths) == 1 else "**/"
    if {
        file for file in files if file.is_relative_to(common) and _matches(file.relative_to(common), middle, name)
    } != chosen:
        return None
    return f"{config_path(common)}/{middle}{name}".removeprefix("./")


def _matches(file: Path, middle: str, name: str) -> bool:
    right_depth = middle == "**/" or len(file.parts) - 1 == middle.count("*/")
    return right_depth and fnmatch.fnmatchcase(file.name, name)


def _pattern(names: list[str]) -> str:
    start = _common_start(names)
    end = _common_start([name.removeprefix(start)[::-1] for name in names])[::-1]
    return f"{re.sub(r'[0-9]+$', '', start)}*{end}"


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    length = next((index for index, char in enumerate(first) if last[index : index + 1] != char), len(first))
    return first[:length]
