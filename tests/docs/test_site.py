"""docs/ builds without a warning: no broken link, no page that the index lacks, no outdated reference of commands."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_build_without_warnings(tmp_path: Path) -> None:
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    built = subprocess.run(
        [sys.executable, *command, ROOT / "docs", tmp_path], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "reference" / "cli.html").is_file()


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text("utf-8"), "utf-8")
    (tmp_path / "index.md").write_text("# Page\n\n[a heading](#no-such-heading) and [a page](missing.md)\n", "utf-8")
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    built = subprocess.run(
        [sys.executable, *command, tmp_path, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 1
    assert "no-such-heading" in built.stderr
    assert "missing.md" in built.stderr


def test_the_reference_of_commands_is_current(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    command = ["-m", "typer", "recsys.cli.reference", "utils", "docs", "--name", "recsys", "--title", "Commands"]
    subprocess.run([sys.executable, *command, "--output", page], check=True, capture_output=True, cwd=ROOT)
    committed = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    assert page.read_text("utf-8") == committed, "run 'make cli-reference'"
