"""Run notebooks from their .py: `python tests/notebooks/execution.py notebooks/*.py` rewrites each .ipynb."""

import base64
import io
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """Run a percent-format .py from top to bottom, in its folder; an error in a cell stops it."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, resources=resources)
    # Otherwise every notebook would show a warning that other users of this machine may connect.
    client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    client.execute()
    # Only what readers need: nothing that differs between machines.
    notebook.metadata = nbformat.from_dict(_METADATA)
    return notebook


def shrink(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Reduce the plots to 256 colours: invisible to readers, and half the size."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            small = io.BytesIO()
            plot = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
            plot.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
            output.data["image/png"] = base64.b64encode(small.getvalue()).decode()
    return notebook


if __name__ == "__main__":
    for source in map(Path, sys.argv[1:]):
        nbformat.write(shrink(run_notebook(source)), source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb"))
