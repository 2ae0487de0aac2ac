"""No code of the package reads a format that can run a program, but for the machine code that numba keeps.

numba keeps it with pickle. The rule for it: one module enables it, and that module trusts a folder only if it belongs
to the current user, is closed to everyone else (0700), and is not in a folder where everybody can exchange it; or if it
is the installation itself or `NUMBA_CACHE_DIR`, trusted as code. `tests/storage/test_compilation.py` tests it.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[2] / "recsys"
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def find_dangers(tree: ast.AST) -> list[str]:
    """Return the calls and imports that can run what a file holds."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"import {name.name}" for name in node.names if name.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(f"from {node.module}")
        elif isinstance(node, ast.Call):
            found += _judge(ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}, node)
    return found


def _judge(name: str, words: dict[str | None, str], node: ast.Call) -> list[str]:
    bad = (
        name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen")
        or name in ("torch.load", "pd.read_pickle", "pl.DataFrame.deserialize", "yaml.unsafe_load")
        or (name == "yaml.load" and words.get("Loader") != "_Loader")
        or (name in ("np.load", "numpy.load") and words.get("allow_pickle", "False") != "False")
        or words.get("allow_pickle") == "True"
        or words.get("shell") == "True"
        or words.get("trust_remote_code") == "True"
        or (name.endswith(".from_pretrained") and words.get("trust_remote_code") != "False")
        or ("Model" in name and name.endswith(".from_pretrained") and words.get("use_safetensors") != "True")
    )
    return [f"line {node.lineno}: {name}"] if bad else []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.save(path, rows, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "AutoTokenizer.from_pretrained(name)",
        "AutoModel.from_pretrained(name, trust_remote_code=False)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(line):
    assert find_dangers(ast.parse(line))


def test_no_module_can_run_what_a_file_holds():
    found = {
        f"{path.relative_to(PACKAGE)} {danger}"
        for path in PACKAGE.rglob("*.py")
        for danger in find_dangers(ast.parse(path.read_text("utf-8")))
    }
    assert not found


def test_the_default_of_numpy_is_to_refuse_objects(tmp_path):
    """The calls without `allow_pickle` depend on it."""
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(tmp_path / "a.npy")


def test_one_module_lets_numba_keep_machine_code():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Import) and any(name.name.partition(".")[0] == "numba" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numba")
        or (isinstance(node, ast.Attribute) and node.attr == "enable_caching")
    }
    assert found == {"storage/compilation.py"}
