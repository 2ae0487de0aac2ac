"""Python in README, docs and notebooks parses, and imports nothing of the package but its public surface."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import recsys
from recsys import analysis, plots

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
PUBLIC = {"recsys": recsys.__all__, "recsys.analysis": analysis.__all__, "recsys.plots": plots.__all__}
# Where people extend the package they implement its interfaces, so these pages import what is documented there.
EXTENDING = {"extend.md"}


def parse(path: Path) -> ast.Module:
    """Parse a notebook, or all code blocks of a page; blocks inside lists are indented."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return ast.parse(text.replace("# %matplotlib", "#"))
    body: list[ast.stmt] = []
    for indent, block in re.findall(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        lines = [line.removeprefix(indent) for line in block.splitlines()]
        body += ast.parse("\n".join(lines)).body
    return ast.Module(body, [])


def list_imports(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Each (module, name) that a tree imports; name None for a plain import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_imports_only_the_public_surface(path: Path) -> None:
    if path.name in EXTENDING:
        return
    inside = [(module, name) for module, name in list_imports(parse(path)) if module.split(".")[0] == "recsys"]
    private = [
        (module, name) for module, name in inside if module not in PUBLIC or (name and name not in PUBLIC[module])
    ]
    assert not private, f"{path.name}: import from recsys, recsys.analysis or recsys.plots instead of {private}"


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_uses_public_names_of_the_package(path: Path) -> None:
    used = {
        node.attr
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "recsys"
    }
    assert used <= set(recsys.__all__), f"{path.name}: not in recsys.__all__: {sorted(used - set(recsys.__all__))}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    broken = sorted({target for target in targets if not (path.parent / target).exists()})
    assert not broken, f"{path.name}: no such files: {broken}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_exist(path: Path) -> None:
    """Every `recsys NAME` in a console block or in backquotes is a command."""
    from typer.main import get_command

    from recsys.cli.app import app

    commands = set(getattr(get_command(app), "commands"))  # noqa: B009 - a Group, which typer's type hides
    text = path.read_text("utf-8")
    named = set(re.findall(r"(?:`|^\$ .*?bin/|^ +\$ .*?bin/|^\$ )recsys ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= commands, f"{path.name}: no such commands: {sorted(named - commands)}"


def test_make_targets_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        name
        for path in PAGES
        for name in re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert named <= targets


def test_the_pages_name_the_python_version_of_the_project() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    version = settings["project"]["requires-python"].removeprefix(">=")
    assert f"Python {version} or newer" in (ROOT / "README.md").read_text("utf-8")
