"""What each command loads: nothing of the extras, and little before it has to."""

import json
import subprocess
import sys

import pytest

from recsys.errors import EngineError, RecsysError
from recsys.extras import DISTRIBUTION, find_version, list_requirements, needs_extra

_EXTRAS = ("matplotlib", "onnx", "onnxruntime", "optuna", "ray", "tea_tasting", "vl_convert")
_HEAVY = ("torch", "mlflow", "polars", "numpy", "numba", "lightgbm", "transformers", "pandas", "scipy", "pydantic")
# Names in sys.modules that are None cannot be imported.
_BLOCK = f"import sys; sys.modules.update(dict.fromkeys({_EXTRAS!r}))\n"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_modules_of_commands_that_need_no_extra_load_without_them() -> None:
    modules = ["recsys", "recsys.cli.app", "recsys.cli.tables", "recsys.pipelines.generate", "recsys.pipelines.run"]
    modules += ["recsys.pipelines.monitor", "recsys.pipelines.doctor", "recsys.report.monitor_page", "recsys.analysis"]
    done = run_python(f"{_BLOCK}from importlib import import_module\nfor name in {modules!r}: import_module(name)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("recsys.report.page", "report"),
        ("recsys.plots", "report"),
        ("recsys.pipelines.tuning.search", "tune"),
        ("recsys.pipelines.ab", "ab"),
    ],
)
def test_a_missing_extra_is_named(module: str, extra: str) -> None:
    code = f"""{_BLOCK}
from importlib import import_module
from recsys.errors import RecsysError
try:
    import_module({module!r})
except RecsysError as error:
    print(error.exit_code, error)
"""
    done = run_python(code)
    assert done.stdout.startswith("2 "), done.stderr
    assert f"is not installed; run pip install '{DISTRIBUTION}[{extra}]'" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = """
import json, sys
sys.argv = ["recsys", "--help"]
from recsys.cli.app import main
try:
    main()
except SystemExit:
    pass
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = run_python(code)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "typer" in loaded
    assert not loaded & {*_HEAVY, *_EXTRAS}


def test_an_error_has_its_class_and_what_else_helps() -> None:
    with (
        pytest.raises(EngineError, match=rf"^x: the package none is not .*'{DISTRIBUTION}\[ray\]', or use y$"),
        needs_extra("ray", "x", EngineError, "use y"),
    ):
        raise ModuleNotFoundError(name="none")
    with pytest.raises(RecsysError), needs_extra("tune", "x"):
        import no_such_module  # noqa: F401


def test_the_installation_is_found() -> None:
    assert find_version()[0].isdigit()
    assert any(line.startswith("polars") for line in list_requirements())
    assert not any("extra ==" in line for line in list_requirements())
