"""Run `recsys init`, then `recsys run`, on small exports of many layouts, without an edit of the proposed config.

    python tests/benchmarks/init_layouts.py [LAYOUT ...]

Prints a row per layout: what was proposed, which questions were open, and whether lists were published. With
`--home DIR` the files, configs and homes are kept there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataset.proposal.services import LAYOUTS


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its data and its home in a folder."""
    environment = os.environ | {"RECSYS_DATA": str(folder), "RECSYS_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "recsys.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def describe(config: dict[str, Any]) -> str:
    """Return the columns proposed, in short."""
    items, interactions = config["dataset"]["items"], config["dataset"]["interactions"]
    columns = interactions["columns"]
    order = columns.get("time") or columns.get("order") or "-"
    parts = [f"user={columns['user_id']}", f"item={columns['item_id']}", f"title={items['columns']['title']}"]
    parts += [f"time={order}", f"protocol={config['windows']['protocol']}"]
    return " ".join(parts)


def try_layout(name: str, folder: Path) -> str:
    """Return a row of the table for a layout."""
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name].write(folder)
    config = folder / f"{name}.yaml"
    start = time.perf_counter()
    proposed = call(folder, "init", *LAYOUTS[name].paths, "--out", str(config), "--json", "--force")
    seconds = time.perf_counter() - start
    if proposed.returncode:
        return f"{name} | {proposed.stderr.strip().splitlines()[-1]} | - | - | -"
    content = json.loads(proposed.stdout)
    questions = ", ".join(question["key"] for question in content["questions"]) or "none"
    done = call(folder, "run", "--config", str(config), "--json")
    if done.returncode:
        result = f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1][:200]}"
    else:
        counts = json.loads(done.stdout)["counts"]
        result = f"published {counts}"
    return f"{name} | {describe(content['config'])} | {questions} | {seconds:.1f} s | 0 edits, {result}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layouts", nargs="*", help="Layouts to try. Default: all.")
    parser.add_argument("--home", type=Path, help="Folder to keep everything in.")
    arguments = parser.parse_args()
    print("layout | proposed | questions | init | result")
    with tempfile.TemporaryDirectory() as scratch:
        home = arguments.home or Path(scratch)
        for name in arguments.layouts or LAYOUTS:
            print(try_layout(name, home / name), flush=True)


if __name__ == "__main__":
    main()
