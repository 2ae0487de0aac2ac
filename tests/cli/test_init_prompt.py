"""`recsys init` on a real terminal asks, and takes a number, an answer, or the choice it proposes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dataset.proposal.layouts import write_us_or_eu


def answer_prompts(folder: Path, answers: list[str]) -> tuple[int, str]:
    """Run the command on a terminal, type an answer at each prompt, and return exit code and output."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "recsys.cli", "init", "export", "--out", "shop.yaml"]
    environment = os.environ | {"RECSYS_DATA": str(folder), "RECSYS_HOME": str(folder / "home"), "COLUMNS": "200"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=follower, stdout=follower, stderr=follower, close_fds=True
    )
    os.close(follower)
    shown, asked, end = "", 0, time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            part = os.read(leader, 65536)
        except OSError:
            # The last process with the terminal is gone.
            break
        if not part:
            break
        shown += part.decode()
        if shown.count("Number or answer") > asked:
            asked += 1
            os.write(leader, answers[asked - 1].encode() + b"\n")
    os.close(leader)
    return process.wait(timeout=30), shown.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [(["2"], "%m/%d/%Y"), ([""], "%d/%m/%Y"), (["what?", "%m/%d/%Y"], "%m/%d/%Y")],
)
def test_a_question_is_asked_on_a_terminal(tmp_path: Path, answers: list[str], expected: str) -> None:
    write_us_or_eu(tmp_path)
    code, shown = answer_prompts(tmp_path, answers)
    assert code == 0, shown
    assert "start with the day or with the month?" in shown
    assert "  1  %d/%m/%Y  (proposed)\n  2  %m/%d/%Y\n" in shown
    assert ("'what?' is not one of the answers" in shown) == (len(answers) > 1)
    assert "no open questions" in shown
    config = yaml.safe_load((tmp_path / "shop.yaml").read_text("utf-8"))
    assert config["dataset"]["interactions"]["time_format"] == expected
