"""docs/explanation/architecture.md has one row per module, in the order of the layers, and no row without a module."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
ROW = re.compile(r"^\| `(recsys/[^`]+\.py)` \| (.+) \|$", re.MULTILINE)


def find_modules() -> set[str]:
    """Every module of the package, except `__init__.py` files that hold a docstring and nothing else."""
    modules = set()
    for path in (ROOT / "recsys").rglob("*.py"):
        statements = ast.parse(path.read_text("utf-8")).body
        if path.name != "__init__.py" or len(statements) > 1:
            modules.add(path.relative_to(ROOT).as_posix())
    return modules


def test_every_module_has_one_row_and_every_row_a_module() -> None:
    rows = [match[1] for match in ROW.finditer(PAGE)]
    missing = sorted(find_modules() - set(rows))
    stale = sorted(set(rows) - find_modules())
    repeated = sorted({row for row in rows if rows.count(row) > 1})
    report = "\n".join(
        f"{title}:\n" + "\n".join(f"| `{path}` |" for path in paths)
        for title, paths in (
            ("add a row for", missing),
            ("remove the row of", stale),
            ("keep only one row of", repeated),
        )
        if paths
    )
    assert not report, f"docs/explanation/architecture.md: {report}"


def test_the_layers_are_those_that_the_linter_checks() -> None:
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = re.findall(r'"([^"]+)"', settings.split("\nlayers = [")[1].split("\n]")[0])
    drawn = PAGE.split("```\n")[1].splitlines()
    assert drawn == layers


def test_paths_in_the_walks_exist() -> None:
    walks = PAGE.split("## Four walks")[1].split("\n## ")[0]
    paths = re.findall(r"`((?:recsys/)?\w+/[\w/]+\.py)`", walks)
    known = find_modules()
    unknown = sorted({path for path in paths if not {path, f"recsys/{path}"} & known})
    assert paths
    assert not unknown, f"docs/explanation/architecture.md, walks: no such modules: {unknown}"
