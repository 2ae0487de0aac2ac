"""Every notebook runs from top to bottom on a trained home and ends with an answer; committed outputs are complete."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from execution import run_notebook
from miniature import RUN_DATE, Trained, copy_home

from recsys.config.overrides import apply_settings
from recsys.pipelines.train import train

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ["01_data", "02_text_encoder", "03_offline_evaluation", "04_cold_start", "05_champion_vs_challenger"]
# A number with its interval, as `+0.039 [+0.025, +0.052]` or `12.3% [9.1%, 15.0%]`.
INTERVAL = r"[-+]?\d+\.\d+%? \[[-+]?\d+\.\d+%?, [-+]?\d+\.\d+%?\]"


@pytest.fixture(scope="module")
def two_versions(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose challenger has only two sources."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("notebooks") / "home")
    train(apply_settings(trained.config, {"candidates.depths": {"als": 10, "popular": 10}}), home, RUN_DATE)
    yield home
    shutil.rmtree(home)


@pytest.fixture
def run(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Run a notebook on a home, with the miniature's settings."""
    config = tmp_path / "mini.yaml"
    config.write_text(yaml.safe_dump(trained.config.resolved()), encoding="utf-8")
    monkeypatch.setenv("RECSYS_CONFIG", str(config))

    def run_on(name: str, home: Path) -> nbformat.NotebookNode:
        monkeypatch.setenv("RECSYS_HOME", str(home))
        return run_notebook(FOLDER / f"{name}.py")

    return run_on


def read_answer(notebook: nbformat.NotebookNode) -> str:
    """The output of the last cell."""
    return "".join(output.text for output in notebook.cells[-1].outputs if output.output_type == "stream")


def read_outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def check_outputs(notebook: nbformat.NotebookNode) -> None:
    """Check that there are tables and plots, no errors or warnings, and no catalogue text rendered as markup."""
    outputs = read_outputs(notebook)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert tables
    assert all("tex2jax_ignore" in table for table in tables)
    assert not [table for table in tables if re.search(r"<(script|img|iframe|a)\b", table)]
    assert [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("name", NAMES[:4])
def test_runs_and_answers(name: str, run, trained: Trained) -> None:
    notebook = run(name, trained.home)
    check_outputs(notebook)
    assert re.search(INTERVAL, read_answer(notebook)), read_answer(notebook)


def test_a_challenger_that_lost_is_explained(run, two_versions: Path) -> None:
    notebook = run(NAMES[4], two_versions)
    check_outputs(notebook)
    answer = read_answer(notebook)
    assert re.search(rf"^challenger version 2 is behind champion version 1: ndcg@10 .* {INTERVAL}", answer)
    assert "candidates.depths.text not set against 50" in answer
    assert re.search(r"challenger lost the last as: not proposed \(\d+\)", answer)


def test_a_single_version_has_nothing_to_compare(run, trained: Trained) -> None:
    answer = read_answer(run(NAMES[4], trained.home))
    assert answer.startswith("challenger version 1 is also the champion, so there is nothing to compare yet")


def test_there_are_five() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestCommittedFiles:
    def test_starts_with_a_question_and_parameters_and_ends_with_an_answer(self, name: str) -> None:
        cells = jupytext.read(FOLDER / f"{name}.py").cells
        assert re.match(r"# .*\?(\n| \(or)|# .*\(or .*\)\?\n", cells[0].source)
        tagged = [index for index, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
        assert tagged == [1]
        assert "RECSYS_CONFIG" in cells[1].source
        assert cells[-2].source == "## Answer"
        assert cells[-1].cell_type == "code"

    def test_both_files_are_in_sync(self, name: str) -> None:
        source, notebook = jupytext.read(FOLDER / f"{name}.py"), nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        ours, theirs = (
            [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in document.cells]
            for document in (source, notebook)
        )
        assert ours == theirs, "edit the .py, then run 'make notebooks', or sync them with 'make notebook-pairs'"

    def test_outputs_are_complete_and_small(self, name: str) -> None:
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run 'make notebooks'"
        check_outputs(notebook)
        assert re.search(INTERVAL, read_answer(notebook))
        assert path.stat().st_size < 300_000
        for file in (path, path.with_suffix(".py")):
            assert not re.findall(r"(?<![\w.:/>-])/(?:home|root|tmp|work|Users|mnt|opt)/\w+", file.read_text("utf-8"))
