"""SIDECAR_RESTART_SERVICES on a real engine: who is restarted, who is not, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Scene, unchanged
from tests.containers.engine import Engine, wait_until
from tests.containers.services import (
    QUICK_CHECK,
    SLEEPS,
    Project,
    half_done,
    is_repaired,
    project,
    started_at,
)
from tests.postgres import Database, Server, fresh_database
from tests.tcp_proxy import proxy

pytestmark = pytest.mark.services

SOCKET = "/var/run/docker.sock"
HEALTHY = ("--health-cmd", "true", *QUICK_CHECK)
UNHEALTHY = ("--health-cmd", "echo it says hunter2; false", *QUICK_CHECK)


@pytest.fixture
def database(latest: Server) -> Iterator[Database]:
    """A fresh database on a server of this machine."""
    with fresh_database(latest) as fresh:
        yield fresh


@pytest.fixture
def ours(engine: Engine, tmp_path: Path) -> Iterator[Project]:
    """A compose project of this test's own."""
    with project(engine, tmp_path) as made:
        yield made


@pytest.fixture
def scene(database: Database, ours: Project, tmp_path: Path) -> Scene:
    """A half-done migration, and a backend to be restarted after its repair."""
    return half_done(
        database,
        tmp_path / "migrations",
        SIDECAR_RESTART_SERVICES="backend",
        SIDECAR_COMPOSE_PROJECT=ours.name,
    )


def test_what_runs_is_restarted_and_nothing_else(
    scene: Scene, ours: Project, base_image: str, engine: Engine, tmp_path: Path
) -> None:
    """Every container of the service that runs; not one stopped, of another project, of a `run`."""
    plain = ours.service("backend", base_image, *SLEEPS)
    checked = ours.service("backend", base_image, *SLEEPS, options=HEALTHY)
    stopped = ours.service("backend", base_image, "true")
    one_off = ours.service(
        "backend", base_image, *SLEEPS, labels=["com.docker.compose.oneoff=True"]
    )
    other_service = ours.service("worker", base_image, *SLEEPS)
    with project(engine, tmp_path) as theirs:
        same_name = theirs.service("backend", base_image, *SLEEPS)
        stopped.wait()
        alone = (stopped, one_off, other_service, same_name)
        before = {c.name: started_at(c) for c in (plain, checked, *alone)}
        ended = scene.run()
        after = {c.name: started_at(c) for c in (plain, checked, *alone)}
    assert (ended.code, is_repaired(scene.database)) == (0, True), ended.what
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {plain.name, checked.name}
    assert ended.outcome is not None
    assert {(s.container, str(s.result), s.says) for s in ended.outcome.services} == {
        (plain.name, "restarted", "running again"),
        (checked.name, "restarted", "healthy again"),
        (stopped.name, "left-alone", "left alone: it has ended with exit code 0"),
    }
    assert scene.run().outcome.name == "healthy"  # type: ignore[union-attr]
    assert started_at(plain) == after[plain.name], "a healthy run restarts nobody"


def test_a_backend_that_crash_loops_on_the_failure_comes_up_after_the_repair(
    scene: Scene, ours: Project, sidecar_image: str
) -> None:
    """It ends again and again while the migration is failed; the restart ends its back-off."""
    options = ["--restart", "always", "--network", "host", "--volume"]
    options += [f"{scene.folder}:/app/prisma/migrations:ro"]
    options += ["--env", f"DATABASE_URL={scene.database.url(schema='public')}"]
    backend = ours.service(
        "backend", sidecar_image, "run", "--policy=observe", "--", *SLEEPS, options=options
    )
    wait_until(lambda: int(backend.inspect("{{.RestartCount}}")) >= 1)
    ended = scene.run()
    assert (ended.code, is_repaired(scene.database)) == (0, True), ended.what
    assert ended.outcome is not None
    assert [str(service.result) for service in ended.outcome.services] == ["restarted"]
    assert backend.inspect("{{.State.Status}}") == "running"


def test_a_backend_that_stays_unhealthy_is_told_with_the_repair(
    scene: Scene, ours: Project, base_image: str
) -> None:
    """Exit code 6: the database is repaired, the service is not up; its log is quoted, clean."""
    scene.environ.update(SIDECAR_RESTART_TIMEOUT="2s")
    says = "echo url postgresql://u:hunter2@db/x; echo password=hunter2; sleep 600"
    backend = ours.service("backend", base_image, "sh", "-c", says, options=UNHEALTHY)
    ended = scene.command("run", SIDECAR_REPORT_FILE=str(scene.folder.parent / "report.json"))
    assert (ended.code, is_repaired(scene.database)) == (6, True), ended.err
    report = (scene.folder.parent / "report.json").read_text()
    for text in ("repaired and proven", "the database is repaired, but backend did not come up"):
        assert text in ended.err
        assert text in report
    assert f"next: docker logs {backend.name}" in ended.err
    assert "url postgresql://***@db/x | password=***" in ended.err
    assert "hunter2" not in ended.err + report
    assert '"outcome":"repaired"' in report


def test_a_backend_that_ends_after_its_restart_is_not_waited_for(
    scene: Scene, ours: Project, base_image: str
) -> None:
    """Nothing will start it again, so its end is the answer."""
    once = "test -e /tmp/ran && echo no such table >&2 && exit 7; touch /tmp/ran; sleep 600"
    ours.service("backend", base_image, "sh", "-c", once)
    ended = scene.run()
    assert (ended.code, is_repaired(scene.database)) == (6, True)
    assert ended.outcome is not None
    says = "has ended with exit code 7; its last words: no such table"
    assert [service.says for service in ended.outcome.services] == [says]


def test_a_service_without_containers_is_named(scene: Scene, ours: Project) -> None:
    """At a first `up` the backend is not there yet: that is said, and no failure."""
    ended = scene.run()
    assert ended.code == 0
    assert ended.outcome is not None
    says = f"the project {ours.name} has no container of it (but of: none)"
    assert [service.says for service in ended.outcome.services] == [says]


# --- the engine is not to be had --------------------------------------------------------


def test_without_an_engine_the_repair_goes_on_and_the_rest_is_said(scene: Scene) -> None:
    """By default the database comes first; a warning names the command that is left to do."""
    ended = scene.run(DOCKER_HOST="unix:///nowhere/docker.sock")
    assert (ended.code, is_repaired(scene.database)) == (0, True)
    says = "backend not restarted: there is no Docker Engine at unix:///nowhere/docker.sock"
    assert says in ended.warnings
    assert ended.next_steps[0] == "docker compose restart backend"


def test_an_engine_that_is_required_is_looked_for_first(scene: Scene) -> None:
    """SIDECAR_DOCKER_REQUIRED: exit code 2 before anything is changed."""
    with unchanged(scene.database):
        ended = scene.run(DOCKER_HOST="tcp://127.0.0.1:1", SIDECAR_DOCKER_REQUIRED="true")
    assert ended.code == 2
    assert ended.what == "no Docker Engine listens at tcp://127.0.0.1:1; no repair was begun"
    assert "docs/docker.md" in ended.next_steps[0]


def test_without_permission(scene: Scene, engine: Engine, sidecar_image: str) -> None:
    """The socket is there and belongs to others: said in words, with the way out."""
    options = ["--network", "host", "--volume", f"{SOCKET}:{SOCKET}"]
    options += [f"--volume={scene.folder}:/app/prisma/migrations:ro"]
    options += [f"--env={k}={v}" for k, v in scene.given(SIDECAR_DOCKER_REQUIRED="true").items()]
    options += ["--env=SIDECAR_MIGRATIONS_DIR=/app/prisma/migrations"]
    with unchanged(scene.database):
        ended = engine.run(sidecar_image, options=options)
    assert ended.code == 2, ended.said
    assert f"no permission to use the Docker Engine at unix://{SOCKET}" in ended.err
    assert "group_add" in ended.err


def test_over_tcp(scene: Scene, ours: Project, base_image: str) -> None:
    """DOCKER_HOST=tcp://: the same through a line without a socket."""
    backend = ours.service("backend", base_image, *SLEEPS, options=HEALTHY)
    before = started_at(backend)
    with proxy(SOCKET) as line:
        ended = scene.run(DOCKER_HOST=f"tcp://127.0.0.1:{line.port}")
    assert (ended.code, started_at(backend) != before) == (0, True), ended.what


# --- which project ---------------------------------------------------------------------


def test_our_own_container_tells_the_project(
    scene: Scene, ours: Project, base_image: str, sidecar_image: str
) -> None:
    """In a container, by its id: no setting, a host name of its own, scaled services too."""
    backends = [ours.service("backend", base_image, *SLEEPS, options=HEALTHY) for _ in range(2)]
    before = [started_at(backend) for backend in backends]
    group = str(Path(SOCKET).stat().st_gid)
    given = {**scene.given(), "SIDECAR_MIGRATIONS_DIR": "/migrations"}
    del given["SIDECAR_COMPOSE_PROJECT"]
    options = ["--volume", f"{SOCKET}:{SOCKET}", "--group-add", group, "--network", "host"]
    options += ["--volume", f"{scene.folder}:/migrations:ro", "--hostname", "sidecar"]
    options += [f"--env={name}={value}" for name, value in given.items()]
    sidecar = ours.service("migration-sidecar", sidecar_image, "run", options=options)
    assert (sidecar.wait(), is_repaired(scene.database)) == (0, True), sidecar.logs
    assert "healthy again" in sidecar.logs
    assert all(started_at(b) != then for b, then in zip(backends, before, strict=True))


def test_our_own_service_is_not_restarted(scene: Scene, ours: Project, sidecar_image: str) -> None:
    """Naming the sidecar's own service would end the run by its own hand."""
    group = str(Path(SOCKET).stat().st_gid)
    given = {**scene.given(), "SIDECAR_MIGRATIONS_DIR": "/migrations"}
    given |= {"SIDECAR_RESTART_SERVICES": "sidecar", "SIDECAR_DOCKER_REQUIRED": "true"}
    options = ["--volume", f"{SOCKET}:{SOCKET}", "--group-add", group, "--network", "host"]
    options += ["--volume", f"{scene.folder}:/migrations:ro"]
    options += [f"--env={name}={value}" for name, value in given.items()]
    sidecar = ours.service("sidecar", sidecar_image, "run", options=options)
    assert sidecar.wait() == 2
    assert "SIDECAR_RESTART_SERVICES names our own service sidecar" in sidecar.logs
