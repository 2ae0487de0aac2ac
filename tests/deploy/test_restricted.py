"""The image's own commands where a container would run them: another user, no home, a read-only file system.

No image is built here: commands and environment are read from `Dockerfile`, and `restricted.sh` limits the process as a
container engine would with `--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from miniature import LAST_DAY, settings

ROOT = Path(__file__).parents[2]
USER = 10001

# A night starts several processes, each of which compiles or imports; a busy machine is no finding.
pytestmark = pytest.mark.timeout(900)


def read_dockerfile() -> dict[str, list[str]]:
    """Return the last stage's instructions by name, each a line without continuation."""
    stage = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").rpartition("\nFROM ")[2]
    found: dict[str, list[str]] = {}
    for name, rest in re.findall(r"^([A-Z]+) +(.*)$", stage, re.MULTILINE):
        found.setdefault(name, []).append(rest)
    return found


def read_environment() -> dict[str, str]:
    pairs = " ".join(read_dockerfile()["ENV"]).split()
    return dict(pair.split("=", 1) for pair in pairs)


def run(home: Path, raw: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the image's entry point with a command."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and util-linux for a mount namespace and another user")
    instructions = read_dockerfile()
    (entry,) = instructions["ENTRYPOINT"]
    values = {**read_environment(), **environment}
    places = [str(ROOT), sys.prefix, sys.base_prefix, str(home), str(raw)]
    return subprocess.run(
        [
            Path(__file__).with_name("restricted.sh"),
            *places,
            *(f"{name}={value}" for name, value in values.items()),
            "--",
            *json.loads(entry),
            *(command or json.loads(instructions["CMD"][-1])),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    return home


@pytest.fixture
def raw_readable(raw: Path) -> Path:
    raw.chmod(0o755)
    return raw


def give_away(home: Path) -> None:
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)


def test_the_image_sets_a_user_and_places_that_can_be_written_to() -> None:
    instructions, environment = read_dockerfile(), read_environment()
    assert instructions["USER"] == [f"{USER}:{USER}"]
    assert all(environment[name].startswith("/tmp/") for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR"))
    # recsys chooses the folder of compiled loops itself.
    assert "NUMBA_CACHE_DIR" not in environment


def test_nothing_but_the_home_and_tmp_can_be_written_to(home: Path, raw_readable: Path) -> None:
    places = "/ /opt/recsys /opt/recsys/.venv /srv/recsys/raw /srv /usr /var/tmp /root /tmp /srv/recsys/home"
    script = f"""
        for place in {places}; do (: > $place/x) 2> /dev/null && echo $place; done
        id -u; echo ${{HOME-none}}; grep CapEff /proc/self/status
    """
    done = run(home, raw_readable, "sh", "-c", script)
    assert done.stdout.split() == ["/tmp", "/srv/recsys/home", str(USER), "none", "CapEff:", 16 * "0"], done.stderr


def test_without_a_command_the_image_shows_help(home: Path, raw_readable: Path) -> None:
    done = run(home, raw_readable)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_a_night_and_the_health_check(trained_copy: Path, raw_readable: Path, tmp_path: Path) -> None:
    (trained_copy / "mini.yaml").write_text(yaml.safe_dump(settings()), "utf-8")
    give_away(trained_copy)
    place = {"RECSYS_CONFIG": "/srv/recsys/home/mini.yaml"}
    done = run(trained_copy, raw_readable, "recsys-night", LAST_DAY, **place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (trained_copy / "recommendations" / "CURRENT").read_text().strip() == f"run_date={LAST_DAY}"
    # Compiled loops are kept, so the next container does not compile them again.
    assert list((trained_copy / "compiled").rglob("*.nbc"))
    (check,) = re.findall(r"CMD (\[.*\])", read_dockerfile()["HEALTHCHECK"][0])
    health = run(trained_copy, raw_readable, *json.loads(check), **place)
    assert health.returncode == 0, health.stdout + health.stderr


class TestEntrypoint:
    def start(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": os.environ["PATH"], **environment}
        return subprocess.run(
            [ROOT / "deploy" / "entrypoint", *command], env=given, capture_output=True, text=True, check=False
        )

    def test_secrets_come_from_files(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("a $(touch x) 'b\" é\n", "utf-8")
        places = {"MLFLOW_TRACKING_PASSWORD_FILE": str(secret), "PGPASS_FILE": "left alone"}
        done = self.start("printenv", "MLFLOW_TRACKING_PASSWORD", **places)
        assert done.stdout == "a $(touch x) 'b\" é\n"
        assert not (tmp_path / "x").exists()

    def test_a_secret_that_cannot_be_read_stops_the_start(self) -> None:
        done = self.start("echo", "started", MLFLOW_TRACKING_PASSWORD_FILE="/run/secrets/none")
        assert (done.returncode, done.stdout) == (2, "")
        assert "MLFLOW_TRACKING_PASSWORD_FILE names /run/secrets/none, which user" in done.stderr

    def test_the_exit_code_is_that_of_the_command(self) -> None:
        assert self.start("sh", "-c", "exit 3").returncode == 3
