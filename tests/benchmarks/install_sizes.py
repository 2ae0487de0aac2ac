"""Print how much disk each way to install recsys takes: the base, and what each extra adds.

Sums the files that pip recorded for every package that the requirements lead to, so all extras to be measured must be
installed where this runs (`make install-dev`; those that are not are marked). Compiled bytecode counts.

    python tests/benchmarks/install_sizes.py
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recsys.extras import DISTRIBUTION


def collect_packages(name: str, extras: frozenset[str], packages: dict[str, Distribution], missing: set[str]) -> None:
    """Add the distributions that a requirement leads to, extras of requirements included."""
    pending = [(canonicalize_name(name), extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        project, wanted = pending.pop()
        if (project, wanted) in seen:
            continue
        seen.add((project, wanted))
        try:
            packages.setdefault(project, distribution(project))
        except PackageNotFoundError:
            missing.add(project)
            continue
        for line in packages[project].requires or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                pending.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))


def measure_megabytes(package: Distribution) -> float:
    """Return the size of a package's recorded files in MB (10^6 bytes)."""
    paths = (package.locate_file(file) for file in package.files or [])
    return sum(path.stat().st_size for path in map(Path, map(str, paths)) if path.is_file()) / 1e6


def main() -> None:
    """Print one row for the base and one for each extra."""
    base: dict[str, Distribution] = {}
    missing: set[str] = set()
    collect_packages(DISTRIBUTION, frozenset(), base, missing)
    sizes = {name: measure_megabytes(package) for name, package in base.items()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    print(f"{'base':16} {sum(sizes.values()):7.0f} MB  {len(sizes):4} packages  missing: {sorted(missing) or 'none'}")
    print("  largest: " + ", ".join(f"{name} {sizes[name]:.0f}" for name in largest))
    for extra in sorted(distribution(DISTRIBUTION).metadata.get_all("Provides-Extra") or []):
        packages: dict[str, Distribution] = {}
        missing = set()
        collect_packages(DISTRIBUTION, frozenset({extra}), packages, missing)
        added = {name: measure_megabytes(packages[name]) for name in packages.keys() - base.keys()}
        largest = sorted(added, key=lambda name: -added[name])[:4]
        names = ", ".join(f"{name} {added[name]:.0f}" for name in largest)
        absent = f"  missing: {sorted(missing)}" if missing else ""
        print(f"+ {extra:14} {sum(added.values()):7.0f} MB  {len(added):4} packages  ({names}){absent}")


if __name__ == "__main__":
    main()
