"""The hand repair of the incident, by the sidecar alone: real compose, real Prisma."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import app, demo
from tests import incident
from tests.command import said
from tests.containers.compose import Version
from tests.containers.compose_project import BACKEND, PASSWORD, POSTGRES, SIDECAR, Project
from tests.containers.engine import wait_until

pytestmark = pytest.mark.services

SOCKET = Path("/var/run/docker.sock")
ENGINE = """\
services:
  migration-sidecar:
    environment:
      SIDECAR_RESTART_SERVICES: backend_dev
      SIDECAR_RESTART_TIMEOUT: 2m
      SIDECAR_POSTGRES_SERVICE: postgres_dev
    volumes: ["{socket}:{socket}"]
    group_add: ["{group}"]
  backend_dev:
    restart: always
"""


@pytest.mark.parametrize(("version", "scale"), [(Version.V2, 2), (Version.V1, 1)])
def test_crash_looping_backends_come_up_after_the_repair(
    stack: Project, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prisma's P3009 ends the backends again and again; one run of the sidecar mends it all."""
    stack.write("engine.yml", ENGINE.format(socket=SOCKET, group=SOCKET.stat().st_gid))
    stack = stack.with_files(*stack.files, "engine.yml")
    stack.start_postgres()
    with stack.connection() as connection:
        incident.plant(connection, statements=1, mode=incident.Mode.KILLED)
    up = stack.compose("up", "-d", "--no-deps", "--scale", f"{BACKEND}={scale}", BACKEND)
    assert up.code == 0, up.said
    backends = [stack.numbered(BACKEND, number) for number in range(1, scale + 1)]
    wait_until(lambda: all("P3009" in backend.logs for backend in backends), timeout_s=120)

    # The same on the host, where the service's name means nothing.
    monkeypatch.chdir(stack.folder)
    url = f"postgresql://{demo.USER}:{PASSWORD}@{POSTGRES}:5432/{demo.DATABASE}?schema=momentum"
    environ = {"DATABASE_URL": url, "SIDECAR_POSTGRES_SERVICE": POSTGRES}
    found = said(app.inspect, {**environ, "SIDECAR_MIGRATIONS_DIR": "prisma/migrations"})
    assert found.finding.name == "partly-applied"
    port = stack.port(POSTGRES, 5432)
    assert any(f"reached as localhost:{port}" in warning for warning in found.warnings)

    ended = stack.compose("run", "--rm", "--no-deps", SIDECAR)
    assert ended.code == 0, ended.said
    assert "resume: committed and proven" in ended.said
    for number, backend in enumerate(backends, 1):
        name = backend.inspect("{{.Name}}").lstrip("/")
        assert f"service {BACKEND}: {name} restarted, running again" in ended.said
        stack.ask_backend(number)
