"""Lists of a run date that those of another version replaced, kept so that their version can serve again at once.

They are below `recommendations/.replaced`, where no reader looks, until their run date is pruned. Only lists of a night
with one model are kept: after a rollback no user may get lists of a canary.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.errors import ArtifactError
from recsys.progress import logger
from recsys.storage.folders import MANIFEST, link_folder, read_manifest, remove_folder, sweep, verify_folder
from recsys.storage.home import all_list_folders, all_replaced_folders, list_folder, replaced_lists_folder

# The fact of a manifest that only nights with a canary have.
CANARY = "canary"


def keep_replaced(home: Path, run_date: str, facts: Mapping[str, Any]) -> None:
    """Keep the published lists of a run date before others replace them; older ones of the same version go.

    Lists of the version that replaces them are not kept, nor those of a night with a canary. Damaged lists are not
    kept either, which is logged: they must not stop the publication of new ones. The caller holds the generation lock.

    Args:
        home: the home that publishes.
        run_date: YYYY-MM-DD.
        facts: of the lists that replace them.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    published = _read_facts(list_folder(home, run_date))
    version = published.get("model_version")
    if version is None or CANARY in published or _has_models(facts, published.get("model"), version):
        return
    try:
        manifest = verify_folder(list_folder(home, run_date), "they are not kept")
    except ArtifactError as error:
        logger.warning("lists of version %s for %s: %s", version, run_date, error)
        return
    kept = replaced_lists_folder(home, run_date, version)
    sweep(kept.parent)
    link_folder(list_folder(home, run_date), manifest, kept)


def republish(home: Path, run_date: str, version: str) -> bool:
    """Publish the kept lists of a version for a run date again, in one step; those they replace are kept in turn.

    Their hashes are checked first. Nothing happens where that version's lists are published already. The pointer stays.
    The caller holds the generation lock.

    Args:
        home: the home that publishes.
        run_date: YYYY-MM-DD.
        version: number of the model version.

    Returns:
        True if the published lists of the run date are that version's now, False if none are kept.

    Raises:
        ArtifactError: the kept lists are damaged, or the folder cannot be written; the published lists are unchanged.
    """
    published = _read_facts(list_folder(home, run_date))
    if _has_models(published, published.get("model"), version):
        return True
    kept = replaced_lists_folder(home, run_date, version)
    if not (kept / MANIFEST).is_file():
        return False
    next_step = (
        f"the published lists are unchanged; delete {kept}, then run 'recsys generate --run-date {run_date}' to make "
        "them again"
    )
    manifest = verify_folder(kept, next_step)
    # The registry numbers the versions of each model from 1.
    if published and manifest.get("model") != published.get("model"):
        return False
    keep_replaced(home, run_date, manifest)
    sweep(list_folder(home, run_date).parent, "run_date=")
    link_folder(kept, manifest, list_folder(home, run_date))
    remove_folder(kept)
    return True


def find_kept(home: Path, run_date: str) -> list[str]:
    """Return the versions whose lists of a run date are kept."""
    folder = all_replaced_folders(home).get(run_date)
    kept = sorted(folder.glob("version=*")) if folder else []
    return [path.name.removeprefix("version=") for path in kept if (path / MANIFEST).is_file()]


def prune_replaced(home: Path) -> None:
    """Delete the kept lists of run dates that are no longer published; the caller holds the generation lock."""
    published = all_list_folders(home)
    for run_date, folder in all_replaced_folders(home).items():
        if run_date not in published:
            shutil.rmtree(folder)


def _has_models(facts: Mapping[str, Any], model: str | None, version: str) -> bool:
    """Return whether lists were made by one version of a model alone."""
    return CANARY not in facts and (facts.get("model"), facts.get("model_version")) == (model, version)


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        return read_manifest(folder, "")
    except ArtifactError:
        return {}
