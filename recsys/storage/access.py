"""Who may read what recsys writes: its own account only, and on request a group that reads the lists.

Every file and folder is private (0600, 0700), whatever the umask of the process that started recsys, because a home
holds what people did. `RECSYS_READERS_GROUP` names a group that may read the published lists and the metrics text, and
nothing else: it may pass through the folders above them (0710).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from recsys.errors import ConfigError

READERS_GROUP = "RECSYS_READERS_GROUP"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PASS, _LIST, _READ = 0o710, 0o750, 0o640
# Names that readers do not need, such as the monitor's samples of a night.
_HIDDEN = (".", "_")


def keep_private() -> None:
    """Make every file and folder that this process writes from now on private, also those that libraries write."""
    os.umask(_OTHERS)


def make_home(home: Path) -> None:
    """Create a home where there is none, private whatever the umask; an existing one keeps its mode.

    Raises:
        OSError: it cannot be created.
    """
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=stat.S_IRWXU, exist_ok=True)


def let_readers_in(home: Path, path: Path) -> None:
    """Let the group of `RECSYS_READERS_GROUP` read a file or folder below a home; without the variable, do nothing.

    Args:
        home: the folder above; it and those in between can be passed through afterwards, not listed.
        path: below the home; of a folder all files but those in names that start with a dot or an underscore.

    Raises:
        ConfigError: the group does not exist, or this account is not a member of it.
    """
    group = os.environ.get(READERS_GROUP)
    if not group:
        return
    try:
        for folder in reversed(path.relative_to(home).parents):
            _give(home / folder, group, _PASS)
        for each in (path, *(_visible(path) if path.is_dir() else ())):
            _give(each, group, _LIST if each.is_dir() else _READ)
    except (LookupError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the group does not exist"
        raise ConfigError(
            f"{READERS_GROUP}={group}: cannot assign {path} to it ({reason}); choose a group that this account "
            "belongs to, or unset the variable"
        ) from error


def follow_umask(folder: Path) -> None:
    """Take from the modes of a folder and of everything in it what the umask takes; copies have those of originals.

    Raises:
        OSError: a mode cannot be changed.
    """
    # There is no other way to read it.
    mask = os.umask(_OTHERS)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~mask)


def copy_access(source: Path, target: Path) -> None:
    """Give a file or folder the mode and the group of the one that it replaces.

    Raises:
        OSError: one of them does not exist.
    """
    state = source.stat()
    mode = stat.S_IMODE(state.st_mode)
    try:
        os.chown(target, -1, state.st_gid)
    except PermissionError:
        # This account is not a member of the group; its own group must not take its place.
        mode &= ~stat.S_IRWXG
    target.chmod(mode)


def find_readable(home: Path) -> Iterator[Path]:
    """Yield what other accounts could read or change in a home, in no order; nothing below a private folder.

    What the group of readers may read by `let_readers_in` is not meant.

    Args:
        home: an existing folder.
    """
    waiting = [home]
    while waiting:
        path = waiting.pop()
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            continue
        if _is_exposed(mode, shared=_is_shared(home, path)):
            yield path
        if path.is_dir() and mode & _OTHERS:
            waiting += _children(path)


def _is_exposed(mode: int, *, shared: bool) -> bool:
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return True
    # A folder that the group can only pass through shows nothing.
    return bool(mode & stat.S_IRGRP) and not shared


def _is_shared(home: Path, path: Path) -> bool:
    """Return whether a path is one of those that the group of readers may read."""
    parts = path.relative_to(home).parts
    if any(part.startswith(_HIDDEN) for part in parts):
        return False
    return parts[:1] == ("recommendations",) or (parts[:1] == ("monitoring",) and parts[2:] == ("metrics.txt",))


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _visible(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(_HIDDEN):
            yield path


def _give(path: Path, group: str, mode: int) -> None:
    # Changing the group clears the bits for set-group-id; wider access that somebody set by hand stays.
    wanted = stat.S_IMODE(path.stat().st_mode) | mode
    shutil.chown(path, group=group)
    path.chmod(wanted)
