"""The files of deploy/compose, as their comments say to use them. Rows of the same table."""

from __future__ import annotations

import shutil

import pytest

from sidecar import demo
from tests.command import ROOT
from tests.containers import stack_images
from tests.containers.compose_project import BACKEND, PASSWORD, SIDECAR, Project
from tests.containers.compose_scenarios import BOTH, Saw, scenario
from tests.containers.test_compose import assert_repaired, plant

pytestmark = pytest.mark.compose

VARIANTS = ROOT / "deploy" / "compose"
LATER = "20251220100000_name_issues"


def with_variant(stack: Project, name: str) -> Project:
    """The same project with one of the variants beside its file."""
    shutil.copy(VARIANTS / name, stack.folder)
    return stack.with_files(stack.files[0], name, *stack.files[1:])


@scenario("`observe.yml`, the incident", *BOTH)
def test_observe_only(stack: Project, saw: Saw) -> None:
    """The sidecar tells what it found, writes nothing, and stops nothing."""
    plant(stack)
    before = stack.dump()
    stack = with_variant(stack, "observe.yml")
    ended = stack.compose("up", "-d")
    stack.until(SIDECAR, "exit 3")
    stack.until(BACKEND, "exit 1")
    saw(stack.seen(ended))
    assert "partly-applied (1 of 4 statements took effect)" in stack.logs()
    assert "P3009" in stack.logs(BACKEND)
    assert stack.dump() == before


@scenario("`migrations-from-image.yml`, the incident", *BOTH)
def test_migrations_from_the_image(stack: Project, saw: Saw) -> None:
    """The host has no migrations; those of the image are enough for a repair."""
    plant(stack)
    stack = with_variant(stack, "migrations-from-image.yml")
    (stack.folder / "prisma").rename(stack.folder / "elsewhere")
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert_repaired(stack)
    assert not (stack.folder / "prisma").exists()


@scenario("`migrations-from-image.yml`, then an image with one migration more", *BOTH)
def test_a_newer_image(stack: Project, saw: Saw) -> None:
    """The copy is never older than the image."""
    stack = with_variant(stack, "migrations-from-image.yml")
    stack.compose("up", "-d")
    stack.ask_backend()
    migrations = stack.folder / "prisma" / "migrations"
    stack.write(
        f"prisma/migrations/{LATER}/migration.sql",
        'ALTER TABLE "momentum"."mm_issue" ADD COLUMN "due" DATE;\n',
    )
    stack.given(BACKEND_IMAGE=stack_images.backend_image(stack.engine, migrations))
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert "no failed migration; 3 applied, 1 pending" in stack.logs()
    assert stack.ask_backend() == {"applied": 4, "boards": 0}


@scenario("`secrets.yml`, the incident", *BOTH)
def test_secrets(stack: Project, saw: Saw) -> None:
    """All three read their secrets from files, and no container shows them."""
    shutil.copy(VARIANTS / "secrets.yml", stack.folder / "compose.yml")
    stack.write("secrets/postgres_password", PASSWORD)
    url = f"postgresql://{demo.USER}:{PASSWORD}@postgres_dev:5432/{demo.DATABASE}"
    stack.write("secrets/database_url", f"{url}?schema={demo.SCHEMA}")
    (stack.folder / "secrets").chmod(0o700)
    plant(stack)
    ended = stack.compose("up", "-d")
    saw(stack.seen(ended))
    assert_repaired(stack)
    for service in ("postgres_dev", SIDECAR, BACKEND):
        assert PASSWORD not in stack[service].inspect("{{json .}}")
        assert PASSWORD not in stack.logs(service)
