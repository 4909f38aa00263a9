"""What `db push` or a hand made beforehand does not show that a migration ran.

A statement with `IF NOT EXISTS` finds its work done and goes on, so that a clean run succeeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import app
from sidecar.errors import ExitCode
from sidecar.script import parse
from tests import incident
from tests.command import Scene, said, unchanged
from tests.incident import Migration
from tests.integration.test_ledger_and_folder import outcome
from tests.postgres import Database, fresh_database
from tests.running import settings

INIT = Migration("1_init", "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, old INTEGER);\n")
OTHER = Migration("2_other", "CREATE TABLE u (id INTEGER);\n")
ROWS = "INSERT INTO t VALUES (1, 1), (2, 1), (3, 7)"
COUNT = "UPDATE t SET n = n + 1;\n"

# name: what was made beforehand, the script, whether all of it is repaired
MADE = {
    "a backfill between guards": (
        "ALTER TABLE t ADD COLUMN tags TEXT[] NOT NULL DEFAULT '{}'; CREATE INDEX t_n ON t (n)",
        (
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS tags TEXT[] NOT NULL DEFAULT '{}';\n"
            "UPDATE t SET tags = ARRAY[id::text] WHERE cardinality(tags) = 0;\n"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\n"
        ),
    ),
    "a column": (
        "ALTER TABLE t ADD COLUMN y INTEGER",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS y INTEGER;\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "an index": (
        "CREATE INDEX t_n ON t (n)",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\nALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "a constraint behind a guard": (
        "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id, n)",
        (
            f"ALTER TABLE t ADD COLUMN x INTEGER;\n{COUNT}"
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'k') THEN "
            "ALTER TABLE t ADD CONSTRAINT k UNIQUE (id, n); END IF; END $$;\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "a function": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        (
            f"{COUNT}CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
            "ALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
    "NOT NULL": (
        "ALTER TABLE t ALTER COLUMN n SET NOT NULL",
        f"{COUNT}ALTER TABLE t ALTER COLUMN n SET NOT NULL;\nALTER TABLE t ADD COLUMN z INTEGER;\n",
    ),
    "nothing": (
        "SELECT 1",
        (
            f"ALTER TABLE t ADD COLUMN IF NOT EXISTS x INTEGER;\n{COUNT}"
            "CREATE INDEX IF NOT EXISTS t_n ON t (n);\nALTER TABLE t ADD COLUMN z INTEGER;\n"
        ),
    ),
}

STATES = [
    (name, k, logged)
    for name, (_, script) in MADE.items()
    for k in parse(script).boundaries
    for logged in (False, True)
    if not (logged and k == parse(script).boundaries[-1])
]


def _planted(database: Database, made: str, failed: Migration, k: int, *, logged: bool) -> str:
    """Leave the database half-way, and return what a clean run makes of it."""
    statements = [statement.sql for statement in parse(failed.sql).statements]
    with database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
        connection.execute(ROWS)
        connection.execute(made)
        incident.apply(connection, OTHER, "public")
    with fresh_database(database.server, template=database.name) as clean:
        with clean.connect() as connection:
            for statement in statements:
                incident.run(connection, statement, "public")
        wanted = clean.dump(exclude_tables=("public._prisma_migrations",))
    with database.connect() as connection:
        row = incident.start(connection, failed, "public")
        for statement in statements[:k]:
            incident.run(connection, statement, "public")
        if logged:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log, "public")
    return wanted


@pytest.mark.parametrize(("name", "k", "logged"), STATES)
def test_it_is_no_evidence(
    latest_database: Database, tmp_path: Path, name: str, k: int, *, logged: bool
) -> None:
    """Exactly as a clean run leaves this database, or untouched; no change of rows is left out."""
    made, script = MADE[name]
    failed = Migration("3_failed", script)
    database = latest_database
    wanted = _planted(database, made, failed, k, logged=logged)
    before = database.dump(exclude_tables=("public._prisma_migrations",))
    folder = incident.write_migrations(tmp_path / "migrations", (INIT, OTHER, failed))
    done = said(app.run, settings(database, folder, DATABASE_URL=database.url(schema="public")))
    after = database.dump(exclude_tables=("public._prisma_migrations",))
    if done.code == ExitCode.OK:
        assert after == wanted, done.what
    else:
        assert (done.code, after) == (ExitCode.HALTED, before), done.what


def test_a_rebuild_does_not_undo_it(latest_database: Database, tmp_path: Path) -> None:
    """It is not the migration's own."""
    made, script = MADE["a column"]
    failed = Migration("3_failed", script)
    _planted(latest_database, made, failed, 1, logged=False)
    folder = incident.write_migrations(tmp_path / "migrations", (INIT, OTHER, failed))
    scene = Scene(latest_database, folder)
    with unchanged(latest_database):
        halted = scene.run(SIDECAR_POLICY="rebuild")
    assert outcome(halted) == (3, "halted")
