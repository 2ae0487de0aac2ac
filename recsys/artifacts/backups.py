"""The folder that `recsys backup` writes: copies of files of a home, with a manifest of their hashes and sizes.

BACKUP/
manifest.json                      kind, format, versions, what was left out, and the hash and size of every file
home/                              files as they are below RECSYS_HOME
config/NAME.yaml                   the config file
store/                             only with an MLflow server: its promotion log, and the files of versions in use
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recsys.errors import ArtifactError
from recsys.progress import format_count, track
from recsys.storage.files import hash_file, hash_text, read_json, replace_file, replace_text
from recsys.storage.folders import MANIFEST, read_manifest, verify_folder
from recsys.storage.home import file_below, restore_marker

KIND = "backup"
FORMAT = 1
HOME = "home"
CONFIG = "config"
STORE = "store"
# In a home that is being restored: the hash of the backup's manifest.
_ATTEMPTS = 3
_OTHER_BACKUP = "take another backup; nothing was restored"


class Copier:
    """Copies files; those that are one file on the disk stay one (hard links), so equal encoders are stored once."""

    def __init__(self) -> None:
        self._copied: dict[tuple[int, int], Path] = {}

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file with its times; an existing target is replaced.

        Raises:
            FileNotFoundError: there is no such file.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        status = source.stat()
        key = (status.st_dev, status.st_ino)
        target.unlink(missing_ok=True)
        known = self._copied.get(key) if status.st_nlink > 1 else None
        if known is not None:
            # Where links are not possible, or the first copy was dropped, there is another copy.
            with suppress(OSError):
                os.link(known, target)
                return
        shutil.copy2(source, target)
        self._copied[key] = target

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy all files below a folder, except those that a writer has not finished; deleted files are left out."""
        for path in _walk(source):
            with suppress(FileNotFoundError):
                self.copy(path, target / path.relative_to(source))

    def copy_whole(self, source: Path, target: Path, next_step: str) -> None:
        """Copy a folder with a manifest, and check the copy; a folder that is exchanged meanwhile is copied again.

        Raises:
            ArtifactError: the folder is gone, or differs from its manifest.
        """
        for attempt in range(_ATTEMPTS):
            shutil.rmtree(target, ignore_errors=True)
            self.copy_tree(source, target)
            try:
                verify_folder(target, next_step)
            except ArtifactError as error:
                if attempt + 1 < _ATTEMPTS:
                    continue
                shutil.rmtree(target, ignore_errors=True)
                raise ArtifactError(str(error).replace(str(target), str(source))) from error
            return


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(".tmp"))
        yield from (Path(root, name) for name in sorted(files) if not name.endswith(".tmp"))


def measure(folder: Path) -> dict[str, int]:
    """Return the size of each file below a folder in bytes, by relative path."""
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in _walk(folder)}


@dataclass(frozen=True)
class Backup:
    """A backup whose files are all as they were written.

    Attributes:
        folder: of the backup.
        manifest: its manifest.
        hashes: relative path -> SHA-256, sorted.
    """

    folder: Path
    manifest: Mapping[str, Any]
    hashes: Mapping[str, str]

    @property
    def identity(self) -> str:
        """The hash of all hashes."""
        return hash_text("\n".join(f"{digest} {name}" for name, digest in self.hashes.items()))

    @property
    def config(self) -> Path:
        """The config file in the backup."""
        return self.folder / CONFIG / str(self.manifest["config_file"])

    @property
    def home_files(self) -> list[str]:
        """Paths below the home, in the order in which they are restored: what makes the others count comes last."""
        names = [name.removeprefix(f"{HOME}/") for name in self.hashes if name.startswith(f"{HOME}/")]
        last = ("mlflow.db", "recommendations/CURRENT")
        return [*(name for name in names if name not in last), *(name for name in last if name in names)]


def open_backup(folder: Path) -> Backup:
    """Read a backup's manifest, and check every file against it.

    Raises:
        ArtifactError: it is no backup, is of a newer format, a path in it leads elsewhere, or a file is damaged.
    """
    if not folder.is_dir():
        raise ArtifactError(f"backup {folder}: no such folder; give the folder that 'recsys backup' wrote")
    manifest = read_manifest(folder, "give the folder that 'recsys backup' wrote")
    if manifest.get("kind") != KIND:
        raise ArtifactError(f"folder {folder}: is not a backup; give the folder that 'recsys backup' wrote")
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"backup {folder}: has format {manifest.get('format')!r:.20}, expected {FORMAT}; restore it with recsys "
            f"{manifest.get('recsys')!r:.60}, which wrote it"
        )
    hashes, sizes = dict(sorted(manifest["files"].items())), manifest.get("sizes")
    if not isinstance(sizes, dict) or sizes.keys() != hashes.keys():
        raise ArtifactError(f"backup {folder}: its {MANIFEST} does not list the size of each file; {_OTHER_BACKUP}")
    for name in (*hashes, f"{CONFIG}/{manifest.get('config_file')}"):
        _check_path(folder, name)
    _check_kinds(folder)
    present = measure(folder).keys() - {MANIFEST}
    if strange := sorted(present - hashes.keys()):
        raise ArtifactError(
            f"backup {folder}: {strange[0]!r} is not listed in its {MANIFEST}; remove the file, then run again"
        )
    for name, digest in track(hashes.items(), "Checking files"):
        _check_file(folder, name, digest, sizes[name])
    return Backup(folder, manifest, hashes)


def _check_path(folder: Path, name: str) -> None:
    """Refuse a path of a manifest that leads out of its folder."""
    parts = PurePosixPath(name).parts
    whole = name == "/".join(parts) and len(parts) > 1 and parts[0] in (HOME, CONFIG, STORE)
    if not whole or ".." in parts or "\0" in name or "\\" in name:
        raise ArtifactError(
            f"backup {folder}: its {MANIFEST} lists the path {name!r:.80}, expected one below {HOME}, {CONFIG} or "
            f"{STORE}; not written by recsys; {_OTHER_BACKUP}"
        )


def _check_kinds(folder: Path) -> None:
    """Refuse links and special files, which could bring in a file from elsewhere."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = Path(root, name).lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                path = Path(root, name).relative_to(folder).as_posix()
                raise ArtifactError(
                    f"backup {folder}: {path!r:.80} is a link or a special file, expected files and folders; "
                    f"not written by recsys; {_OTHER_BACKUP}"
                )


def _check_file(folder: Path, name: str, digest: object, size: object) -> None:
    path = folder / name
    try:
        found = path.stat().st_size
        if found != size:
            raise ArtifactError(
                f"backup {folder}: file {name} has {format_count(found, 'byte')}, expected {size}; {_OTHER_BACKUP}"
            )
        if hash_file(path) != digest:
            raise ArtifactError(f"backup {folder}: file {name} is damaged: its SHA-256 does not match; {_OTHER_BACKUP}")
    except FileNotFoundError as error:
        raise ArtifactError(f"backup {folder}: file {name} is missing; {_OTHER_BACKUP}") from error
    except OSError as error:
        raise ArtifactError(
            f"backup {folder}: file {name} cannot be read ({error.strerror}); {_OTHER_BACKUP}"
        ) from error


def start_restoring(backup: Backup, home: Path, lock_file: Path) -> None:
    """Mark an empty home as being restored; a home that the same backup was being restored to is continued.

    Raises:
        ArtifactError: the home holds something else.
    """
    marker = restore_marker(home)
    try:
        marked = read_json(marker)
    except (OSError, ValueError):
        marked = None
    if marked == {"backup": backup.identity}:
        return
    present = sorted(path.name for path in home.iterdir() if path not in (lock_file, marker))
    # A marker may have been being written when the process was killed.
    present = [name for name in present if not name.startswith(f".{marker.name}.")]
    if present:
        what = "an interrupted restore of another backup" if marker.exists() else f"{present[0]!r:.60}"
        raise ArtifactError(
            f"home {home}: is not empty ({what}); restore into a new RECSYS_HOME, or move this one away; nothing was "
            "changed"
        )
    replace_text(marker, f'{{"backup": "{backup.identity}"}}\n')


def restore_files(backup: Backup, home: Path) -> int:
    """Copy the home's files from a backup, each in one step, and return how many were missing.

    Files that are linked in the backup, or have equal content, are linked in the home where it can be done.

    Raises:
        ArtifactError: a file changed since it was checked, or the home cannot be written.
    """
    written = 0
    known: dict[tuple[int, int], Path] = {}
    for name in track(backup.home_files, "Writing files"):
        source, target = backup.folder / HOME / name, file_below(home, name)
        digest = backup.hashes[f"{HOME}/{name}"]
        if not (target.is_file() and hash_file(target) == digest):
            _restore_file(source, target, digest, known)
            written += 1
    return written


def _restore_file(source: Path, target: Path, digest: str, known: dict[tuple[int, int], Path]) -> None:
    status = source.stat()
    key = (status.st_dev, status.st_ino)
    with replace_file(target) as staging:
        linked = status.st_nlink > 1 and key in known
        if linked:
            os.link(known[key], staging)
        else:
            shutil.copy2(source, staging)
        if hash_file(staging) != digest:
            raise ArtifactError(f"backup: file {source} has changed since it was checked; restore it again")
    known[key] = target


def finish_restoring(home: Path) -> None:
    """Remove the mark of a home that is being restored."""
    restore_marker(home).unlink()
