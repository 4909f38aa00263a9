"""The image as its users run it: without rights, in any account, told to stop, looked into."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import __version__
from tests.containers import images
from tests.containers.engine import Engine, wait_until
from tests.containers.image_server import OWNER, ImageServer, image_server
from tests.containers.images import ROOT, Builder, Target
from tests.incident import FAILED, Mode, clean_run, plant, write_migrations

pytestmark = pytest.mark.image

ADDED_LIMIT = 40_000_000
LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
ACCOUNTS = ("65532:65532", "1234567:1234567", "10001:0", "0:0")
"""The image's own, two without a line in the passwd file, and root without its rights."""
TMP = ("--tmpfs", "/tmp")  # noqa: S108 (in the container)
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="session")
def server(engine: Engine, embedded_image: str) -> Iterator[ImageServer]:
    """A PostgreSQL in a container."""
    with image_server(engine, embedded_image) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: ImageServer) -> Path:
    """The incident's migrations, for every account to read, and an empty database."""
    with server.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS momentum CASCADE")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return write_migrations(tmp_path / "migrations")


def mounted(folder: Path) -> tuple[str, str]:
    """The option that puts the migrations where the image looks for them."""
    return ("--volume", f"{folder}:/app/prisma/migrations:ro")


# --- what is in it -------------------------------------------------------------------


def test_dockerfile_is_clean() -> None:
    """hadolint has nothing to say; what is ignored has its reason beside it."""
    done = subprocess.run(
        [TOOLS / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", Target)
def test_structure(engine: Engine, target: Target) -> None:
    """User, entrypoint, labels, files: container-structure-test on tests/containers/image.yaml."""
    done = subprocess.run(
        [
            *(TOOLS / "container-structure-test", "test"),
            *("--image", images.sidecar_image(engine, target)),
            *("--config", ROOT / "tests" / "containers" / "image.yaml"),
        ],
        env={**os.environ, **engine.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_adds_little_to_its_base(engine: Engine, base_image: str, sidecar_image: str) -> None:
    """At most 40 MB, uncompressed."""
    sizes = engine.docker("image", "inspect", "--format", "{{.Size}}", base_image, sidecar_image)
    base, whole = map(int, sizes.out.split())
    assert whole - base <= ADDED_LIMIT


def test_no_tool_that_builds_is_left(engine: Engine, sidecar_image: str) -> None:
    """No compiler, linker or make, neither from us nor from the base."""
    tools = "cc gcc g++ clang ld as strip make cargo"
    look = f"for tool in {tools}; do command -v $tool; done; true"
    assert engine.run(sidecar_image, "-c", look, options=("--entrypoint", "sh")).out == ""


BYTECODE = """
import pathlib, sidecar
for source in pathlib.Path(sidecar.__file__).parent.rglob("*.py"):
    (cached,) = (source.parent / "__pycache__").glob(source.stem + ".cpython-*.pyc")
    assert int.from_bytes(cached.read_bytes()[4:8], "little") == 1, source
"""


def test_bytecode_is_there(engine: Engine, sidecar_image: str) -> None:
    """Every module is compiled, and its source is not looked at again (flag of PEP 552)."""
    ended = engine.run(sidecar_image, "-c", BYTECODE, options=("--entrypoint", "python"))
    assert ended.code == 0, ended.said


def test_sbom_lists_what_is_locked(engine: Engine, sidecar_image: str) -> None:
    """CycloneDX in the image names every package of the lock file with version and purl."""
    path = "/usr/share/sbom/migration-sidecar.cdx.json"
    printed = engine.run(sidecar_image, path, options=("--entrypoint", "cat"))
    bom = json.loads(printed.out)
    assert bom["bomFormat"] == "CycloneDX"
    parts = {part["name"].lower(): part for part in bom["components"]}
    about = bom["metadata"]["component"]
    assert about["name"] == "migration-sidecar"
    lock = (ROOT / "requirements-runtime.lock").read_text()
    for name, version in re.findall(r"^([\w.-]+)==(\S+) \\$", lock, re.MULTILINE):
        assert parts[name]["version"] == version
        assert parts[name]["purl"] == f"pkg:pypi/{name}@{version}"


@pytest.mark.parametrize("builder", Builder)
def test_builds_with(engine: Engine, base_image: str, builder: Builder) -> None:
    """The classic builder and BuildKit both make it, and what they make runs."""
    tag = f"migration-sidecar:test-{builder}"
    arguments = {"BASE_IMAGE": base_image, "VERSION": __version__}
    images.build(engine, ROOT, tag=tag, target=Target.SLIM, arguments=arguments, builder=builder)
    assert __version__ in engine.run(tag, "--version").out
    label = '{{index .Config.Labels "org.opencontainers.image.version"}}'
    assert engine.docker("inspect", "--format", label, tag).out.strip() == __version__


# --- how it runs ---------------------------------------------------------------------


@pytest.mark.parametrize("account", ACCOUNTS)
def test_runs_in_any_account_without_rights(
    server: ImageServer, sidecar_image: str, folder: Path, account: str
) -> None:
    """Read-only root, no capability, no new privileges, nothing writable: it looks and is done."""
    with server.connect(user=OWNER) as connection:
        clean_run(connection)
    options = server.options(*LOCKED, *mounted(folder), "--user", account)
    ended = server.engine.run(sidecar_image, options=options)
    assert ended.code == 0, ended.said
    assert '"outcome": "healthy"' in ended.err


def test_it_writes_nothing(server: ImageServer, sidecar_image: str, folder: Path) -> None:
    """Where the root could be written, it is not: no bytecode, no cache, no temporary file."""
    with server.connect(user=OWNER) as connection:
        plant(connection, statements=1, mode=Mode.KILLED)
    engine = server.engine
    options = server.options("--env", "SIDECAR_POLICY=ledger", *mounted(folder), "--user", "0:0")
    with engine.container(sidecar_image, options=options) as container:
        assert container.wait() == 3, container.logs
        changed = engine.docker("diff", container.name).out.splitlines()
    mount = {"C /app", "A /app/prisma", "A /app/prisma/migrations"}  # Docker's own, for the volume
    assert set(changed) <= mount


def test_told_to_stop_while_waiting(engine: Engine, sidecar_image: str) -> None:
    """Process 1 is the program itself; SIGTERM ends it at once with 143."""
    options = (*LOCKED, "--network", "none", "--env", "DATABASE_URL=postgresql://u@127.0.0.1/x")
    with engine.container(sidecar_image, options=options) as container:
        wait_until(lambda: "waiting for PostgreSQL" in container.logs)
        assert container.exec("cat", "/proc/1/comm").out.strip() == "migration-sidec"
        told = time.monotonic()
        engine.docker("kill", "--signal", "TERM", container.name)
        assert container.wait() == 143
        assert time.monotonic() - told < 5


def test_repairs_without_a_place_to_write(
    server: ImageServer, sidecar_image: str, folder: Path
) -> None:
    """A role that may create databases repairs on a read-only root without /tmp."""
    with server.connect(user=OWNER) as connection:
        plant(connection, statements=1, mode=Mode.KILLED)
    with server.connect() as connection:
        connection.execute(f"ALTER ROLE {OWNER} CREATEDB")
    try:
        options = server.options(*LOCKED, *mounted(folder))
        ended = server.engine.run(sidecar_image, options=options)
    finally:
        with server.connect() as connection:
            connection.execute(f"ALTER ROLE {OWNER} NOCREATEDB")
    assert ended.code == 0, ended.said
    assert repaired(server)


# --- the variant with a PostgreSQL of its own ------------------------------------------


@pytest.mark.parametrize("account", ACCOUNTS[:3])
def test_private_shadow_on_a_read_only_root(
    server: ImageServer, embedded_image: str, folder: Path, account: str
) -> None:
    """A role that may not create databases is repaired by any account with /tmp alone."""
    with server.connect(user=OWNER) as connection:
        plant(connection, statements=1, mode=Mode.KILLED)
    options = server.options(*LOCKED, *TMP, *mounted(folder), "--user", account)
    ended = server.engine.run(embedded_image, options=options)
    assert ended.code == 0, ended.said
    assert repaired(server)


def test_without_tmp_it_says_what_to_mount(
    server: ImageServer, embedded_image: str, folder: Path
) -> None:
    """A private server needs a place: where there is none, the halt names it."""
    with server.connect(user=OWNER) as connection:
        plant(connection, statements=1, mode=Mode.KILLED)
    ended = server.engine.run(embedded_image, options=server.options(*LOCKED, *mounted(folder)))
    assert ended.code == 3
    assert "no place for its files" in ended.err
    assert not repaired(server)


def test_demo_plays_in_the_image(engine: Engine, embedded_image: str) -> None:
    """The incident and its repair, with nothing but the image."""
    ended = engine.run(embedded_image, "demo", options=(*LOCKED, *TMP, "--network", "none"))
    assert ended.code == 0, ended.said


@pytest.mark.parametrize("extension", ["vector", "pgcrypto", "uuid-ossp", "citext", "pg_trgm"])
def test_private_server_has_the_usual_extensions(server: ImageServer, extension: str) -> None:
    """The history replays only where its extensions are."""
    with server.connect() as connection:
        connection.execute(f'CREATE EXTENSION "{extension}"')
        connection.execute(f'DROP EXTENSION "{extension}"')


def repaired(server: ImageServer) -> bool:
    """Whether the four objects of the incident and a finished row are there."""
    query = """
        SELECT to_regtype('momentum."ScheduleFrequency"') IS NOT NULL
           AND to_regclass('momentum.mm_scheduled_issue') IS NOT NULL
           AND EXISTS (SELECT FROM momentum._prisma_migrations
                       WHERE migration_name = %s AND finished_at IS NOT NULL)
    """
    with server.connect() as connection:
        row = connection.execute(query, [FAILED.name]).fetchone()
    return bool(row and row[0])
