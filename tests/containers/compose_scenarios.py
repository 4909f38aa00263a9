"""Scenarios: tests with a title and versions of compose, each a row of the table in the guide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar import demo
from tests.containers import stack_images
from tests.containers.compose import Version
from tests.containers.compose_project import PASSWORD, Project, project
from tests.containers.compose_table import is_in_the_table
from tests.containers.engine import Engine

Test = Callable[..., None]
Saw = Callable[[str], None]

BOTH = (Version.V2, Version.V1)
SCENARIOS: dict[str, tuple[Version, ...]] = {}
_TITLES: dict[str, str] = {}


def scenario(title: str, *versions: Version) -> Callable[[Test], Test]:
    """A test that is run with each of these versions, and a row of the table."""

    def mark(test: Test) -> Test:
        SCENARIOS[title] = versions
        _TITLES[test.__name__] = title
        marked: Test = pytest.mark.parametrize("version", versions, ids=str)(test)
        return marked

    return mark


@pytest.fixture
def saw(request: pytest.FixtureRequest, version: Version) -> Saw:
    """Asserts that the table has this in the cell of the running scenario and version."""
    return lambda cell: is_in_the_table(_TITLES[request.function.__name__], version, cell)


@pytest.fixture(scope="session")
def stack_image_names(engine: Engine, sidecar_image: str) -> dict[str, str]:
    """The images of the example, under the names of its variables."""
    database = {
        "POSTGRES_DB": demo.DATABASE,
        "POSTGRES_USER": demo.USER,
        "POSTGRES_PASSWORD": PASSWORD,
    }
    return {
        "POSTGRES_IMAGE": stack_images.postgres_image(engine, database),
        "SIDECAR_IMAGE": sidecar_image,
        "BACKEND_IMAGE": stack_images.backend_image(engine, demo.INCIDENT),
    }


@pytest.fixture
def empty_postgres(stack: Project) -> None:
    """The project's PostgreSQL has no database yet, and makes it at its first start."""
    stack.given(POSTGRES_IMAGE=stack_images.postgres_image(stack.engine))


@pytest.fixture
def stack(
    engine: Engine, version: Version, stack_image_names: dict[str, str], tmp_path: Path
) -> Iterator[Project]:
    """A project with the incident's migrations, made from compose.example.yml; nothing runs yet."""
    with project(
        engine, version, tmp_path, images=stack_image_names, migrations=demo.INCIDENT
    ) as stack:
        yield stack
