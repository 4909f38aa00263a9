"""The incident that started it, as data: an enum was made, the rest was not (P3009).

The history is a small Prisma project in the schema `momentum`; its last migration stopped
on the way. `plant` leaves a database just as the engines of Prisma do, in each of the
ways in which that can happen. Real Prisma does the same in tests/prisma.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from sidecar import demo

SCHEMA = demo.SCHEMA


class Migration(NamedTuple):
    """One folder: its name, and its file as `prisma migrate dev` writes it."""

    name: str
    sql: str

    @property
    def statements(self) -> tuple[str, ...]:
        """The file cut at the ends of its statements (of which no text here holds more)."""
        return tuple(part.strip() for part in self.sql.split(";\n") if part.strip())

    @property
    def checksum(self) -> str:
        """What the ledger holds: sha256 of the file (schema-connector/src/checksum.rs)."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def _read(name: str) -> Migration:
    """A migration of the folder that the demo and the compose example use."""
    return Migration(name, (demo.INCIDENT / name / "migration.sql").read_text())


INIT = _read("20251101090000_init")
ADD_ISSUES = _read("20251115141203_add_issues")
FAILED = _read("20251208175358_add_scheduled_issues")

BEFORE = (INIT, ADD_ISSUES)
HISTORY = (*BEFORE, FAILED)

LEDGER = """
CREATE TABLE _prisma_migrations (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
)"""
"""As Prisma makes it (sql-schema-connector, flavour/postgres.rs, create_migrations_table)."""

Connection = psycopg.Connection[tuple[Any, ...]]


class Mode(Enum):
    """How the failed migration came to its end."""

    KILLED = "killed after k statements, each committed; nothing logged"
    ERROR_LOGGED = "statement k+1 failed, the k before it are committed; the error is logged"
    BATCH_ROLLED_BACK = "one message, rolled back by an error, which is logged; nothing is there"
    BATCH_COMMITTED = "one message, committed in full; only the bookkeeping was lost"


def write_migrations(path: Path, migrations: tuple[Migration, ...] = HISTORY) -> Path:
    """Write the folders and `migration_lock.toml` into `path`, and return it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "migration_lock.toml").write_text('provider = "postgresql"\n')
    for migration in migrations:
        folder = path / migration.name
        folder.mkdir()
        (folder / "migration.sql").write_text(migration.sql)
    return path


def plant(
    connection: Connection,
    *,
    statements: int,
    mode: Mode,
    before: tuple[Migration, ...] = BEFORE,
    failed: Migration = FAILED,
    schema: str = SCHEMA,
) -> str:
    """Leave an empty database as the incident left it; returns the failed row's id.

    `connection` is in autocommit. The first `statements` of the failed migration are
    there afterwards, each in a transaction of its own, or all in one where `mode` is a batch;
    both batches know one count only: 0 when rolled back, all when committed.
    """
    allowed = {Mode.BATCH_ROLLED_BACK: 0, Mode.BATCH_COMMITTED: len(failed.statements)}
    if statements != allowed.get(mode, statements):
        raise ValueError(f"{mode.name} leaves {allowed[mode]} statements, not {statements}")
    create_ledger(connection, schema)
    for migration in before:
        apply(connection, migration, schema)
    row = start(connection, failed, schema)
    if mode is Mode.BATCH_COMMITTED:
        run(connection, failed.sql, schema)
    for statement in failed.statements[:statements] if mode is not Mode.BATCH_COMMITTED else ():
        run(connection, statement, schema)
    if mode in (Mode.ERROR_LOGGED, Mode.BATCH_ROLLED_BACK):
        log_error(connection, row, native_log(failed.name, "57014", CANCELLED), schema)
    return row


CANCELLED = "ERROR: canceling statement due to user request"


def clean_run(
    connection: Connection, migrations: tuple[Migration, ...] = HISTORY, schema: str = SCHEMA
) -> None:
    """What an undisturbed `migrate deploy` leaves: the state a repair is compared with."""
    create_ledger(connection, schema)
    for migration in migrations:
        apply(connection, migration, schema)


def create_ledger(connection: Connection, schema: str = SCHEMA) -> None:
    """Create the schema and the ledger in it, as the first deploy does."""
    run(connection, f'CREATE SCHEMA IF NOT EXISTS "{schema}"', schema)
    run(connection, LEDGER, schema)


def apply(connection: Connection, migration: Migration, schema: str = SCHEMA) -> None:
    """Apply it and keep the books, statement by statement as Prisma does from 7.4 on."""
    row = start(connection, migration, schema)
    for statement in migration.statements:
        run(connection, statement, schema)
    finish(connection, row, schema)


def start(connection: Connection, migration: Migration, schema: str = SCHEMA) -> str:
    """Write the row of an attempt that begins now; returns its id.

    Prisma's times are of the client's clock with milliseconds: each attempt is given the
    millisecond after the one before, so that the order of the ledger is never left to chance.
    """
    row = str(uuid.uuid4())
    run(
        connection,
        "INSERT INTO _prisma_migrations (id, checksum, started_at, migration_name)"
        " SELECT %s, %s, greatest(%s, max(started_at) + %s), %s FROM _prisma_migrations",
        schema,
        row,
        migration.checksum,
        datetime.now(UTC),
        timedelta(milliseconds=1),
        migration.name,
    )
    return row


def finish(connection: Connection, row: str, schema: str = SCHEMA) -> None:
    """The two updates after a script that ran to its end, each committed alone."""
    change = "UPDATE _prisma_migrations SET applied_steps_count = applied_steps_count + 1"
    run(connection, f"{change} WHERE id = %s", schema, row)
    change = "UPDATE _prisma_migrations SET finished_at = clock_timestamp()"
    run(connection, f"{change} WHERE id = %s", schema, row)


def log_error(connection: Connection, row: str, logs: str, schema: str = SCHEMA) -> None:
    """The one update after a script that failed."""
    run(connection, "UPDATE _prisma_migrations SET logs = %s WHERE id = %s", schema, logs, row)


def native_log(migration: str, sqlstate: str, error: str) -> str:
    """The text of P3018 as the native engine puts it into `logs` (user-facing-errors)."""
    return (
        "The engine begins with a paragraph of its own.\n\n"
        f"Migration name: {migration}\n\n"
        f"Database error code: {sqlstate}\n\n"
        f"Database error:\n{error}\n\n"
        "   0: sql_schema_connector::apply_migration::apply_script\n"
        f'           with migration_name="{migration}"\n'
        "             at schema-engine/connectors/sql-schema-connector/src/apply_migration.rs:106\n"
        "   1: schema_core::commands::apply_migrations::Applying migration\n"
        f'           with migration_name="{migration}"\n'
        "             at schema-engine/core/src/commands/apply_migrations.rs:91\n"
    )


def run(connection: Connection, query: str, schema: str, *params: object) -> None:
    """Run it under Prisma's search path for `?schema=`: that schema alone, without `public`.

    Without parameters `query` may be a script, which goes out as one simple message.
    """
    connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", [schema])
    connection.execute(query, params or None)
