"""An object store or a shared folder as an output of a night."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys.artifacts.list_store import ListStore, name_folder, select_files
from recsys.artifacts.night import Night, hash_lists, read_night_manifest
from recsys.artifacts.recommendations import find_followed
from recsys.errors import ArtifactError
from recsys.progress import log_stage, logger
from recsys.storage.home import list_folder

# Readers may still read last night's lists while tonight's are published.
_LEAST_KEPT = 2


@dataclass(frozen=True)
class Store:
    """The lists in an object store or a shared folder; it holds the night that readers of the home follow.

    Attributes:
        home: the folder that everything is written to.
        address: as in `generation.publish_to`.
        keep: number of run dates to keep.
    """

    home: Path
    address: str
    keep: int

    def holds(self, night: Night) -> bool:
        """Return whether readers of the store follow these lists with all their files, or need not: see the class.

        Raises:
            ArtifactError: the store cannot be read, or holds the lists of another config.
        """
        followed = find_followed(self.home).run_date
        if followed != night.run_date:
            logger.info("store %s: follows the pointer, which names %s", self.address, followed)
            return True
        manifest, folder = self._describe(night)
        self._check_owner(manifest)
        if self._store.read_pointer() != folder or self._store.read_manifest(folder) != manifest:
            return False
        there, source = self._store.list_sizes(folder), list_folder(self.home, night.run_date)
        return all(there.get(name) == (source / name).stat().st_size for name in manifest["files"])

    def fill(self, night: Night) -> None:
        """Write the lists, point readers of the store at them, and delete old ones."""
        manifest, folder = self._describe(night)
        self._check_owner(manifest)
        with log_stage(f"store {self.address}") as done:
            written = self._store.write(folder, list_folder(self.home, night.run_date), manifest)
            self._store.point_at(folder)
            done(f"{len(manifest['files'])} files, {written} of them new; readers follow {night.run_date}")
        try:
            if pruned := self._store.prune(max(self.keep, _LEAST_KEPT)):
                logger.info("store %s: pruned run dates %s", self.address, ", ".join(pruned))
        except ArtifactError as error:
            # The lists are published; what is too old may be deleted next time.
            logger.warning("store %s: old lists are not deleted: %s", self.address, error)

    def keep_only(self, night: Night, *, dry_run: bool = False) -> int:
        """Publish a night's lists as they are now, and delete all other lists; return how many those are.

        Args:
            night: that readers of the home follow.
            dry_run: change nothing.

        Raises:
            ArtifactError: the store cannot be read or written, or holds the lists of another config.
        """
        if not dry_run and not self.holds(night):
            self.fill(night)
        others = self._store.find_others(self._describe(night)[1])
        for folder in others if not dry_run else ():
            self._store.delete(folder)
        return len(others)

    @cached_property
    def _store(self) -> ListStore:
        return ListStore(self.address)

    def _describe(self, night: Night) -> tuple[dict[str, Any], str]:
        """Return the manifest that the store should have, and the folder of the lists."""
        manifest = select_files(read_night_manifest(self.home, night.run_date))
        return manifest, name_folder(night.run_date, hash_lists(self.home, night.run_date))

    def _check_owner(self, manifest: dict[str, Any]) -> None:
        folder = self._store.read_pointer()
        owner = (self._store.read_manifest(folder) or {}).get("name") if folder else None
        if owner is not None and owner != manifest.get("name"):
            raise ArtifactError(
                f"store {self.address}: holds the lists of '{owner}', these are of '{manifest.get('name')}'; choose "
                "another generation.publish_to"
            )


def find_store_run_date(address: str) -> str | None:
    """Return the run date of the lists that readers of a store follow; None: none are published there.

    Raises:
        ArtifactError: the store cannot be read.
    """
    folder = ListStore(address).read_pointer()
    return folder.partition("/")[0].removeprefix("run_date=") if folder else None
