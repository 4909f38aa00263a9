"""A project with the incident's migrations, on a fresh database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import incident
from tests.postgres import Database
from tests.prisma_cli import PrismaProject


@pytest.fixture
def project(tmp_path: Path, latest_database: Database) -> PrismaProject:
    """A Prisma project without migrations, for `latest_database` and the schema `momentum`."""
    return PrismaProject.create(tmp_path / "app", latest_database.url(schema=incident.SCHEMA))


@pytest.fixture
def incident_project(project: PrismaProject) -> PrismaProject:
    """The same with the incident's whole history on disk, and nothing deployed."""
    for migration in incident.HISTORY:
        project.write_migration(migration.name, migration.sql)
    return project
