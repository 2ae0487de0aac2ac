"""mlflow is imported, and finds nobody else's files, where a user has no home folder."""

import os
import subprocess
import sys
from pathlib import Path

# As in a container whose user has no entry in /etc/passwd.
CODE = """
import os, pwd, stat

def refuse(user):
    raise KeyError(user)

pwd.getpwuid = refuse
import recsys.registry
from pathlib import Path
import mlflow
home = Path.home()
print(home, oct(stat.S_IMODE(home.stat().st_mode)), os.listdir(home))
"""


def import_registry(**environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_private_home_until_the_process_ends(tmp_path: Path) -> None:
    printed = import_registry(TMPDIR=str(tmp_path))
    assert printed.startswith(f"{tmp_path}/recsys-no-home-")
    assert printed.endswith(" 0o700 []")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_known_stays(tmp_path: Path) -> None:
    assert import_registry(HOME=str(tmp_path)).startswith(f"{tmp_path} ")
