"""`resolve`: the ledger change alone, with Prisma's own rules and codes.

Source: schema-engine `commands/mark_migration_applied.rs`, `mark_migration_rolled_back.rs`,
and for the codes `user-facing-errors/src/schema_engine.rs`.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar import history
from sidecar.db import Session, identifier
from sidecar.errors import ResolveError
from sidecar.model import (
    Ledger,
    LedgerRow,
    MigrationFile,
    MigrationName,
    Outcome,
    OutcomeName,
)
from sidecar.opening import Opened, World, located, opened, waited_lock
from sidecar.outcomes import outcome
from sidecar.queries import CREATE_LEDGER, CURRENT_SCHEMA, INSERT_LEDGER_ROW, MARK_ROLLED_BACK

if TYPE_CHECKING:
    from sidecar.config import Config


def applied(config: Config, world: World, name: MigrationName) -> Outcome:
    """Record `name` as applied without running it.

    Raises `ResolveError` P3019 (provider), P3017 (no such folder), P3008 (already applied),
    `BusyError` where another migrator keeps the lock.
    """
    provider = history.lock_file_provider(config.migrations_dir)
    if provider not in {None, "postgresql"}:
        raise ResolveError(
            "P3019",
            f"migration_lock.toml names the provider {provider}; this database is postgresql.",
        )
    config = located(config, world)
    with opened(config, world) as database, waited_lock(config, world, database):
        file = _file(config, name)
        ledger = database.reread() or _create_ledger(config, database)
        if any(row.finished_at for row in _rows(ledger, name)):
            raise ResolveError(
                "P3008",
                f"{name} has a finished attempt in the ledger already; nothing was changed.",
            )
        _record(database.session, ledger, file)
    return outcome(config, database, OutcomeName.HEALTHY, f"{name} is recorded as applied", ())


def rolled_back(config: Config, world: World, name: MigrationName) -> Outcome:
    """Record the failed attempts of `name` as rolled back.

    Raises `ResolveError` P3011 (never attempted), P3012 (not failed); without a ledger
    Prisma has no code for it, and so have we.
    """
    config = located(config, world)
    with opened(config, world) as database, waited_lock(config, world, database):
        ledger = database.reread()
        if ledger is None:
            raise ResolveError(
                "invariant",
                "there is no _prisma_migrations, so nothing can be rolled back in it.",
            )
        rows = _rows(ledger, name)
        if not rows:
            raise ResolveError(
                "P3011",
                f"{name} was never attempted here; is it the whole name of the folder?",
            )
        if all(row.finished_at for row in rows):
            raise ResolveError(
                "P3012",
                f"no attempt of {name} is unfinished, so none can be rolled back.",
            )
        with database.session.transaction():
            _mark_rolled_back(database.session, ledger, name)
    return outcome(config, database, OutcomeName.HEALTHY, f"{name} is recorded as rolled back", ())


def _file(config: Config, name: MigrationName) -> MigrationFile:
    file = history.read_migration(config.migrations_dir, name)
    if file.text is None:
        raise ResolveError(
            "P3017",
            f"the migrations folder has no script of {name}; is it the whole name of the folder?",
        )
    return file


def _create_ledger(config: Config, database: Opened) -> Ledger:
    """Baselining: Prisma makes the table where an unqualified name would land.

    Where its default schema is missing it makes that first (flavour/postgres.rs, setup_connection).
    """
    schema = database.session.query(CURRENT_SCHEMA)[0][0]
    if schema is None:
        schema = config.target.schema or "public"
        database.session.execute(f"CREATE SCHEMA {identifier(schema)}")
    database.session.execute(CREATE_LEDGER.format(ledger=identifier(schema, "_prisma_migrations")))
    return Ledger(schema=schema, rows=())


def _record(session: Session, ledger: Ledger, file: MigrationFile) -> None:
    now = datetime.now(UTC)
    row = (str(uuid.uuid4()), file.checksum, file.name, now, now, None, "", 0)
    with session.transaction():
        _mark_rolled_back(session, ledger, file.name)
        session.update(INSERT_LEDGER_ROW.format(ledger=_table(ledger)), row)


def _mark_rolled_back(session: Session, ledger: Ledger, name: MigrationName) -> None:
    session.update(MARK_ROLLED_BACK.format(ledger=_table(ledger)), (name,))


def _rows(ledger: Ledger, name: MigrationName) -> list[LedgerRow]:
    return [row for row in ledger.rows if row.migration_name == name]


def _table(ledger: Ledger) -> str:
    return identifier(ledger.schema, "_prisma_migrations")
