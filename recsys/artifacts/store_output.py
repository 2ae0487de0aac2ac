"""An object store or a shared folder as an output of a night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys.artifacts.list_store import ListStore, name_folder, select_files
from recsys.artifacts.night import Night, hash_lists, read_night_manifest
from recsys.artifacts.recommendations import find_followed
from recsys.errors import ArtifactError
from recsys.progress import format_count, log_stage, logger
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
            done(
                f"{format_count(len(manifest['files']), 'file')}, {written} of them new; readers now follow "
                f"{night.run_date}"
            )
        try:
            if pruned := self._store.prune(max(self.keep, _LEAST_KEPT)):
                logger.info("store %s: pruned run dates %s", self.address, ", ".join(pruned))
        except ArtifactError as error:
            # The lists are published; what is too old may be deleted next time.
            logger.warning("store %s: old lists are not deleted: %s", self.address, error)

    def remove_users(self, name: str, ids: Sequence[str], *, dry_run: bool = False) -> list[str]:
        """Delete the lists that may have a row of some users, and return their folders.

        Where readers follow such lists, they first get those that the home publishes now. Repeated after a kill, it
        finds what is left.

        Args:
            name: of the config.
            ids: of users who are no longer in the lists of the home.
            dry_run: change nothing.

        Raises:
            ArtifactError: the store cannot be read or written, holds the lists of another config, or the home
                publishes nothing that could replace what readers follow.
        """
        found = self._store.find_holders(ids)
        if not found or dry_run:
            return found
        self._check_owner({"name": name})
        if self._store.read_pointer() in found:
            run_date = find_followed(self.home).run_date
            if run_date is None:
                raise ArtifactError(
                    f"store {self.address}: readers follow lists with users that are to be removed, and the home "
                    "publishes none to replace them; run 'recsys generate', then the same command again"
                )
            self.fill(Night(run_date, {}))
        # Lists that were incomplete or damaged, and that the home has just completed, are clean.
        followed = self._store.read_pointer()
        removed = [folder for folder in found if folder != followed]
        for folder in removed:
            self._store.delete(folder)
        return removed

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
                f"store {self.address}: contains the lists of '{owner}', not of '{manifest.get('name')}'; choose "
                "another generation.publish_to"
            )


def find_store_run_date(address: str) -> str | None:
    """Return the run date of the lists that readers of a store follow; None: none are published there.

    Raises:
        ArtifactError: the store cannot be read.
    """
    folder = ListStore(address).read_pointer()
    return folder.partition("/")[0].removeprefix("run_date=") if folder else None
