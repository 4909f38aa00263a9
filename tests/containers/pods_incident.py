"""What pods meet: a database in the state of the incident, and a backend with its scripts.

As SQL text, because the database may be in a cluster, where `psql` in its pod is the only door.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from sidecar import demo
from tests.containers import images
from tests.containers.engine import Engine
from tests.incident import BEFORE, FAILED, HISTORY, LEDGER, SCHEMA, Migration

DATABASE = "mm_primary_dev"
OWNER = "mm_admin_dev"
ROLE = "app_migrator"
PASSWORD = "correcthorse"  # noqa: S105 (of a server that lives for a minute in a network of its own)
SERVER = {"POSTGRES_USER": OWNER, "POSTGRES_DB": DATABASE, "POSTGRES_PASSWORD": PASSWORD}
"""What the image of PostgreSQL is told."""

PSQL = (
    *("env", f"PGPASSWORD={PASSWORD}", "psql", "--no-psqlrc", "--quiet", "--tuples-only"),
    *("--no-align", "--set", "ON_ERROR_STOP=1"),
    *("--host", "127.0.0.1", "--username", OWNER, "--dbname", DATABASE),
)
"""Runs a script, statement by statement, where the server is."""

LEAST_PRIVILEGE = images.ROOT / "docs" / "least-privilege.sql"

BACKEND = f"""\
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
WORKDIR /app
COPY migrations prisma/migrations
USER 65532
CMD ["python3", "-m", "http.server", "{3000}"]
"""
"""Serves its own folder: all that matters of a backend here is whether it was started."""

BY_HAND = f"""ALTER TYPE {SCHEMA}."ScheduleFrequency" ADD VALUE 'NEVER'"""
"""A change that no point of the script explains: the finding becomes `diverged`."""


def url(host: str, role: str = ROLE) -> str:
    """The connection URL of a role, in Prisma's dialect."""
    return f"postgresql://{role}:{PASSWORD}@{host}:5432/{DATABASE}?schema={SCHEMA}"


def planted(statements: int, *more: str) -> str:
    """SQL that leaves an empty database after so many statements of the failed migration.

    All four stand for a migration that went well: its row is finished. A role with the rights of
    docs/least-privilege.sql owns what migrations change.
    """
    whole = statements == len(FAILED.statements)
    lines = [f"CREATE SCHEMA {SCHEMA}", f"SET search_path TO {SCHEMA}", LEDGER]
    for migration in BEFORE:
        lines += [_begun(migration), *migration.statements, _finished(migration)]
    lines += [_begun(FAILED), *FAILED.statements[:statements], *more]
    lines += [_finished(FAILED)] if whole else []
    privileges = LEAST_PRIVILEGE.read_text()
    return (
        ";\n".join(lines)
        + f";\nRESET search_path;\n\\set role {ROLE}\n\\set schema {SCHEMA}\n{privileges}\n"
        + f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}';\n"
    )


def _begun(migration: Migration) -> str:
    return (
        "INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at) VALUES"
        f" (gen_random_uuid(), '{migration.checksum}', '{migration.name}', clock_timestamp())"
    )


def _finished(migration: Migration) -> str:
    return (
        "UPDATE _prisma_migrations SET finished_at = clock_timestamp(), applied_steps_count = 1"
        f" WHERE migration_name = '{migration.name}'"
    )


LEDGER_STATE = (
    f"SELECT count(*), count(finished_at), count(rolled_back_at) FROM {SCHEMA}._prisma_migrations"
)
"""All rows, the finished ones, the rolled back ones: `3|2|0` after the incident."""

OBJECTS = (
    "SELECT count(*) FROM (SELECT to_regtype('momentum.\"ScheduleFrequency\"')::text"
    " UNION ALL SELECT to_regclass('momentum.mm_scheduled_issue')::text"
    " UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'mm_scheduled_issue'"
    " AND indexname NOT LIKE '%pkey'"
    " UNION ALL SELECT conname FROM pg_constraint WHERE contype = 'f'"
    " AND conrelid = to_regclass('momentum.mm_scheduled_issue')) made (name)"
    " WHERE name IS NOT NULL"
)
"""How many of the failed migration's four objects there are."""


def backend_image(engine: Engine) -> str:
    """The tag of a backend with the scripts of the incident, built if need be."""
    base = images.base_image(engine)
    made_from = (BACKEND, base, *(migration.sql for migration in HISTORY))
    digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:12]
    tag = f"migration-sidecar-tests/pod-backend:{digest}"
    with images.alone("pod-backend"), tempfile.TemporaryDirectory() as folder:
        if not engine.has_image(tag):
            context = Path(folder)
            (context / "Dockerfile").write_text(BACKEND)
            shutil.copytree(demo.INCIDENT, context / "migrations")
            images.build(engine, context, tag=tag, arguments={"BASE_IMAGE": base})
    return tag
