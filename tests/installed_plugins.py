"""The plug-in package under `tests/plugin_package`, as it looks after `pip install`, without installing it."""

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path

import pytest

# Importing the models registers the built-in sources, which must stay registered.
import recsys.candidates.models  # noqa: F401
from recsys.config import plugins

PACKAGE = Path(__file__).parent / "plugin_package"
PLUGIN_SOURCES = ("same_tag", "trending")


@contextmanager
def installed(folder: Path, *, entry_points: bool = True) -> Iterator[None]:
    """Put the package on `sys.path`; `folder` gets the metadata that pip would write."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]
    if entry_points:
        info = folder / f"my_shop-{project['version']}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(header, "utf-8")
        (info / "top_level.txt").write_text("my_shop\nmy_shop_plugins\n", "utf-8")
        groups = (
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
        (info / "entry_points.txt").write_text("\n".join(groups), "utf-8")
    with on_path(PACKAGE, folder):
        yield


@contextmanager
def on_path(*folders: Path) -> Iterator[None]:
    """Put folders on `sys.path`, and forget afterwards what was imported from them and registered meanwhile."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "_registered", {**plugins._registered})
        for folder in folders:
            patch.syspath_prepend(folder)
        invalidate_caches()
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                path = getattr(sys.modules[name], "__file__", None) or ""
                if any(Path(path).is_relative_to(folder) for folder in folders):
                    del sys.modules[name]
