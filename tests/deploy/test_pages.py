"""The commands of docs/deploy, page by page, against real servers on this machine."""

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from faulty_servers import object_store
from miniature import LAST_DAY, settings
from mlflow_servers import need_authentication
from pages import ROOT, read_blocks, run_page
from postgres_server import run_server
from pyarrow import fs

from recsys.artifacts.recommendations import read_pointer
from recsys.artifacts.store_output import find_store_run_date

FOLDER = "docs/deploy"
# Needs a cluster for every command; test_containers.py checks its files.
NOT_RUN = {"kubernetes.md"}
RUN = {"one-machine.md", "team.md", "many-machines.md", "containers.md"}

# A page starts several servers, and each command imports what it needs; a busy machine is no finding.
pytestmark = pytest.mark.timeout(900)

needs_psql = pytest.mark.skipif(shutil.which("psql") is None, reason="no PostgreSQL client; .ci/run installs one")


def write_config(folder: Path, collab: object = None, **generation: object) -> str:
    config = folder / "mini.yaml"
    sections = {"generation": generation, "collab": collab or {}}
    config.write_text(yaml.safe_dump({**settings(), **sections}), "utf-8")
    return str(config)


def find_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_every_page_is_run_or_says_why_not() -> None:
    pages = {page.name for page in (ROOT / FOLDER).glob("*.md")}
    assert pages == RUN | NOT_RUN | {"README.md"}
    for page in RUN | NOT_RUN:
        blocks = read_blocks(f"{FOLDER}/{page}")
        assert len(blocks) == len(re.findall(r"^```bash", (ROOT / FOLDER / page).read_text("utf-8"), re.MULTILINE))
        left_out = [block for block in blocks if block.reason]
        assert len(left_out) == len(blocks) if page in NOT_RUN else len(left_out) < len(blocks)
        assert all(len(block.reason.split()) >= 2 for block in left_out)


def test_one_machine(trained_copy: Path, raw_in_place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    values = {
        "RECSYS_CONFIG": write_config(tmp_path),
        "RECSYS_HOME": str(trained_copy),
        "RECSYS_DATA": str(raw_in_place),
        "RUN_DATE": LAST_DAY,
        "TEXTFILES": str(folder),
    }
    printed = run_page(f"{FOLDER}/one-machine.md", values, folder)
    assert f"readers follow {LAST_DAY}" in printed
    assert re.search(r'^recsys_monitor_alerts\{config="mini"\} ', printed, re.MULTILINE)


def test_containers(tmp_path: Path) -> None:
    run_page(f"{FOLDER}/containers.md", {}, tmp_path)
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    secrets = [tmp_path / secret["file"] for secret in compose["secrets"].values()]
    assert sorted((tmp_path / "secrets").iterdir()) == sorted(secrets)
    assert all(len(path.read_text("utf-8").strip()) >= 32 for path in secrets)


@needs_psql
def test_a_team(trained_copy: Path, raw_in_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_authentication()
    pytest.importorskip("airflow", reason="needs the [airflow] extra")
    folder = tmp_path / "checkout"
    folder.mkdir()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter22-hunter22", "AWS_REGION": "us-east-1"}
    with run_server() as url, object_store() as store:
        for name, value in {**keys, "AWS_ENDPOINT_URL": store}.items():
            monkeypatch.setenv(name, value)
        fs.S3FileSystem(endpoint_override=store, region="us-east-1", allow_bucket_creation=True).create_dir("shop")
        values = {
            "POSTGRES": url,
            "MLFLOW_DATABASE": url.replace("/postgres?", "/mlflow?"),
            "MLFLOW_USERS": url.replace("/postgres?", "/mlflow_users?"),
            "RECSYS_LISTS_URL": url.replace("/postgres?", "/lists?"),
            "AIRFLOW_DATABASE": url.replace("/postgres?", "/airflow?").replace("postgresql:", "postgresql+psycopg:"),
            "MLFLOW_FOLDER": str(tmp_path / "server"),
            "MLFLOW_PORT": find_port(),
            "MLFLOW_AUTH_ADMIN_PASSWORD": "a long password of an admin",
            "RECSYS_PASSWORD": "hunter22-hunter22",
            "RECSYS_CONFIG": write_config(tmp_path, postgres_table="lists", publish_to="s3://shop/lists"),
            "RECSYS_HOME": str(trained_copy),
            "RECSYS_DATA": str(raw_in_place),
            "RUN_DATE": LAST_DAY,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW_PORT": find_port(),
            "AIRFLOW__API_AUTH__JWT_SECRET": 64 * "x",
            "AWS_ENDPOINT_URL": store,
            **keys,
        }
        printed = run_page(f"{FOLDER}/team.md", values, folder)
        assert find_store_run_date("s3://shop/lists") == LAST_DAY
    # Long lines are folded.
    assert f"http://127.0.0.1:{values['MLFLOW_PORT']}: champion none, challenger none" in " ".join(printed.split())
    assert f"store s3://shop/lists: {LAST_DAY}" in printed
    assert re.search(rf"^run_date={LAST_DAY}/\w+ \d+ rows$", printed, re.MULTILINE)
    assert {"recsys_nightly", "recsys_train", "recsys_backfill"} <= set(printed.split())
    assert "hunter22" not in printed


@pytest.fixture
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for Ray's files: its sockets have paths of at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.mark.ray
@pytest.mark.usefixtures("short_folder")
def test_many_machines(trained_copy: Path, raw_in_place: Path, tmp_path: Path) -> None:
    """Two nodes of one cluster on this machine."""
    pytest.importorskip("ray")
    folder, ray = tmp_path / "checkout", {"kind": "ray"}
    folder.mkdir()
    (tmp_path / "local").mkdir()
    values = {
        "RAY_HEAD": "127.0.0.1",
        "RAY_PORT": find_port(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RECSYS_CONFIG": write_config(tmp_path, {"engine": ray}, engine=ray, shard_size=20),
        "RECSYS_HOME": str(trained_copy),
        "RECSYS_DATA": str(raw_in_place),
        "RUN_DATE": "2025-02-09",
        "LOCAL_CONFIG": write_config(tmp_path / "local", shard_size=20),
        "NEXT_DATE": LAST_DAY,
    }
    printed = run_page(f"{FOLDER}/many-machines.md", values, folder)
    assert "readers follow 2025-02-09" in printed
    assert read_pointer(trained_copy) == LAST_DAY
