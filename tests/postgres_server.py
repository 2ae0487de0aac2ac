"""A real PostgreSQL server for tests that write lists into a table."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def find_binaries() -> Path | None:
    """Return the folder of `initdb`; Debian keeps it out of the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def run_server() -> Iterator[str]:
    """Start an empty server and give its URL.

    It listens on a socket in a folder, so no other server can take its port. PostgreSQL refuses to run as root; there
    it runs as `nobody`.
    """
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed; .ci/run installs one")
    # The path of a socket may have about 100 bytes, fewer than pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="recsys-postgres-"))
    user = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam("nobody")
        user = {"user": owner.pw_uid, "group": owner.pw_gid}
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    create = [binaries / "initdb", "-D", data, "-U", "lists", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(create, check=True, capture_output=True, **user)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w"]
    start = [*control, "-o", options, "-l", folder / "log", "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, **user)
    try:
        yield f"postgresql://lists@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, **user)
        shutil.rmtree(folder)
