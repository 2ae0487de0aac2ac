"""The wheel: complete, without tests, and usable from another folder."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from recsys.extras import DISTRIBUTION

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not find_spec("setuptools_scm"), reason="needs the [release] extra")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, so that the build leaves nothing in the checkout.
    source = folder / "source"
    source.mkdir()
    for name in ("recsys", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", str(folder), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_every_file_of_the_package_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "recsys").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"recsys", DISTRIBUTION.replace("-", "_")}


def test_an_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    env = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(target) in run("-c", "import recsys; print(recsys.__file__)")
    assert "generate" in run("-m", "recsys.cli", "--help")
    version = wheel.name.split("-")[1]
    assert run("-m", "recsys.cli", "--version") == f"recsys {version}\n"
    sizes = ["--users", "20", "--items", "20", "--days", "10"]
    run("-m", "recsys.cli", "demo-data", *sizes, "--out", "demo")
    assert any((tmp_path / "demo").iterdir())
    templates = "page.html.j2", "monitor_page.html.j2"
    load = "from jinja2 import Environment, PackageLoader as L; e = Environment(loader=L('recsys.report', '.'))"
    run("-c", f"{load}\nfor name in {templates!r}: e.get_template(name)")
