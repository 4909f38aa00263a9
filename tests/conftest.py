"""What every test may ask for: a scrubbed environment, real servers, fresh databases."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.postgres import (
    ALL_MAJORS,
    LATEST,
    Database,
    Server,
    Servers,
    available_majors,
    fresh_database,
)

SCRUBBED_PREFIXES = ("PG", "SIDECAR_", "PRISMA_")
SCRUBBED_NAMES = (
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "DIRECT_URL",
    "DIRECT_URL_FILE",
    "SHADOW_DATABASE_URL",
    "SHADOW_DATABASE_URL_FILE",
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, and loudly, which versions of PostgreSQL were not tested here."""
    absent = sorted(set(ALL_MAJORS) - set(available_majors()))
    if absent:
        versions = ", ".join(str(major) for major in absent)
        terminalreporter.write_line(
            f"WARNING: no test ran on PostgreSQL {versions}: their binaries need node and npm",
            yellow=True,
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, and count as such, the tests for versions that are not here."""
    majors = available_majors()
    absent = [item for item in items if _major_of(item) not in (None, *majors)]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


def _major_of(item: pytest.Item) -> int | None:
    callspec = getattr(item, "callspec", None)
    major: int | None = callspec.params.get("server") if callspec else None
    return major


@pytest.fixture(scope="session", autouse=True)
def scrubbed_environment() -> Iterator[None]:
    """No variable of the machine reaches the tests or the programs they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SCRUBBED_PREFIXES) or name in SCRUBBED_NAMES:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers by major version: `servers[17]`."""
    running = Servers()
    yield running
    running.close()


@pytest.fixture(params=ALL_MAJORS, ids=lambda major: f"pg{major}")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Every supported version in turn."""
    return servers[request.param]


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A fresh database, on every supported version in turn."""
    with fresh_database(server) as database:
        yield database


@pytest.fixture
def latest(servers: Servers) -> Server:
    """One server, for tests that need no matrix."""
    return servers[LATEST if LATEST in available_majors() else available_majors()[-1]]


@pytest.fixture
def latest_database(latest: Server) -> Iterator[Database]:
    """A fresh database on `latest`."""
    with fresh_database(latest) as database:
        yield database
