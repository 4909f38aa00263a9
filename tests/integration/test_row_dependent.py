"""Blocks and functions that change the schema as rows tell them to: a shadow has no rows.

Each script is stopped after each statement, by a kill and by an error. It ends as a clean run
leaves it, or untouched; nothing is run twice, nothing is left out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import app
from sidecar.errors import ExitCode
from sidecar.script import parse
from tests import incident
from tests.command import said
from tests.incident import Migration
from tests.postgres import Database, fresh_database
from tests.running import settings

INIT = Migration(
    "1_init",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, c TEXT);\n"
    "CREATE TABLE cfg (name TEXT);\n",
)
ROWS = "INSERT INTO t VALUES (1, 1, NULL), (2, 1, 'a'), (3, 1, 'a'); INSERT INTO cfg VALUES ('y')"
COUNT = "UPDATE t SET n = n + 1;\n"

SCRIPTS = {
    "a guard of rows, done later anyway": """
ALTER TABLE t ADD COLUMN x INT;
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM t WHERE c IS NULL) THEN
  ALTER TABLE t ALTER COLUMN c SET NOT NULL; END IF; END $$;
UPDATE t SET n = n + 1;
UPDATE t SET c = '' WHERE c IS NULL;
ALTER TABLE t ALTER COLUMN c SET NOT NULL;
""",
    "a branch": """
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM t) THEN ALTER TABLE t ADD COLUMN y INT;
  ELSE UPDATE t SET n = n + 1; END IF; END $$;
UPDATE t SET n = n + 1;
ALTER TABLE t ADD COLUMN IF NOT EXISTS y INT;
""",
    "a loop over rows, done again": """
ALTER TABLE t ADD COLUMN x INT;
DO $$ DECLARE r RECORD; BEGIN FOR r IN SELECT name FROM cfg LOOP
  EXECUTE format('ALTER TABLE t ADD COLUMN IF NOT EXISTS %I INT', r.name); END LOOP; END $$;
UPDATE t SET n = n + 1;
ALTER TABLE t ADD COLUMN IF NOT EXISTS y INT;
ALTER TABLE t ADD COLUMN z INT;
""",
    "a function": """
CREATE FUNCTION fix() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM t WHERE c IS NULL) THEN
    ALTER TABLE t ALTER COLUMN c SET NOT NULL; END IF; END $$;
SELECT fix();
UPDATE t SET n = n + 1;
UPDATE t SET c = '' WHERE c IS NULL;
ALTER TABLE t ALTER COLUMN c SET NOT NULL;
""",
    "rows that refuse": """
DO $$ BEGIN CREATE UNIQUE INDEX uq ON t (c);
  EXCEPTION WHEN unique_violation THEN UPDATE t SET n = n + 10; END $$;
UPDATE t SET n = n + 1;
UPDATE t SET c = id::text;
CREATE UNIQUE INDEX IF NOT EXISTS uq ON t (c);
""",
    "what a guard of the catalog decides": """
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM information_schema.columns
    WHERE table_name = 't' AND column_name = 'y') THEN
  ALTER TABLE t ADD COLUMN y INT; END IF; END $$;
UPDATE t SET y = n;
ALTER TABLE t ALTER COLUMN y SET NOT NULL;
""",
}
EXACT = {"what a guard of the catalog decides"}

STATES = [
    (name, k, logged)
    for name, script in SCRIPTS.items()
    for k in parse(script.lstrip()).boundaries
    for logged in (False, True)
    if not (logged and k == parse(script.lstrip()).boundaries[-1])
]


@pytest.mark.parametrize(("name", "k", "logged"), STATES)
def test_no_statement_is_run_twice_or_left_out(
    latest_database: Database, tmp_path: Path, name: str, k: int, *, logged: bool
) -> None:
    """What the shadow shows of such a block is no evidence."""
    failed = Migration("2_failed", SCRIPTS[name].lstrip())
    database = latest_database
    statements = [statement.sql for statement in parse(failed.sql).statements]
    with database.connect() as connection:
        incident.clean_run(connection, (INIT,), "public")
        connection.execute(ROWS)
    ledger = "public._prisma_migrations"
    with fresh_database(database.server, template=database.name) as clean:
        with clean.connect() as connection:
            for statement in statements:
                incident.run(connection, statement, "public")
        wanted = clean.dump(exclude_tables=(ledger,))
    with database.connect() as connection:
        row = incident.start(connection, failed, "public")
        for statement in statements[:k]:
            incident.run(connection, statement, "public")
        if logged:
            log = incident.native_log(failed.name, "57014", incident.CANCELLED)
            incident.log_error(connection, row, log, "public")
    before = database.dump(exclude_tables=(ledger,))
    folder = incident.write_migrations(tmp_path / "migrations", (INIT, failed))
    done = said(app.run, settings(database, folder, DATABASE_URL=database.url(schema="public")))
    after = database.dump(exclude_tables=(ledger,))
    if done.code == ExitCode.OK:
        assert after == wanted, done.what
    else:
        assert done.code in {ExitCode.HALTED, ExitCode.REPAIR_FAILED}, done.what
        assert after == before
        assert name not in EXACT, done.what
