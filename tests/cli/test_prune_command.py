"""`recsys prune`: what it prints."""

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from rich.console import Console
from shell import Call

from recsys.cli.prune_table import format_age, format_size, prune_table
from recsys.pipelines.prune import PrunedItem


def test_a_dry_run_prints_what_the_command_then_deletes(
    call: Call, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    home, config = tmp_path / "home", write_config()
    leftover = home / "runs" / f".run.{'a' * 32}.tmp"
    leftover.mkdir(parents=True)
    (leftover / "part").write_bytes(b"x" * 1500)
    for path in (leftover / "part", leftover):
        os.utime(path, (1, 1))
    (home / "runs" / "mine.tmp").touch()
    answer = call("prune", "-c", config, "--dry-run", home=home)
    assert answer.code == 0, answer
    assert "left by a killed command" in answer.out
    assert answer.out.splitlines()[0] == "would free 2 kB: leftover 1 (2 kB)"
    assert answer.err.splitlines()[-1] == f"next: recsys prune --config {config}"
    assert leftover.exists()
    content = json.loads(call("prune", "-c", config, "--json", home=home).out)
    assert (content["dry_run"], content["bytes"], content["left"]) == (False, 1500, [])
    assert content["totals"] == {"leftover": {"count": 1, "bytes": 1500}}
    assert not leftover.exists()
    assert (home / "runs" / "mine.tmp").exists()
    assert call("prune", "-c", config, home=home).out == "nothing to delete\n"


def test_the_table_fits_80_columns_and_shows_why_something_stayed() -> None:
    items = [
        PrunedItem("embeddings", f"embeddings/{'e' * 64}/texts-{'b' * 64}.npy", 12_300_000, 40.2, "the cache is large"),
        PrunedItem("version", "a long name version 12", 0, 0.5, "no alias", "cannot be deleted ([Errno 13] denied)"),
    ]
    out = StringIO()
    Console(file=out, width=80).print(prune_table(items))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    text = " ".join(out.getvalue().split())
    assert "eeeeeeee…" in text
    assert "12.3 MB 40 d" in text
    assert "[Errno 13]" in text


def test_sizes_and_ages() -> None:
    assert [format_size(size) for size in (0, 999_400, 1_000_000, 2_340_000_000)] == [
        "0 kB",
        "999 kB",
        "1.0 MB",
        "2.34 GB",
    ]
    assert [format_age(days) for days in (0.5, 1.0, 1234.0)] == ["12 h", "1 d", "1,234 d"]
