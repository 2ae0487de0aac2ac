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
RESULTS = FOLDER.parent / "docs" / "results.md"
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
    """The output of the cell below the heading of the answer."""
    heading = next(index for index, cell in enumerate(notebook.cells) if cell.source == "## Answer")
    return "".join(output.text for output in notebook.cells[heading + 1].outputs if output.output_type == "stream")


def read_committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


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
    assert re.search(r"why challenger missed the last group: not proposed \(\d+\)", answer)


def test_every_verdict_agrees_with_its_interval() -> None:
    """What the committed notebooks say in words follows from the numbers in the same line."""
    answer = read_answer(read_committed(NAMES[1]))
    steps = re.findall(rf"^(.*): ({INTERVAL}), p .*: (.*)$", answer, re.M)
    untouched = "untouched_share 1:" in answer
    expected = ["interest model on top"] if untouched else ["fine-tuning", "interest model on top", "both together"]
    assert [step for step, *_ in steps] == expected
    assert untouched == ("The checkpoint serves as it is" in answer)
    for _, interval, verdict in steps:
        low, high = map(float, re.findall(r"[-+]\d\.\d+", interval)[1:])
        assert verdict == ("better" if low > 0 else "worse" if high < 0 else "no clear difference")
    gain = re.search(
        r"^Ours is (?:(\d+)% (better|worse) than|not distinguishable from) \w+: .*nDCG@10 (\S+) vs (\S+), "
        r"difference (\S+) \(95% CI (\S+) to (\S+)\)",
        read_answer(read_committed(NAMES[2])),
        re.M,
    )
    assert gain
    share, verdict, ours, blend = int(gain[1]), gain[2], float(gain[3]), float(gain[4])
    assert verdict == ("better" if ours > blend else "worse")
    assert abs(share - 100 * abs(ours / blend - 1)) <= 1.5


def test_the_committed_challenger_is_the_one_that_the_text_describes() -> None:
    notebook = read_committed(NAMES[4])
    described = re.search(r"without the sources (.*?);", " ".join(notebook.cells[0].source.split()))
    assert described
    removed = set(re.findall(r"`(\w+)`", described[1]))
    settings = re.search(r"^settings that differ: (.*)$", read_answer(notebook), re.M)
    assert settings
    assert set(re.findall(r"(\S+) not set against \d+", settings[1])) == {
        f"candidates.depths.{name}" for name in removed
    }
    assert len(settings[1].split(", ")) == len(removed)


def test_the_committed_run_is_the_one_in_the_docs() -> None:
    """One training of the demo is behind the notebooks and the row of docs/results.md."""
    answers = {name: read_answer(read_committed(name)) for name in NAMES[1:4]}
    runs = {re.findall(r"\b[Rr]un (demo-[\w-]+)", answer)[0] for answer in answers.values()}
    assert len(runs) == 1
    ours, blend = re.findall(r"nDCG@10 0(\.\d+) vs 0(\.\d+)", answers[NAMES[2]])[0]
    row = next(line for line in RESULTS.read_text("utf-8").splitlines() if line.startswith("| demo, last 7 days"))
    assert f"**{ours}**" in row
    assert f"| {blend} |" in row


def test_a_single_version_has_nothing_to_compare(run, trained: Trained) -> None:
    answer = read_answer(run(NAMES[4], trained.home))
    assert answer.startswith("challenger version 1 is also the champion, so there is nothing to compare")


def test_there_are_five() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestCommittedFiles:
    def test_starts_with_a_question_parameters_and_the_answer(self, name: str) -> None:
        cells = jupytext.read(FOLDER / f"{name}.py").cells
        assert re.match(r"# .*\?(\n| \(or)|# .*\(or .*\)\?\n", cells[0].source)
        tagged = [index for index, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
        assert tagged == [1]
        assert "RECSYS_CONFIG" in cells[1].source
        # Only the cell that reads what the answer needs comes before it.
        assert [cell.source for cell in cells].index("## Answer") == 3
        assert cells[4].cell_type == "code"
        assert cells[4].source.count("\n") < 10, "the sentences belong into recsys/evaluation/answers.py"

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
