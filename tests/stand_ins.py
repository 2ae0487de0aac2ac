"""What stands in for the command line and for a chat's webhook."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Records its arguments, then does what the script of its stage says: print, end with a code, or become the real CLI.
_SOURCE = """#!{python}
import json, os, sys, time
from pathlib import Path

folder = Path({folder!r})
with (folder / "calls.jsonl").open("a") as file:
    file.write(json.dumps(sys.argv[1:] + [os.getcwd()]) + "\\n")
stage = next(word for word in sys.argv[1:] if not word.startswith("-"))
scripts = json.loads((folder / "scripts.json").read_text()).get(stage) or [{{}}]
count = folder / f"{{stage}}.count"
with count.open("a") as file:
    file.write(".")
script = scripts[min(len(count.read_text()), len(scripts)) - 1]
if script.get("real"):
    os.execv({python!r}, [{python!r}, "-m", "recsys.cli", *sys.argv[1:]])
print(script.get("log", "INFO working"), file=sys.stderr)
if "out" in script:
    print(json.dumps(script["out"]))
if "err" in script:
    print(script["err"], file=sys.stderr)
sys.exit(script.get("code", 0))
"""


class Stub:
    """A stand-in for the CLI that records its arguments and answers by its scripts.

    Attributes:
        scripts: answers of each stage, call by call; the last one is repeated.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "a folder" / "recsys"  # a space: the variable must quote it
        self.command.parent.mkdir()
        self.command.write_text(_SOURCE.format(python=sys.executable, folder=str(folder)))
        self.command.chmod(0o755)
        self.scripts: dict[str, list[dict[str, Any]]] = {"promote": [{"out": {"promoted": True, "champion": "2"}}]}

    def environment(self, **more: str) -> dict[str, str]:
        self.write_scripts()
        return {"RECSYS_COMMAND": f"'{self.command}'", "RECSYS_CONFIG": "configs/demo.yaml", **more}

    def write_scripts(self) -> None:
        """Let the next calls answer as the scripts say."""
        staging = self.folder / "scripts.tmp"
        staging.write_text(json.dumps(self.scripts))
        staging.replace(self.folder / "scripts.json")
        for count in self.folder.glob("*.count"):
            count.unlink()

    def calls(self) -> list[list[str]]:
        """Return the arguments of each call, and the folder it started in."""
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def stages(self) -> list[str]:
        return [call[0] for call in self.calls()]


class Receiver(ThreadingHTTPServer):
    """Keeps the alerts that are sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.alerts: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook/SECRET-TOKEN"

    def take(self) -> list[str]:
        """Return the alerts since the last call."""
        alerts, self.alerts = self.alerts, []
        return alerts


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Apprise calls the text a message.
        self.server.alerts.append(content.get("text") or content["message"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass
