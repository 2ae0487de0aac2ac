import re
import subprocess
import sys

import pytest
from shell import COMMANDS, WITHOUT_CONFIG, Call

from recsys import __version__


def plain(text: str) -> str:
    """Return help as one line, without box borders."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"recsys {command} [OPTIONS]" in answer.out
    assert ("--config" in answer.out) == (command not in WITHOUT_CONFIG)
    nightly = ("train", "report", "generate", "tune", "run", "freshness", "monitor")
    assert ("--run-date" in answer.out) == (command in nightly)
    assert "--json" in answer.out
    assert "Example: " in answer.out


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_fit_one_line_of_80_columns(command: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in call(command, "--help").out.splitlines()]
    (index,) = (index for index, line in enumerate(lines) if line.startswith("Example: "))
    assert f"recsys {command} " in lines[index]
    assert lines[index + 1] == ""


@pytest.mark.parametrize("command", ["evaluate", "doctor", "freshness", "embed", "search"])
def test_commands_that_only_read_say_so(command: str, call: Call) -> None:
    assert "Read-only." in call(command, "--help").out


def test_brackets_are_not_read_as_styles(call: Call) -> None:
    assert "Needs the extra nightly-recsys[export]." in plain(call("export", "--help").out)


def test_the_root_lists_commands_and_exit_codes(call: Call) -> None:
    answer = call("--help")
    assert answer.code == 0
    for command in COMMANDS:
        assert re.search(rf"│ {command} ", answer.out)
    for part in (
        "0 done",
        "2 error",
        "3 refused",
        "4 alert",
        "130 interrupted",
        "--version",
        "--verbose",
        "--quiet",
        "--log-file",
    ):
        assert part in plain(answer.out)


def test_version(call: Call) -> None:
    answer = call("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"recsys {__version__}\n", "")


def test_help_imports_no_numerical_library() -> None:
    script = (
        "import sys; sys.argv = ['recsys', 'train', '--help']\n"
        "from recsys.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'polars', 'numpy', 'yaml', 'torch', 'mlflow', 'lightgbm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
