"""The plug-ins that an artifact needs: recorded with it, and checked before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata

from recsys.config.plugins import Kind, demand_plugin, load_modules
from recsys.errors import ArtifactError, ConfigError


def record_plugins(modules: Sequence[str], used: Iterable[tuple[Kind, str]]) -> list[dict[str, str]]:
    """Return a row for each plug-in module and class that a config needs, as plain JSON values.

    Args:
        modules: named under `plugins`.
        used: kind and name of the plug-ins that take part.

    Returns:
        Rows of `kind` ("module", or that of the class), `name`, `module`, `distribution` and `version`.
    """
    rows = []
    for module in modules:
        distribution, version = _find_distribution(module)
        rows.append(_row("module", module, module, distribution, version))
    for kind, name in used:
        plugin = demand_plugin(kind, name)
        module = plugin.target.__module__
        distribution, version = plugin.distribution, plugin.version
        if not distribution:
            distribution, version = _find_distribution(module)
        rows.append(_row(kind, name, module, distribution, version))
    return rows


def check_plugins(recorded: Sequence[Mapping[str, str]], where: str) -> None:
    """Refuse what was written with plug-ins that this environment lacks.

    Args:
        recorded: from `record_plugins`.
        where: names the artifact in the message.

    Raises:
        ArtifactError: names every missing plug-in and what to install.
    """
    missing: list[str] = []
    packages: set[str] = set()
    for row in recorded:
        try:
            if row["kind"] == "module":
                load_modules([row["name"]])
            else:
                demand_plugin(row["kind"], row["name"])  # type: ignore[arg-type]
        except ConfigError as error:
            package = f"package {row['distribution']} {row['version']}" if row["distribution"] else "no known package"
            missing.append(f"  {row['kind']} '{row['name']}' (module {row['module']}, {package}): {error}")
            packages |= {row["distribution"]} - {""}
    if missing:
        install = f"pip install {' '.join(sorted(packages))}" if packages else "put its module on the Python path"
        count = f"{len(missing)} plug-in{'s' * (len(missing) > 1)}"
        raise ArtifactError(f"{where}: {count} missing; {install} and run again:\n" + "\n".join(missing))


def _find_distribution(module: str) -> tuple[str, str]:
    """Return name and version of the installed package that has a module; empty where it is only on the path."""
    owners = metadata.packages_distributions().get(module.partition(".")[0], [])
    return (owners[0], metadata.version(owners[0])) if owners else ("", "")


def _row(kind: str, name: str, module: str, distribution: str, version: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "module": module, "distribution": distribution, "version": version}
