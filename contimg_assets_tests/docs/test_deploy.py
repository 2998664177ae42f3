"""Containers: what `deploy/` holds is read as Docker, Compose and Dagster read it, and agrees with itself."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema

from contimg_assets_tests.docs import ROOT

DEPLOY = ROOT / "deploy"
LAUNCHERS = ("docker", "k8s")


def content(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_dagster_takes_its_configuration(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://contimg@postgres/dagster")
    whole = content(f"dagster-{launcher}.yaml")
    found = process_config(resolve_to_config_type(dagster_instance_config_schema()), whole)
    assert found.success, found.errors
    # As on one machine: folds and writers take turns, and a bad epoch is not tried again and again.
    here = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    for section in ("concurrency", "run_retries"):
        assert whole[section] == here[section]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_launcher_takes_its_configuration(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = content(f"dagster-{launcher}.yaml")["run_launcher"]
    pytest.importorskip(configured["module"])
    kind = getattr(importlib.import_module(configured["module"]), configured["class"])
    found = process_config(resolve_to_config_type(kind.config_type()), configured["config"])
    assert found.success, found.errors


def test_the_image_copies_what_there_is_and_starts_what_it_installs() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    arguments = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)$", "\n".join(lines)))
    sources = [line.split()[1] for line in lines if line.startswith("COPY ")]
    assert len(sources) == 3
    for source in sources:
        assert (ROOT / re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], source)).exists()
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD "))
    module = command[command.index("-m") + 1]
    assert importlib.util.find_spec(module) is not None
    assert command[command.index("-p") + 1] == str(content("workspace.yaml")["load_from"][0]["grpc_server"]["port"])
    # Nothing runs as root.
    users = [number for number, line in enumerate(lines) if line == "USER contimg"]
    assert users and users[0] < next(number for number, line in enumerate(lines) if line.startswith("CMD "))


def test_services_agree_with_each_other_and_with_what_runs_are_given() -> None:
    compose, launcher = content("compose.yaml"), content("dagster-docker.yaml")["run_launcher"]["config"]
    services = compose["services"]
    assert set(services) == {"postgres", "code", "daemon", "webserver"}
    assert content("workspace.yaml")["load_from"][0]["grpc_server"]["host"] in services
    assert compose["networks"]["contimg"]["name"] == launcher["network"]
    (project,) = launcher["container_kwargs"]["volumes"]
    for name in ("code", "daemon", "webserver"):
        assert project in services[name]["volumes"]
        assert set(launcher["env_vars"]) <= set(services[name]["environment"])
    # The one that starts containers is the one that has Docker's socket.
    sockets = [name for name, one in services.items() if any("docker.sock" in volume for volume in one["volumes"])]
    assert sockets == ["daemon"]
    assert "--read-only" in services["webserver"]["command"]
    assert all(port.startswith("127.0.0.1:") for port in services["webserver"]["ports"])


def test_compose_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    asked = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(asked, capture_output=True, text=True, env={"POSTGRES_PASSWORD": "x", "PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(DEPLOY.iterdir()) if f"deploy/{path.name}" not in page] == []
