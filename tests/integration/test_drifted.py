"""Databases that hold what no migration made: nothing of the script is taken for done in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import app
from sidecar.demo import SCHEMA
from sidecar.errors import ExitCode
from sidecar.script import parse
from tests import incident
from tests.command import said
from tests.incident import BEFORE, Migration
from tests.postgres import Database, fresh_database
from tests.running import settings

LEDGER = f"{SCHEMA}._prisma_migrations"

COLUMN = 'ALTER TABLE "mm_board" ADD COLUMN "k" INTEGER;'
GUARDED = """
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'auth') THEN
    EXECUTE 'CREATE INDEX users_name ON auth.users (name)';
  END IF;
END $$;
"""
PUBLISHED = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_publication) THEN
    ALTER PUBLICATION everything ADD TABLE momentum.mm_board;
  END IF;
END $$;
"""

DRIFTED = {
    "a view and a table removed if there": (
        "CREATE TABLE momentum.entries (id INTEGER); CREATE VIEW momentum.export AS SELECT 1 AS a",
        'DROP VIEW IF EXISTS "export"; DROP TABLE IF EXISTS "entries";',
    ),
    "an index removed if there": (
        'CREATE INDEX by_hand ON momentum.mm_board ("name")',
        'DROP INDEX IF EXISTS "by_hand";',
    ),
    "an index removed concurrently": (
        'CREATE INDEX by_hand ON momentum.mm_board ("name")',
        'DROP INDEX CONCURRENTLY IF EXISTS "by_hand";',
    ),
    "a policy removed if there": (
        'CREATE POLICY "all" ON momentum.mm_board USING (true)',
        'ALTER TABLE "mm_board" ENABLE ROW LEVEL SECURITY; DROP POLICY IF EXISTS "all" ON mm_board',
    ),
    "a default set again": (
        "ALTER TABLE momentum.mm_board ALTER COLUMN name SET DEFAULT 'drifted'",
        COLUMN + 'ALTER TABLE "mm_board" ALTER COLUMN "name" DROP DEFAULT;',
    ),
    "a column for a table if there": (
        "CREATE TABLE momentum.legacy (id INTEGER)",
        COLUMN + 'ALTER TABLE IF EXISTS "legacy" ADD COLUMN "z" INTEGER;',
    ),
    "a block that asks what is there": (
        "CREATE SCHEMA auth; CREATE TABLE auth.users (name TEXT)",
        COLUMN + GUARDED,
    ),
    "a block that asks for a publication": (
        "CREATE PUBLICATION everything",
        COLUMN + PUBLISHED,
    ),
    "before rows that are as they should be": (
        "CREATE TABLE momentum.entries (id INTEGER)",
        COLUMN
        + """DROP TABLE IF EXISTS "entries"; UPDATE "mm_board" SET "name" = 'x' WHERE false""",
    ),
}
STATES = [
    (name, k, logged)
    for name, (_, script) in DRIFTED.items()
    for k in parse(script.lstrip()).boundaries
    for logged in (False, True)
    if not (logged and k == parse(script.lstrip()).boundaries[-1])
]


@pytest.mark.parametrize(("name", "k", "logged"), STATES)
def test_what_did_nothing_on_the_shadow_is_not_taken_for_done(
    latest_database: Database, tmp_path: Path, name: str, k: int, *, logged: bool
) -> None:
    """Exactly as a clean run leaves this database, or untouched."""
    drift, script = DRIFTED[name]
    failed = Migration("20251220100000_drifted", script.lstrip())
    database, statements = latest_database, parse(failed.sql).statements
    with database.connect() as connection:
        incident.clean_run(connection, BEFORE)
        connection.execute(drift)
    with fresh_database(database.server, template=database.name) as clean:
        with clean.connect() as connection:
            for statement in statements:
                incident.run(connection, statement.sql, SCHEMA)
        wanted = clean.dump(exclude_tables=(LEDGER,))
    with database.connect() as connection:
        row = incident.start(connection, failed)
        for statement in statements[:k]:
            incident.run(connection, statement.sql, SCHEMA)
        if logged:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log)
    before = database.dump(exclude_tables=(LEDGER,))
    folder = incident.write_migrations(tmp_path / "migrations", (*BEFORE, failed))
    done = said(app.run, settings(database, folder, SIDECAR_POLICY="forward"))
    if done.code == ExitCode.OK:
        assert database.dump(exclude_tables=(LEDGER,)) == wanted, done.what
    else:
        assert done.code in {ExitCode.HALTED, ExitCode.REPAIR_FAILED}, done.what
        # What cannot be in a transaction stays, and the report says so.
        stays = {wanted} if "CONCURRENTLY" in script else set()
        assert database.dump(exclude_tables=(LEDGER,)) in {before, *stays}
