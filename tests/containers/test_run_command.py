"""The image as the entrypoint of a backend: `run -- CMD` as process 1 of a real container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Scene
from tests.containers.engine import Engine, wait_until
from tests.containers.services import half_done, is_repaired
from tests.postgres import Server, fresh_database

pytestmark = pytest.mark.services

SAYS = "echo pid $$ of $(cat /proc/1/comm), $WORD; trap 'exit 42' TERM; while :; do sleep .1; done"


@pytest.fixture
def scene(latest: Server, tmp_path: Path) -> Iterator[Scene]:
    """A half-done migration on a server of this machine."""
    with fresh_database(latest) as database:
        yield half_done(database, tmp_path / "migrations")


def options(scene: Scene, **variables: str) -> list[str]:
    """A container that reaches the server, hardened as in the examples."""
    given = {**scene.given(), "SIDECAR_MIGRATIONS_DIR": "/migrations", **variables}
    return [
        *("--network", "host", "--volume", f"{scene.folder}:/migrations:ro"),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *(f"--env={name}={value}" for name, value in given.items()),
    ]


def test_the_backend_is_process_1_after_the_repair(
    scene: Scene, engine: Engine, sidecar_image: str
) -> None:
    """It gets the SIGTERM of `docker stop` itself; its exit code is the container's."""
    started = engine.container(
        sidecar_image,
        *("run", "--", "sh", "-c", SAYS),
        options=options(scene, WORD="a b"),
    )
    with started as container:
        wait_until(
            lambda: "pid" in container.logs or container.inspect("{{.State.ExitCode}}") != "0"
        )
        assert "pid 1 of sh, a b" in container.logs
        assert is_repaired(scene.database)
        programs = engine.docker("top", container.name, "-o", "pid,comm").out
        assert "python" not in programs
        assert "migration-sidec" not in programs
        engine.docker("stop", "--time", "30", container.name)
        assert container.inspect("{{.State.ExitCode}}") == "42"


def test_halted_never_starts_it(scene: Scene, engine: Engine, sidecar_image: str) -> None:
    """The container ends with our code and our words instead."""
    words = ("run", "--policy", "observe", "--", "echo", "started")
    ended = engine.run(sidecar_image, *words, options=options(scene))
    assert (ended.code, ended.out) == (3, "")
    assert "halted at 20260101000000_half" in ended.err


def test_an_absent_program_is_said_before_anything_is_done(
    scene: Scene, engine: Engine, sidecar_image: str
) -> None:
    """127, as a shell says; the migration is as it was."""
    ended = engine.run(sidecar_image, "run", "--", "node", "server.js", options=options(scene))
    assert ended.code == 127
    assert "node is not found; nothing was done" in ended.err
    assert not is_repaired(scene.database)
