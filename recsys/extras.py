"""Optional parts of the installation: the distribution's name, and the one error that names a missing extra.

The import name and the command are `recsys`. The distribution has another name, because the package index has a
`recsys` of someone else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec

from recsys.errors import RecsysError

DISTRIBUTION = "nightly-recsys"
# Environments installed before the distribution had its own name.
_FORMER_NAME = "recsys"
_UNKNOWN = "0.0.0"
# The modules of the extras whose absence leaves something out instead of stopping a command.
_REPORT_MODULES = ("matplotlib", "vl_convert")


def find_version() -> str:
    """Return the installed version; `0.0.0` where the package is imported from a folder that is not installed."""
    distribution = _find_distribution()
    return distribution.version if distribution else _UNKNOWN


def list_requirements() -> list[str]:
    """Return the requirements of an installation without extras, as the distribution states them."""
    distribution = _find_distribution()
    return [line for line in (distribution.requires if distribution else None) or [] if "extra ==" not in line]


def format_install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


@contextmanager
def needs_extra(
    extra: str, purpose: str, error: type[RecsysError] = RecsysError, otherwise: str = ""
) -> Iterator[None]:
    """Import packages of an extra in a block; a missing one raises an error that names the extra.

    Args:
        extra: name of the extra in pyproject.toml.
        purpose: the setting, file or command that needs it.
        error: class of the error.
        otherwise: what else solves it, such as `use engine: local`.

    Raises:
        RecsysError: of the given class; a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        alternative = f", or {otherwise}" if otherwise else ""
        raise error(
            f"{purpose}: the package {missing.name} is not installed; run {format_install(extra)}{alternative}"
        ) from missing


def find_missing_report_package() -> str | None:
    """Return the first package of the extra `report` that is not installed; None if all are."""
    return next((name for name in _REPORT_MODULES if _is_missing(name)), None)


def _is_missing(module: str) -> bool:
    try:
        return find_spec(module) is None
    except (ImportError, ValueError):
        return True


def _find_distribution() -> metadata.Distribution | None:
    for name in (DISTRIBUTION, _FORMER_NAME):
        try:
            return metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return None
