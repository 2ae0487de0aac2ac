"""Every CSV file for people is written by one function."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "recsys"
WRITERS = {"write_csv", "sink_csv", "to_csv", "writerow", "writerows"}
# Calls without a file give text that is hashed; the demo writes raw files, whose texts are its own; and the ids of a
# mapping have to be those of the raw files to the letter.
ALLOWED = {"storage/csv_text.py", "dataset/demo/__init__.py", "pipelines/pseudonyms.py"}


def test_no_other_module_writes_csv():
    found = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() not in ALLOWED
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITERS
        and (node.args or node.keywords)
    }
    assert not found
