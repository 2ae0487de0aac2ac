"""Versions whose files were pruned: the tag that says so, and the error of a command that needs the files."""

from __future__ import annotations

from collections.abc import Mapping

from recsys.errors import RegistryError
from recsys.registry.tracking import Store, asking

# Tag of a version: the date on which its files were deleted. It is set before the first file is deleted, and until the
# last one is, it ends in UNFINISHED.
PRUNED = "recsys.pruned"
UNFINISHED = " (unfinished)"


def describe_pruned(tags: Mapping[str, str]) -> str | None:
    """Return when a version was pruned, as in `its files were pruned on 2025-03-01`; None where they were not."""
    date = tags.get(PRUNED)
    return f"its files were pruned on {date.removesuffix(UNFINISHED)}" if date is not None else None


def refuse_pruned(store: Store, name: str, number: str, tags: Mapping[str, str]) -> None:
    """Refuse a version whose files were pruned, and name the versions that still have theirs.

    Raises:
        RegistryError: they were pruned, or the registry does not answer.
    """
    problem = describe_pruned(tags)
    if problem is None:
        return
    with asking(store, f"cannot list versions of model '{name}'"):
        versions = store.client.search_model_versions(f"name = '{name}'")
    kept = sorted(int(found.version) for found in versions if PRUNED not in found.tags)
    raise RegistryError(
        f"model '{name}' in {store.place}: version {number}: {problem}, under the section 'retention'; kept: "
        f"{', '.join(map(str, kept)) or 'none'}; choose one of these, or train again"
    )
