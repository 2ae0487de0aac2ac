"""The table of sources, features and baselines by name, both built-in ones and plug-ins.

A plug-in is a class. It is registered in one of two ways:

- its package declares an entry point in the group `recsys.sources`, `recsys.features` or `recsys.baselines`, or
- a decorator of this module registers it in a module that the config names under `plugins`.

A plug-in takes part only where the config names it, so installing a package changes no model.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from recsys.config.section import Section
from recsys.errors import ConfigError, RecsysError

Kind = Literal["source", "feature", "baseline"]

# The built-in sources in the order of their columns: each is a module of recsys.candidates.sources.
SOURCES = (
    "als",
    "bpr",
    "item_to_item",
    "bm25",
    "transitions",
    "ease",
    "sequence",
    "tfidf",
    "attributes",
    "text",
    "nearest_text",
    "popular",
    "popular_all_time",
    "segment_popular",
    "new_items",
    "repeat",
)
# Sources of `dataset.items.vectors`: one for each name.
_NEAREST = "nearest_"
_BUILT_IN = "recsys.candidates.sources."
_GROUPS: dict[Kind, str] = {"source": "recsys.sources", "feature": "recsys.features", "baseline": "recsys.baselines"}
_METHODS: dict[Kind, tuple[str, ...]] = {
    "source": ("make", "score"),
    "feature": ("names", "describe"),
    "baseline": ("make", "score"),
}
# Names become parts of column names and of file names.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Plugin:
    """One registered class.

    Attributes:
        kind: what it is.
        name: in configs, columns and tables.
        target: the class.
        distribution: the installed package that it comes from, "" if unknown.
        version: of that package, "" if unknown.
    """

    kind: Kind
    name: str
    target: type[Any]
    distribution: str = ""
    version: str = ""

    @property
    def section(self) -> type[Section]:
        """The config section that its settings are validated by."""
        section: type[Section] = self.target.section
        return section


# Classes that decorators have registered in this process, by kind and name.
_registered: dict[tuple[Kind, str], Plugin] = {}


def register_source(target: _Class) -> _Class:
    """Register a `CandidateSource` under its `name`; use as a class decorator.

    Raises:
        ConfigError: the class breaks the contract, or the name is taken.
    """
    return _register("source", target)


def register_feature(target: _Class) -> _Class:
    """Register a `CandidateFeature` under its `name`; use as a class decorator. Raises as `register_source`."""
    return _register("feature", target)


def register_baseline(target: _Class) -> _Class:
    """Register a baseline under its `name`; use as a class decorator. Raises as `register_source`."""
    return _register("baseline", target)


def load_modules(modules: Iterable[str]) -> None:
    """Import the modules that a config names, which registers their classes.

    Raises:
        ConfigError: there is no such module, or it fails to import.
    """
    for module in modules:
        try:
            import_module(module)
        except RecsysError as error:
            raise ConfigError(f"plug-in module '{module}': {error}") from error
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"plug-in module '{module}' is not installed (no module '{error.name}'); install the package that "
                    "has it, or correct 'plugins' in the config"
                ) from error
            raise ConfigError(
                f"plug-in module '{module}' fails to import: {type(error).__name__}: {error}; fix the module"
            ) from error


def find_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the class registered under a name, importing its module if an entry point names it; None if unknown.

    Raises:
        ConfigError: the name is taken twice, or the class cannot be loaded or breaks the contract.
    """
    known = _registered.get((kind, name))
    points = [point for point in _entry_points(kind, tuple(sys.path)) if point.name == name]
    targets = {point.value.replace(" ", "") for point in points}
    if known is not None:
        targets.add(f"{known.target.__module__}:{known.target.__qualname__}")
    if kind == "source" and name in SOURCES and points:
        targets.add(f"{_BUILT_IN}{name}")
    if len(targets) > 1:
        raise ConfigError(
            f"{kind} '{name}': the name is taken by {' and by '.join(sorted(targets))}; uninstall or rename one of them"
        )
    if not points:
        return known
    (point,) = points[:1]
    try:
        target = point.load()
    except RecsysError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{kind} '{name}': entry point '{point.value}' of {_name_distribution(point)} fails to load: "
            f"{type(error).__name__}: {error}; fix or reinstall that package"
        ) from error
    _check(kind, target)
    if target.name != name:
        raise ConfigError(
            f"{kind} '{name}': entry point '{point.value}' of {_name_distribution(point)} has the name "
            f"'{target.name}'; use the same name for both"
        )
    dist = point.dist
    return Plugin(kind, name, target, dist.name if dist else "", dist.version if dist else "")


def list_names(kind: Kind) -> list[str]:
    """Return the names of all known plug-ins of a kind, sorted; built-in sources are not among them."""
    names = {name for registered_kind, name in _registered if registered_kind == kind}
    names |= {point.name for point in _entry_points(kind, tuple(sys.path))}
    return sorted(names - set(SOURCES) if kind == "source" else names)


def demand_plugin(kind: Kind, name: str) -> Plugin:
    """Return the class registered under a name.

    Raises:
        ConfigError: no such plug-in, or as `find_plugin`.
    """
    plugin = find_plugin(kind, name)
    if plugin is None:
        known = ", ".join((*SOURCES, *list_names(kind)) if kind == "source" else list_names(kind)) or "none"
        raise ConfigError(
            f"no {kind} '{name}'; known: {known}; install the package that contains it, or name its module under "
            "'plugins'"
        )
    return plugin


def name_vector_source(vectors: str) -> str:
    """Return the name of the source of the items that are nearest by vectors from elsewhere, `nearest_NAME`."""
    return f"{_NEAREST}{vectors}"


def find_vectors(source: str) -> str | None:
    """Return the name of the item vectors that a source `nearest_NAME` compares; None: it is another source."""
    if not source.startswith(_NEAREST) or source in SOURCES or find_plugin("source", source) is not None:
        return None
    return source.removeprefix(_NEAREST) or None


def order_sources(names: Iterable[str]) -> list[str]:
    """Return the sources with these names in the order of their columns: the built-in ones, then plug-ins by name."""
    chosen = set(names)
    return [name for name in SOURCES if name in chosen] + sorted(chosen.difference(SOURCES))


def read_settings(kind: Kind, name: str, given: Mapping[str, Any]) -> Section:
    """Validate the settings of a plug-in by its own section.

    Raises:
        ConfigError: unknown plug-in, or settings that do not fit; names each of them.
    """
    try:
        return demand_plugin(kind, name).section.model_validate(given)
    except ValidationError as error:
        lines = [f"{'.'.join((name, *map(str, line['loc'])))}: {line['msg']}" for line in error.errors()]
        raise ConfigError("; ".join(lines)) from error


def resolve_options(
    kind: Kind, options: Mapping[str, Mapping[str, Any]], used: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return the settings of each plug-in that is used or has options, defaults included, as plain JSON values.

    Raises:
        ConfigError: as `read_settings`, or a built-in source is among the options.
    """
    names = sorted({*options, *used})
    if built_in := [name for name in names if kind == "source" and name in SOURCES]:
        raise ConfigError(
            f"{built_in[0]}: a built-in source has no options here; its settings are in collab, text or candidates"
        )
    return {name: read_settings(kind, name, options.get(name, {})).model_dump(mode="json") for name in names}


@contextmanager
def as_value_error() -> Iterator[None]:
    """Turn a ConfigError into a ValueError, which pydantic reports together with the key it belongs to."""
    try:
        yield
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _register(kind: Kind, target: _Class) -> _Class:
    _check(kind, target)
    name: str = target.name  # type: ignore[attr-defined]
    own = target.__module__.startswith(_BUILT_IN)
    if kind == "source" and name in SOURCES and not own:
        raise ConfigError(
            f"source '{name}' of {target.__module__}.{target.__qualname__}: a built-in source has this name; rename it"
        )
    known = _registered.get((kind, name))
    # A module that is imported again replaces its own classes.
    if known is not None and _path(known.target) != _path(target):
        raise ConfigError(
            f"{kind} '{name}': the name is used by both {_path(known.target)} and {_path(target)}; rename one of them"
        )
    _registered[kind, name] = Plugin(kind, name, target)
    return target


def _check(kind: Kind, target: Any) -> None:
    """Refuse a class that lacks what every plug-in of its kind must have."""
    if not isinstance(target, type):
        raise ConfigError(f"{kind} {target!r}: is a {type(target).__name__}, expected a class")
    name, where = getattr(target, "name", None), f"{kind} class {_path(target)}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: its name is {name!r}, expected lower-case letters, digits and underscores, a letter first"
        )
    section = getattr(target, "section", None)
    if not isinstance(section, type) or not issubclass(section, Section):
        raise ConfigError(
            f"{where}: its section is {section!r}, expected a subclass of recsys.config.Section that declares its "
            "settings"
        )
    abstract: frozenset[str] = getattr(target, "__abstractmethods__", frozenset())
    methods = _METHODS[kind]
    if lacking := [name for name in methods if name in abstract or not callable(getattr(target, name, None))]:
        raise ConfigError(f"{where}: has no method {', '.join(lacking)}; see docs/how-to/extend.md on adding a {kind}")
    if check := getattr(target, "check_contract", None):
        check()


@cache
def _entry_points(kind: Kind, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of a kind that are installed on a `sys.path`, which is part of the key of the cache."""
    return tuple(metadata.entry_points(group=_GROUPS[kind]))


def _name_distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _path(target: type) -> str:
    return f"{target.__module__}.{target.__qualname__}"
