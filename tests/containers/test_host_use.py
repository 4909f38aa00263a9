"""SIDECAR_POSTGRES_SERVICE on a real engine: why PostgreSQL is not ready, where a host finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import app
from tests.command import Said, said
from tests.containers import stack_images
from tests.containers.engine import Container, Engine, wait_until
from tests.containers.services import SLEEPS, Project, project

pytestmark = pytest.mark.services

PASSWORD = "correct5horse"  # noqa: S105 (of a server that lives for one test)
URL = f"postgresql://postgres:{PASSWORD}@postgres_dev:5432/postgres?connect_timeout=2"
OFTEN = ("--health-interval", "200ms", "--health-retries", "1")
GIVEN = {
    "DATABASE_URL": URL,
    "SIDECAR_POSTGRES_SERVICE": "postgres_dev",
    "SIDECAR_WAIT_TIMEOUT": "60s",
    "SIDECAR_LOGIN_GRACE": "500ms",
}


@pytest.fixture(scope="session")
def postgres_image(engine: Engine) -> str:
    """A PostgreSQL that starts in two phases, as the official image."""
    return stack_images.postgres_image(engine)


@pytest.fixture
def ours(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A compose project whose folder is the working directory of this test."""
    monkeypatch.chdir(tmp_path)
    with project(engine, tmp_path.resolve()) as made:
        yield made


def postgres(ours: Project, image: str, *options: str, name: str = "postgres_dev") -> Container:
    """A PostgreSQL of the project."""
    password = ("--env", f"POSTGRES_PASSWORD={PASSWORD}")
    return ours.service(name, image, options=(*password, *options))


def waited(**variables: str) -> Said:
    """How `wait` ends here."""
    return said(app.wait_only, {**GIVEN, **variables})


def published(container: Container, port: str = "5432/tcp") -> str:
    """The port on the host, as it is now."""
    template = f'{{{{(index (index .NetworkSettings.Ports "{port}") 0).HostPort}}}}'
    return container.inspect(template)


# --- on a host -------------------------------------------------------------------------


def test_the_published_port_of_our_project_is_used_and_said(
    ours: Project, postgres_image: str, tmp_path: Path
) -> None:
    """The service's name means nothing here: its port is found, though it differs each time."""
    container = postgres(ours, postgres_image, "--publish", "127.0.0.1::5432")
    for _ in range(2):  # an ephemeral port is another one after a restart
        ended = said(app.run, {**GIVEN, "SIDECAR_MIGRATIONS_DIR": str(tmp_path)})
        says = (
            f"postgres_dev:5432 was reached as localhost:{published(container)}, which"
            f" {container.name} of the compose project {ours.name} publishes"
        )
        assert (ended.code, ended.warnings[0]) == (0, says), ended.what
        assert says in ended.log
        container.engine.docker("restart", "--time", "1", container.name)


def test_a_folder_below_that_of_the_compose_file_belongs_to_it(
    ours: Project, postgres_image: str, tmp_path: Path
) -> None:
    """As for compose itself; and every address is as good as loopback."""
    postgres(ours, postgres_image, "--publish", "5432")
    below = tmp_path / "packages" / "backend"
    below.mkdir(parents=True)
    os.chdir(below)
    ended = waited()
    assert (ended.code, len(ended.warnings)) == (0, 1)


def test_another_project_is_never_used(
    ours: Project, engine: Engine, postgres_image: str, tmp_path: Path
) -> None:
    """Somebody else's service of the same name is named as a choice, and no more."""
    with project(engine, tmp_path / "elsewhere") as theirs:
        postgres(theirs, postgres_image, "--publish", "127.0.0.1::5432")
        ended = waited()
        assert ended.code == 2
        assert "no compose project of this folder has a container of the service" in ended.what
        assert f"SIDECAR_COMPOSE_PROJECT={theirs.name}" in ended.next_steps
        assert waited(SIDECAR_COMPOSE_PROJECT=theirs.name).code == 0
        assert waited(SIDECAR_COMPOSE_PROJECT=ours.name, SIDECAR_WAIT_TIMEOUT="0s").code == 124


def test_two_projects_of_one_folder_are_not_chosen_between(
    ours: Project, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """`docker compose -p` twice in the same folder: it must be said which."""
    with project(engine, tmp_path.resolve()) as other:
        for each in (ours, other):
            each.service("postgres_dev", base_image, *SLEEPS)
        ended = waited()
    first, second = sorted((ours.name, other.name))
    assert ended.code == 2
    assert f"the projects {first}, {second} of this folder all have" in ended.what


def test_a_port_that_is_not_published_is_refused(ours: Project, base_image: str) -> None:
    """Nothing to wait for: the sentence says what to write."""
    ours.service("postgres_dev", base_image, *SLEEPS, options=["--publish", "9999"])
    ended = waited()
    assert ended.code == 2
    assert f"project {ours.name} does not publish its port 5432" in ended.what
    assert "ports:" in ended.next_steps[0]


def test_without_the_setting_nothing_is_looked_for(ours: Project, postgres_image: str) -> None:
    """The name does not resolve, and that is all there is to it."""
    postgres(ours, postgres_image, "--publish", "127.0.0.1::5432")
    ended = waited(SIDECAR_POSTGRES_SERVICE="", SIDECAR_WAIT_TIMEOUT="0s")
    assert ended.code == 124
    assert "its container" not in ended.what


def test_without_an_engine_the_wait_is_as_without_the_setting() -> None:
    """A warning, then the usual end; or a refusal where the engine must be there."""
    absent = {"DOCKER_HOST": "unix:///nowhere", "SIDECAR_WAIT_TIMEOUT": "0s"}
    ended = waited(**absent)
    assert (ended.code, "the published port cannot be found" in ended.log) == (124, True)
    ended = waited(**absent, SIDECAR_DOCKER_REQUIRED="true")
    assert (ended.code, ended.what) == (2, "there is no Docker Engine at unix:///nowhere")


# --- why it is not ready ----------------------------------------------------------------


def test_a_container_that_ended_ends_the_wait(ours: Project, postgres_image: str) -> None:
    """Not after the whole timeout, but after the grace: with its exit code and last words."""
    container = ours.service("postgres_dev", postgres_image, options=["--publish", "5432"])
    container.wait()
    ended = waited(SIDECAR_WAIT_TIMEOUT="60s")
    assert ended.code == 124
    says = f"its container {container.name} has ended with exit code 1; its last words: "
    assert says + "POSTGRES_PASSWORD is not set" in ended.what
    assert f"docker logs {container.name}" in ended.next_steps
    assert float(ended.what.split("not ready after ")[1].split()[0]) < 30


def test_a_first_start_is_told(ours: Project, postgres_image: str, tmp_path: Path) -> None:
    """Init scripts that take their time are named, and waited for."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "slow.sh").write_text(
        "until test -e /docker-entrypoint-initdb.d/go; do sleep .2; done\n"
    )
    mount = ("--volume", f"{scripts}:/docker-entrypoint-initdb.d:ro")
    container = postgres(ours, postgres_image, "--publish", "127.0.0.1::5432", *mount)
    wait_until(lambda: "slow.sh" in container.engine.docker("top", container.name, "-ef", "ww").out)
    ended = waited(SIDECAR_WAIT_TIMEOUT="300ms")
    assert ended.code == 124
    assert f"its container {container.name} is still running its init scripts" in ended.what
    (scripts / "go").touch()
    assert waited().code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--restart", "always", "--entrypoint", "false"], "keeps ending"),
        (
            ["--health-cmd", "echo not today; false", *OFTEN, "--entrypoint", "sleep"],
            "is unhealthy (not today)",
        ),
    ],
)
def test_what_does_not_end_it_explains_it(
    ours: Project, base_image: str, options: list[str], says: str
) -> None:
    """A server that may still come up is waited for; the state stands beside the cause."""
    container = ours.service(
        "postgres_dev", base_image, "600", options=[*options, "--publish", "127.0.0.1::5432"]
    )
    wait_until(
        lambda: (
            container.inspect("{{.RestartCount}} {{with .State.Health}}{{.Status}}{{end}}")
            not in {"0 ", "0 starting"}
        )
    )
    ended = waited(SIDECAR_WAIT_TIMEOUT="500ms")
    assert ended.code == 124
    assert says in ended.what, ended.what


def test_inside_the_project_nothing_is_moved(
    ours: Project, engine: Engine, postgres_image: str, sidecar_image: str
) -> None:
    """In a container the service's name is the way, published or not; its state is still told."""
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    with engine.network() as network:
        alias = ("--network", network, "--network-alias", "postgres_dev")
        container = postgres(ours, postgres_image, *alias, "--publish", "127.0.0.1::5432")
        options = ["--volume", "/var/run/docker.sock:/var/run/docker.sock", "--group-add", group]
        options += ["--network", network, *(f"--env={k}={v}" for k, v in GIVEN.items())]
        sidecar = ours.service("sidecar", sidecar_image, "wait", options=options)
        assert sidecar.wait() == 0, sidecar.logs
        assert "was reached as" not in sidecar.logs
        engine.docker("stop", "--time", "5", container.name)
        sidecar = ours.service("sidecar", sidecar_image, "wait", options=options)
        assert sidecar.wait() == 124
        assert f"its container {container.name} has ended with exit code 0" in sidecar.logs


def test_no_secret_of_the_container_is_quoted(ours: Project, base_image: str) -> None:
    """Its last words lose our own password, and what looks like another one."""
    words = f"echo connecting to postgresql://a:hunter2@b/c with {PASSWORD}; exit 3"
    options = ["--publish", "127.0.0.1::5432"]
    ours.service("postgres_dev", base_image, "sh", "-c", words, options=options).wait()
    ended = waited()
    assert "connecting to postgresql://***@b/c with ***" in ended.what
    assert PASSWORD not in ended.what + ended.log
