import os
import re
import subprocess
import sys
from importlib import import_module
from inspect import getdoc

import pytest
from shell import COMMANDS, WITHOUT_CONFIG, Call

from recsys import __version__
from recsys.cli.commands import ENTRIES, Entry

_RUN_DATES = ("train", "report", "generate", "tune", "run", "freshness", "monitor", "show")
_HEAVY = {"polars", "numpy", "yaml", "torch", "mlflow", "lightgbm", "rich", "pandas", "recsys.config"}
_OTHERS = {
    "matplotlib",
    "vl_convert",
    "optuna",
    "onnx",
    "onnxruntime",
    "ray",
    "airflow",
    "transformers",
    "lightgbm",
    "sklearn",
    "scipy.stats",
}


def plain(text: str) -> str:
    """Return help as one line."""
    return " ".join(text.split())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_line_in_the_list_is_the_first_of_the_command(entry: Entry) -> None:
    module, function = entry.target
    text = plain(getdoc(getattr(import_module(f"recsys.cli.{module}"), function)) or "")
    assert text.startswith(f"{entry.summary} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"recsys {command} [OPTIONS]" in answer.out
    assert ("--config FILE" in answer.out) == (command not in WITHOUT_CONFIG)
    assert ("--run-date YYYY-MM-DD" in answer.out) == (command in _RUN_DATES)
    assert "--json" in answer.out
    assert "Example: " in answer.out


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_fit_one_line_of_80_columns(command: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in call(command, "--help").out.splitlines()]
    (index,) = (index for index, line in enumerate(lines) if line.startswith("Example: "))
    assert f"recsys {command} " in lines[index]
    assert lines[index + 1] == ""


@pytest.mark.parametrize("command", ["evaluate", "runs", "show", "doctor", "freshness", "embed", "search"])
def test_commands_that_only_read_say_so(command: str, call: Call) -> None:
    assert "Read-only." in call(command, "--help").out


def test_brackets_are_not_read_as_styles(call: Call) -> None:
    assert "Needs the extra `nightly-recsys[export]`." in plain(call("export", "--help").out)


def test_the_root_lists_commands_and_exit_codes(call: Call) -> None:
    answer = call("--help")
    assert answer.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", answer.out, re.MULTILINE)
    assert max(map(len, answer.out.splitlines())) <= 80
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


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["evalute"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    # typer itself imports pydantic where it parses the options of a command.
    heavy = _HEAVY | _OTHERS | ({"pydantic"} if len(arguments) == 1 and arguments[0].startswith("--") else set())
    script = (
        f"import sys; sys.argv = ['recsys', *{arguments!r}]\n"
        "from recsys.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_night_imports_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys\n"
        "from recsys.cli import app, lists, setup, tables\n"
        "from recsys import config\n"
        "from recsys.pipelines import generate, night_parts\n"
        f"print(sorted({_OTHERS!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_completion_of_commands_and_options() -> None:
    def complete(words: str) -> list[str]:
        script = "import sys; sys.argv = ['recsys']; from recsys.cli.app import main; main()"
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        environment = {**os.environ, "_RECSYS_COMPLETE": "complete_bash", **asked}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return done.stdout.split()

    assert complete("recsys pro") == ["promote"]
    assert complete("recsys evaluate --ag") == ["--against"]
    assert "--log-file" in complete("recsys evaluate --")
    assert set(complete("recsys ")) == set(COMMANDS)


def test_a_misspelt_command_or_option_has_a_suggestion(call: Call) -> None:
    assert "Did you mean 'evaluate'?" in call("evalute").err
    assert "--against" in call("evaluate", "--aginst", "x").err
