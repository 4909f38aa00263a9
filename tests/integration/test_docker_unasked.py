"""The Docker Engine is nobody's business unless it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.engine import Way, connected
from sidecar.errors import EngineError, ExitCode
from tests.command import QUICK, command
from tests.incident import write_migrations
from tests.postgres import Database

LOADED = """
import atexit, sys
from sidecar.cli import main
watched = ("docker", "requests", "sidecar.engine", "sidecar.services", "sidecar.whereabouts")
atexit.register(lambda: print(*(name for name in watched if name in sys.modules)))
main()
"""


@pytest.mark.parametrize(
    ("asked", "loaded"),
    [
        ({}, ""),
        ({"DOCKER_HOST": "ssh://build.lan", "DOCKER_TLS_VERIFY": "1"}, ""),
        ({"SIDECAR_RESTART_SERVICES": "backend"}, ""),
        ({"SIDECAR_POSTGRES_SERVICE": "db"}, "sidecar.whereabouts"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_healthy_run_never_loads_the_sdk(
    latest_database: Database, tmp_path: Path, asked: dict[str, str], loaded: str
) -> None:
    """Nothing failed and the name means something: no engine is looked for, asked for or not."""
    given = {
        **QUICK,
        "DATABASE_URL": latest_database.url(schema="public"),
        "SIDECAR_MIGRATIONS_DIR": str(write_migrations(tmp_path / "migrations", ())),
        **asked,
    }
    ended = command("run", environ=given, program=LOADED)
    assert (ended.code, ended.out.strip()) == (0, loaded), ended.err


@pytest.mark.parametrize(
    ("way", "says"),
    [
        (Way("ssh://ada@build.lan"), "DOCKER_HOST: ssh is no way that works here"),
        (Way("/var/run/docker.sock"), "DOCKER_HOST: this is no way that works here"),
        (Way("unix:///nowhere.sock"), "there is no Docker Engine at unix:///nowhere.sock"),
        (Way("tcp://127.0.0.1:1"), "no Docker Engine listens at tcp://127.0.0.1:1"),
        (Way("tcp://127.0.0.1"), "the Docker Engine at tcp://127.0.0.1 does not answer"),
        (
            Way("tcp://127.0.0.1:1", tls_verify="1", cert_path="/nowhere"),
            "the Docker Engine at tcp://127.0.0.1:1 does not answer (TLSParameterError)",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_said_in_one_sentence(way: Way, says: str) -> None:
    """The cause, and what to do about it; nothing of the SDK's own errors."""
    with pytest.raises(EngineError) as caught:
        connected(way)
    assert caught.value.what.startswith(says)
    assert caught.value.next_steps
    assert caught.value.exit_code is ExitCode.USAGE
