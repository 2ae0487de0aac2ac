"""Log levels, the log file, and how a command ends after an interrupt or an unexpected error."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Call, expect

from recsys.errors import DataError

_DATED = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "


def make_demo(*options: str, out: Path) -> subprocess.CompletedProcess[str]:
    sizes = ("--users", "5", "--items", "20", "--days", "30")
    command = [sys.executable, "-m", "recsys.cli", *options, "demo-data", *sizes, "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_quiet_keeps_the_log_file_complete(tmp_path: Path) -> None:
    log = tmp_path / "log 1.txt"
    done = make_demo("--quiet", "--log-file", str(log), out=tmp_path / "demo")
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'demo'}\n", "")
    assert re.fullmatch(_DATED + r"INFO progress: demo data: 5 users, 20 items, 30 days in .* s\n", log.read_text())
    # A second command appends.
    done = make_demo("--log-file", str(log), out=tmp_path / "demo")
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO demo data: .*\nnext: recsys init .*\n", done.stderr)
    assert len(log.read_text().splitlines()) == 2


def test_an_error_ends_the_log_file_and_verbose_adds_its_traceback(
    call: Call, write_config: Callable[..., Path], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    expect(call("--log-file", log, "train", "-c", write_config()), "snapshot of 'mini': none in")
    assert re.fullmatch(_DATED + r"ERROR setup: error: snapshot of 'mini': none in .*\n", log.read_text())
    call("-v", "--log-file", log, "train", "-c", write_config())
    assert "DEBUG setup: traceback of the error below\nTraceback (most recent call last):" in log.read_text()


def test_a_log_file_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    expect(call("--log-file", tmp_path, "ingest", "-c", "x.yaml"), f"log file {tmp_path}: cannot be written (Is a dir")


def test_verbose_and_quiet_exclude_each_other(call: Call) -> None:
    for arguments in (("-v", "-q", "ingest", "-c", "x.yaml"), ("-v", "ingest", "-q", "-c", "x.yaml")):
        answer = call(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert "exclude each other" in answer.err


def test_global_options_after_the_command(call: Call, write_config: Callable[..., Path], tmp_path: Path) -> None:
    config, log = write_config(), tmp_path / "log.txt"
    answer = call("ingest", "-q", "-c", config, "--log-file", log)
    assert (answer.code, answer.err) == (0, "")
    assert "INFO progress: ingest: snapshot" in log.read_text()
    call("train", "--verbose", "--run-date", "x", "-c", config, "--log-file", log)
    assert "DEBUG setup: traceback of the error below" in log.read_text()


def test_the_config_of_the_environment(
    call: Call, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "RECSYS_CONFIG" in call("ingest").err
    monkeypatch.setenv("RECSYS_CONFIG", str(write_config()))
    answer = call("ingest")
    assert answer.code == 0
    # The next step can be copied as it is.
    assert answer.err.splitlines()[-1] == "next: recsys train"
    # The option comes first.
    expect(call("ingest", "-c", tmp_path / "none.yaml"), "none.yaml: cannot be read")


def test_an_unexpected_error_is_in_the_log_file(
    call: Call, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("recsys.pipelines.ingest.run_ingest", fail)
    log = tmp_path / "log.txt"
    with pytest.raises(ZeroDivisionError):
        call("--log-file", log, "ingest", "-c", write_config())
    assert "ERROR setup: unexpected error\nTraceback" in log.read_text()
    assert log.read_text().endswith("ZeroDivisionError: a bug\n")


def test_the_log_file_is_closed_after_each_command(
    call: Call, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DataError("first")

    monkeypatch.setattr("recsys.pipelines.ingest.run_ingest", fail)
    log = tmp_path / "log.txt"
    call("--log-file", log, "ingest", "-c", write_config())
    call("ingest", "-c", write_config())
    assert log.read_text().count("first") == 1


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupt_is_one_line_and_its_own_exit_code(number: int, code: int, word: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "recsys.cli", "ingest", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Opening succeeds once the command waits for its config.
    with config.open("w"):
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err == (f"{word}: no snapshot was written; the current snapshot is unchanged; run the same command again\n")
