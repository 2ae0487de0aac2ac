"""Dockerfile, compose.yaml and the manifests for Kubernetes: checked by the tools that their users would use."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
SCRIPTS = [
    *(path for path in (ROOT / "schedules").iterdir() if not path.suffix),
    ROOT / "deploy" / "entrypoint",
    *(ROOT / "tests" / "deploy").glob("*.sh"),
]


def check(tool: str, *arguments: Path | str) -> None:
    """Run a checker of the extra `dev`, or of Debian; only a developer may lack it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(tool, path=path)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{tool} is not installed; the extra 'dev' and .ci/run have it")
    assert found is not None, f"{tool} is not installed"
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile() -> None:
    check("hadolint", "--failure-threshold", "info", "Dockerfile")


def test_compose_follows_its_specification() -> None:
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_manifests(path: Path) -> None:
    check("kubernetes-validate", "--strict", "--quiet", path)


def test_the_scripts() -> None:
    check("shellcheck", *SCRIPTS)


def test_the_configuration_of_prometheus() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    check("promtool", "check", "config", "deploy/prometheus.yml")


def list_secrets() -> Iterator[Path]:
    for secret in COMPOSE["secrets"].values():
        yield ROOT / secret["file"]


def test_compose_has_no_password_and_confines_every_service() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    for service, given in COMPOSE["services"].items():
        assert given["read_only"] is True, service
        assert given["cap_drop"] == ["ALL"], service
        assert given["security_opt"] == ["no-new-privileges:true"], service
        assert given["mem_limit"], service
        assert given["cpus"], service
        assert "healthcheck" in given or service == "recsys", service
        for name, value in (given.get("environment") or {}).items():
            secret = name.endswith(("PASSWORD", "SECRET", "SECRET_KEY", "TOKEN"))
            assert not secret, f"{service}: {name} is {value}; give it as {name}_FILE"
        assert all(port.startswith("127.0.0.1:") for port in given.get("ports", ())), service
    # Files that a checkout does not have, so there is no default that others know.
    assert all(path.parent == ROOT / "secrets" and not path.exists() for path in list_secrets())
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert "@postgres" in text
    assert not any(":" in part.split("@")[0].removeprefix("//") for part in text.split("postgresql:")[1:])


def test_jobs_are_confined_and_refusals_are_not_repeated() -> None:
    jobs = [
        document
        for path in MANIFESTS
        for document in yaml.safe_load_all(path.read_text("utf-8"))
        if document["kind"] == "CronJob"
    ]
    assert {job["metadata"]["name"] for job in jobs} == {"recsys-night", "recsys-train"}
    for job in jobs:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        spec = job["spec"]["jobTemplate"]["spec"]
        assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [3, 4]
        pod = spec["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        # The command is one that the image has on its path.
        assert (ROOT / "schedules" / container["args"][0]).exists()
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_no_file_names_the_host_of_a_registry_or_an_index() -> None:
    files = [ROOT / name for name in ("Dockerfile", "compose.yaml", "constraints.txt")] + MANIFESTS
    for path in files:
        text = path.read_text("utf-8")
        assert not any(host in text for host in ("pypi", "pytorch.org", "docker.io", "ghcr.io", "quay.io")), path
