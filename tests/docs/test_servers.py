"""The commands of docs/servers.md, run one after the other against real servers."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from miniature import settings
from mlflow_servers import need_authentication
from postgres_server import run_server

PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text("utf-8")
WAIT = """
for _ in $(seq 600); do
    curl --silent --fail "http://127.0.0.1:$MLFLOW_PORT/health" > /dev/null && break
    sleep 0.1
done
"""


def list_blocks() -> Iterator[tuple[str, str]]:
    """Each block of commands with what it is: setup, server or empty."""
    for block in re.finditer(r"^```bash ?(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        yield block[1], block[2]


def write_script(values: dict[str, str]) -> str:
    """Return all blocks as one script, with other values for the first and the server in the background."""
    parts = ["set -eu"]
    for kind, commands in list_blocks():
        if kind == "setup":
            assert set(re.findall(r"([A-Z_]+)=", commands)) == set(values)
            continue
        parts.append(f"(\n{commands}\n) > server.log 2>&1 &\n{WAIT}" if kind == "server" else commands)
    return "\n".join(parts)


@pytest.mark.skipif(shutil.which("psql") is None, reason="no PostgreSQL client is installed; .ci/run installs one")
def test_the_commands_make_a_server_that_recsys_can_use(raw_in_place: Path, tmp_path: Path) -> None:
    need_authentication()
    config = tmp_path / "mini.yaml"
    config.write_text(yaml.safe_dump(settings()), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with run_server() as url:
        values = {
            "POSTGRES": url,
            "MLFLOW_DATABASE": url.replace("/postgres?", "/mlflow?"),
            "MLFLOW_USERS": url.replace("/postgres?", "/mlflow_users?"),
            "MLFLOW_FOLDER": str(tmp_path / "server"),
            "MLFLOW_PORT": port,
            "MLFLOW_AUTH_ADMIN_PASSWORD": "a long password of an admin",
            "RECSYS_PASSWORD": "hunter22-hunter22",
        }
        binaries = str(Path(sys.executable).parent)
        environment = {**os.environ, **values, "CONFIG": str(config), "RECSYS_HOME": str(tmp_path / "home")}
        environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"
        environment |= {"PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            ["bash", "-c", write_script(values)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            lines = iter(process.stdout or [])
            output = []
            for line in lines:
                output.append(line)
                if line.startswith("lists"):
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    printed = "".join(output)
    log = tmp_path / "server.log"
    assert f"http://127.0.0.1:{port}: champion none, challenger none" in printed, (
        printed + log.read_text("utf-8")[-2000:]
    )
    assert "hunter22" not in printed
